"""What is looked at before a sweep starts: whether its jobs are several, different and valid, have room, or ended."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from logreg.core.errors import UserError
from logreg.core.settings import AUTO, Settings
from logreg.records.record import CONFIG, RECORD, read_record, read_settings, settings_of
from logreg.sweeps.fused.composed_job import ComposedJob


def check_jobs(job_overrides: Sequence[Sequence[str]]) -> None:
    """Look at the jobs of a grid.

    Raises:
        UserError: there are none, or two are the same.
    """
    if not job_overrides:
        raise UserError("the sweep has no jobs: one of its keys has no value, as in seed='range(0)'.")
    seen: dict[tuple[str, ...], int] = {}
    for number, overrides in enumerate(job_overrides):
        first = seen.setdefault(tuple(overrides), number)
        if first != number:
            shown = " ".join(overrides)
            raise UserError(f"jobs {first} and {number} of the sweep are the same, {shown}; give each value once.")


def check_any_valid(errors: Mapping[int, UserError], jobs: int) -> None:
    """Say once what is wrong with all jobs of a sweep, instead of once for each.

    Args:
        errors: of the jobs that are not valid.

    Raises:
        UserError: there are several, and the same is wrong with each.
    """
    if 1 < len(errors) == jobs and len({str(error) for error in errors.values()}) == 1:
        raise next(iter(errors.values()))


def check_folds(jobs: Sequence[Sequence[str]], folds: int | None) -> None:
    """Hold the overrides of a sweep's jobs against what a choice by cross-validation needs.

    Raises:
        UserError: they are not on several folds.
    """
    if len({settings_of(list(overrides)).get("data.fold") for overrides in jobs}) < 2:
        raise UserError(
            f"data.folds={folds}: experiment=path and path_l1 choose by cross-validation, over 2 or more folds, and "
            "set data.fold themselves; one of their jobs runs alone with hydra.mode=RUN."
        )


def earlier_jobs(
    sweep: Path, jobs: Sequence[ComposedJob], settings: Mapping[int, Settings], batches: bool
) -> tuple[dict[int, float | None], list[Path]]:
    """The monitored metrics of the jobs that an earlier sweep has finished, and the directories of those it has not.

    Args:
        sweep: the directory of the earlier sweep.
        settings: of the valid ones among ``jobs``, by position.
        batches: whether these are a part of the sweep's jobs.

    Raises:
        UserError: a job there was another one.
    """
    finished: dict[int, float | None] = {}
    unfinished: list[Path] = []
    directories: dict[str, list[Path]] = {}
    for path in sweep.glob(f"*/{RECORD}"):
        directories.setdefault(path.parent.name.partition("_")[0], []).append(Path(os.path.abspath(path.parent)))
    numbers = {str(job.number) for job in jobs}
    beyond = sorted(int(number) for number in directories.keys() - numbers if number.isdigit())
    if beyond and max(beyond) > jobs[-1].number and jobs[0].number == 0 and not batches:
        raise UserError(
            f"sweep.resume: the sweep there has a job {beyond[-1]}, and this command ends with job {jobs[-1].number}; "
            "give the command that the sweep was started with."
        )
    for position, job in enumerate(jobs):
        others = directories.get(str(job.number), [])
        own = [job.directory] if job.directory.is_dir() and job.directory not in others else []
        for directory in [*others, *own]:
            status, metric, other = _earlier(directory, job, settings.get(position))
            if other is not None:
                raise UserError(
                    f"sweep.resume: job {job.number} has {other}; give the command that the sweep was started with."
                )
            if status in ("completed", "diverged"):
                finished[position] = metric
            elif (directory / ".hydra").is_dir() or (directory / RECORD).is_file():
                unfinished.append(directory)
    return finished, unfinished


def _earlier(directory: Path, job: ComposedJob, settings: Settings | None) -> tuple[str, float | None, str | None]:
    """Status and monitored metric of a job of an earlier sweep, and in what it is another one than this."""
    elsewhere = (
        None if directory == job.directory else f"the directory {directory.name} there, {job.directory.name} here"
    )
    try:
        record = read_record(directory)
    except UserError:
        return "failed", None, elsewhere
    other = _difference(settings_of(record.overrides), settings_of(job.overrides))
    if other is None and settings is not None and (directory / CONFIG).is_file():
        earlier = _essence(read_settings(directory), settings)
        other = _difference(_flat(earlier), _flat(_essence(settings, settings)))
    return record.status, record.score, other or elsewhere


def _difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    for key in {**earlier, **now}:
        if earlier.get(key) != now.get(key):
            return f"{key}={earlier.get(key)} there, {key}={now.get(key)} here"
    return None


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping):
        return {prefix: node}
    return {key: v for name, item in node.items() for key, v in _flat(item, f"{prefix}.{name}".lstrip(".")).items()}


def _essence(settings: Settings, asked: Settings) -> Any:
    """A configuration without what says how a sweep is run, nor what was left to the rows in what is asked."""
    config = settings.as_config()
    left_out = {"sweep", "vectorized", "resume", "chosen"} | ({"optimizer", "lr"} if asked.chooses_optimizer else set())
    essence = {key: value for key, value in config.items() if key not in left_out}
    if asked.penalty.l2 == AUTO:
        essence["penalty"] = {key: value for key, value in config["penalty"].items() if key != "l2"}
    return json.loads(json.dumps(essence, default=str))
