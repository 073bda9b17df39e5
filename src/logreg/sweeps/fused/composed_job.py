"""What a job of a sweep is, once it is composed, and the room that jobs take; nothing here knows Hydra."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logreg.core.errors import UserError

BYTES_OF_A_JOB, FILES_OF_A_JOB = 80_000, 16  # in its directory, folders included, without what grows with its length


@dataclass(frozen=True)
class ComposedJob:
    """One job of a sweep. Parts of ``config`` that no plain override reaches are shared with others, as ``choices``."""

    number: int
    overrides: list[str]  # as they are in hydra.overrides.task
    directory: Path  # absolute; where Hydra would run the job
    config: dict[str, Any]  # as plain values
    choices: dict[str, Any]  # hydra.runtime.choices; empty where Hydra cannot compose the job
    error: Exception | None = None  # what Hydra, OmegaConf or logreg.cli.plain raised; config is then empty
    _files: Callable[[], dict[str, str]] = field(default=dict, repr=False, compare=False)

    def hydra_files(self) -> dict[str, str]:
        """``config.yaml``, ``overrides.yaml`` and ``hydra.yaml`` as Hydra writes them; empty where it would not."""
        return self._files()


class AllRefused(Exception):
    """No job of a group can be trained."""

    def __init__(self, errors: Mapping[int, UserError]) -> None:
        super().__init__(f"{len(errors)} jobs are not valid")
        self.errors = errors  # by the jobs' positions in the sweep


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
