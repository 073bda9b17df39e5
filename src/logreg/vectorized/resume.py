"""Which jobs of a sweep that was cut off are done, matched by their configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from logreg.errors import UserError
from logreg.runs import CONFIG, RECORD, read_record
from logreg.settings import AUTO
from logreg.vectorized.compose import ComposedJob


def earlier_jobs(
    sweep: Path, jobs: Sequence[ComposedJob], configs: Mapping[int, Mapping[str, Any]]
) -> tuple[dict[int, float | None], list[Path]]:
    """The monitored metrics of the jobs that an earlier sweep has finished, and the directories of those it has not.

    Args:
        sweep: the directory of the earlier sweep.
        configs: of the valid ones among ``jobs``, by position.

    Raises:
        UserError: a job there was another one.
    """
    found: dict[int, float | None] = {}
    unfinished: list[Path] = []
    there: dict[str, list[Path]] = {}
    for path in sweep.glob(f"*/{RECORD}"):
        there.setdefault(path.parent.name.partition("_")[0], []).append(path.parent.absolute())
    for position, job in enumerate(jobs):
        others = there.get(str(job.number), [])
        own = [job.directory] if job.directory.is_dir() and job.directory not in others else []
        for directory in [*others, *own]:
            status, metric, same = _earlier(directory, job, configs.get(position))
            if not same:
                raise UserError(
                    f"sweep.resume: job {job.number} is {directory.name} there, and {job.directory.name} with other "
                    "settings here; give the command that the sweep was started with."
                )
            if status in ("completed", "diverged"):
                found[position] = metric
            elif (directory / ".hydra").is_dir() or (directory / RECORD).is_file():
                unfinished.append(directory)
    return found, unfinished


def _earlier(directory: Path, job: ComposedJob, config: Mapping[str, Any] | None) -> tuple[str, float | None, bool]:
    """Status and monitored metric of a job of an earlier sweep, and whether it is this one."""
    try:
        record = read_record(directory)
    except UserError:
        return "failed", None, directory == job.directory
    metric = record.get("metrics", {}).get((record.get("monitor") or {}).get("metric"))
    same = directory == job.directory and record.get("overrides") == list(job.overrides)
    if same and config is not None and (directory / CONFIG).is_file():
        earlier, given = json.loads((directory / CONFIG).read_text(encoding="utf-8")), config["penalty"]["l2"] != AUTO
        same = _essence(earlier, given) == _essence(config, given)
    return str(record.get("status")), metric, same


def _essence(config: Mapping[str, Any], has_number: bool) -> Any:
    """A configuration without what says how a sweep is run, and, where it is worked out, without its penalty."""
    kept = {key: value for key, value in config.items() if key not in ("sweep", "vectorized", "resume")}
    kept["penalty"] = {key: value for key, value in config["penalty"].items() if key != "l2" or has_number}
    return json.loads(json.dumps(kept, default=str))
