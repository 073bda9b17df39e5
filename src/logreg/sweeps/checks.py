"""What is looked at before a sweep starts: that its jobs are several, different and valid, and have room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from logreg.core.errors import UserError
from logreg.records.record import settings_of

BYTES_OF_A_JOB, FILES_OF_A_JOB = 80_000, 16  # in its directory, folders included, without what grows with its length


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


class AllRefused(Exception):
    """No job of a group can be trained.

    Attributes:
        errors: why, by the jobs' positions in the sweep.
    """

    def __init__(self, errors: Mapping[int, UserError]) -> None:
        super().__init__(f"{len(errors)} jobs are not valid")
        self.errors = errors


def check_any_valid(errors: Mapping[int, UserError], jobs: int) -> None:
    """Say once what is wrong with all jobs of a sweep, instead of once for each.

    Args:
        errors: of the jobs that are not valid.

    Raises:
        UserError: there are several, and the same is wrong with each.
    """
    if 1 < len(errors) == jobs and len({str(error) for error in errors.values()}) == 1:
        raise next(iter(errors.values()))


def check_space(directory: Path, jobs: int, further: int = 0) -> None:
    """Refuse a sweep for whose files there is no room.

    Args:
        further: bytes that each job takes beside `BYTES_OF_A_JOB`.

    Raises:
        UserError: says how much is needed and how much is free.
    """
    directory.mkdir(parents=True, exist_ok=True)
    needed, room = jobs * (BYTES_OF_A_JOB + further), shutil.disk_usage(directory).free
    if needed > room:
        raise UserError(
            f"hydra.sweep.dir={directory}: {jobs:,} jobs need {needed / 1e6:,.0f} MB, and {room / 1e6:,.0f} MB are "
            "free there; free some, or give another directory."
        )
    if not hasattr(os, "statvfs"):  # Windows, whose file systems have no limit on the number of files
        return
    files, limits = jobs * FILES_OF_A_JOB, os.statvfs(directory)
    if limits.f_files > 0 and files > limits.f_favail:
        raise UserError(
            f"hydra.sweep.dir={directory}: {jobs:,} jobs need {files:,} files, and its file system has room for "
            f"{limits.f_favail:,}; give another directory."
        )


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
