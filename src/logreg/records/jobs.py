"""The jobs of a sweep: read from their ``run.json`` files, ranked, and how to run one of them again."""

from __future__ import annotations

import functools
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from logreg.core.errors import UserError
from logreg.records.record import RECORD, RunRecord, read_record, settings_of

REFIT = "refit"  # the directory of the run on all rows, inside that of the sweep
SWEEPS = ("experiment=path", "experiment=lessons/")  # presets that are sweeps by themselves, among others


@dataclass(frozen=True)
class Job:
    """One job of a sweep; its number is -1 where its directory has none."""

    number: int
    directory: Path
    record: RunRecord

    @functools.cached_property
    def settings(self) -> dict[str, str]:
        """The job's overrides, by key."""
        return settings_of(self.record.overrides)

    @property
    def metrics(self) -> dict[str, float]:
        return self.record.metrics

    @property
    def score(self) -> float | None:
        """The value of the metric that it monitors, None if it has none."""
        return self.record.score

    @property
    def is_completed(self) -> bool:
        return self.record.status == "completed"

    @property
    def is_ranked(self) -> bool:
        """Whether it has a result: it completed, and its metric is a number."""
        return self.is_completed and self.score is not None and math.isfinite(self.score)

    @property
    def monitor(self) -> str:
        """The name of the metric that it monitors; empty where its record does not say."""
        return self.record.monitor.metric

    @property
    def sign(self) -> int:
        """1 where less of the monitored metric is better, -1 where more is."""
        return self.record.monitor.sign


def read_jobs(sweep: Path) -> list[Job]:
    """The jobs of a sweep, best first, then those without a result in the order of their numbers."""
    jobs = []
    for path in sorted(sweep.glob(f"*/{RECORD}")):
        if path.parent.name == REFIT:  # of the winner, on all rows: no job of the sweep
            continue
        try:
            record = read_record(path.parent)
        except UserError as error:
            record = RunRecord(status="failed", error=str(error))
        number = path.parent.name.partition("_")[0]
        jobs.append(Job(int(number) if number.isdigit() else -1, path.parent, record))

    def rank(job: Job) -> tuple[bool, str, float, int]:
        if job.score is None or not job.is_completed:
            return True, "", 0.0, job.number
        return False, job.monitor, job.sign * job.score, job.number  # those of different monitors follow each other

    return sorted(jobs, key=rank)


def by_monitor(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """The jobs that monitor each metric, in their order."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.monitor, []).append(job)
    return groups


def swept_keys(jobs: list[Job]) -> list[str]:
    """The keys whose value is not the same in every job, but for jobs whose record cannot be read.

    Tags are none of them: they say what a job is called, not what it does.
    """
    jobs = [job for job in jobs if job.settings]
    keys = list(dict.fromkeys(key for job in jobs for key in job.settings if key != "tags"))
    return [key for key in keys if len({job.settings.get(key) for job in jobs}) > 1]


def best_jobs(jobs: list[Job]) -> list[Job]:
    """The best job of each monitor; one, where all jobs of the sweep are comparable."""
    return [group[0] for group in by_monitor([job for job in jobs if job.is_ranked]).values()]


def different_losses(jobs: Sequence[Job]) -> str:
    """A remark on jobs that are ranked by losses that are not the same function; empty where they are."""
    if len({job.settings.get("loss", "log_loss") for job in jobs if job.monitor.endswith("/loss")}) < 2:
        return ""
    return (
        "the jobs minimise different losses, which do not compare; rank them by monitor=train/log_loss or val/log_loss"
    )


def rerun_command(overrides: Sequence[str]) -> str:
    """The command that runs a job alone, also where its experiment is a sweep by itself."""
    is_sweep = any(override.startswith(SWEEPS) for override in overrides)
    return shlex.join(["python", "train.py", *overrides, *(["hydra.mode=RUN"] if is_sweep else [])])


def failures(jobs: list[Job]) -> list[Job]:
    """The jobs that did not complete."""
    return [job for job in jobs if not job.is_completed]
