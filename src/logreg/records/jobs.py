"""The jobs of a sweep: read from their ``run.json`` files, ranked, and how to run one of them again."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logreg.core.errors import UserError
from logreg.records.record import RECORD, read_record, settings_of

REFIT = "refit"  # the directory of the run on all rows, inside that of the sweep


SWEEPS = ("experiment=path", "experiment=lessons/")  # presets that are sweeps by themselves, among others
DIFFERENT_LOSSES = (
    "the jobs minimise different losses, which do not compare; rank them by monitor=train/log_loss or val/log_loss"
)


@dataclass(frozen=True)
class Job:
    """One job of a sweep; ``score`` is its value of the sweep's monitor, None if it has none."""

    number: int
    directory: Path
    record: dict[str, Any]
    score: float | None

    @functools.cached_property
    def settings(self) -> dict[str, str]:
        """The job's overrides, by key."""
        return settings_of(self.record.get("overrides", []))

    @property
    def metrics(self) -> dict[str, float]:
        return self.record.get("metrics", {})


def read_jobs(sweep: Path) -> list[Job]:
    """The jobs of a sweep, best first, then those without a result in the order of their numbers."""
    jobs = []
    for path in sorted(sweep.glob(f"*/{RECORD}")):
        try:
            record = read_record(path.parent)
        except UserError as error:
            record = {"status": "failed", "error": str(error)}
        record |= {key: {} for key in ("metrics", "monitor") if not isinstance(record.get(key, {}), dict)}
        record |= {} if isinstance(record.get("overrides", []), list) else {"overrides": []}
        if path.parent.name == REFIT:  # of the winner, on all rows: no job of the sweep
            continue
        number = path.parent.name.partition("_")[0]
        score = record.get("metrics", {}).get(record.get("monitor", {}).get("metric"))
        jobs.append(Job(int(number) if number.isdigit() else -1, path.parent, record, score))
    return sorted(jobs, key=_rank)


def _rank(job: Job) -> tuple[bool, str, float, int]:
    """Jobs without a result come last; those of different monitors are not compared, but follow each other."""
    if job.score is None or job.record["status"] != "completed":
        return True, "", 0.0, job.number
    score = job.score if job.record["monitor"]["mode"] == "min" else -job.score
    return False, job.record["monitor"]["metric"], score, job.number


def swept_keys(jobs: list[Job]) -> list[str]:
    """The keys whose value is not the same in every job, but for jobs whose record cannot be read."""
    jobs = [job for job in jobs if job.settings]
    keys = list(dict.fromkeys(key for job in jobs for key in job.settings))
    return [key for key in keys if len({job.settings.get(key) for job in jobs}) > 1]


def best_jobs(jobs: list[Job]) -> list[Job]:
    """The best job of each monitor; one, where all jobs of the sweep are comparable."""
    best: dict[str, Job] = {}
    for job in jobs:
        if not _rank(job)[0]:
            best.setdefault(job.record["monitor"]["metric"], job)
    return list(best.values())


def ranks_different_losses(jobs: Sequence[Job]) -> bool:
    """Whether jobs are ranked by losses that are not the same function."""
    ranked = [job for job in jobs if str(job.record.get("monitor", {}).get("metric")).endswith("/loss")]
    return len({job.settings.get("loss", "log_loss") for job in ranked}) > 1


def rerun_command(job: Job) -> str:
    """The command that runs a job alone, also where its experiment is a sweep by itself."""
    is_sweep = any(override.startswith(SWEEPS) for override in job.record["overrides"])
    once = ["hydra.mode=RUN"] if is_sweep else []
    return shlex.join(["python", "train.py", *job.record["overrides"], *once])


def failures(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if job.record["status"] != "completed"]
