"""Which checkpoint is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from logreg.core.errors import UserError
from logreg.records.checkpoints import find_checkpoint
from logreg.records.record import RunRecord


def finished(folder: Path, status: str, name: str) -> Path:
    (folder / name / "checkpoints").mkdir(parents=True)
    (folder / name / "checkpoints" / "last.ckpt").write_bytes(b"state")
    RunRecord(status=status).write(folder / name)
    return folder / name / "checkpoints" / "last.ckpt"


def test_resume_takes_a_checkpoint_a_directory_or_the_newest_completed_run_of_a_name(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    finished(runs / "mine", "completed", "2026-01-01_00-00-00_aaaaaa")
    newest = finished(runs / "mine", "completed", "2026-02-01_00-00-00_aaaaaa")
    finished(runs / "mine", "interrupted", "2026-03-01_00-00-00_aaaaaa")
    assert find_checkpoint("mine", runs) == newest
    assert find_checkpoint(str(newest), runs) == newest
    assert find_checkpoint(str(newest.parents[1]), runs) == newest
    for missing in ("other", str(tmp_path), "no/such", "x.ckpt"):
        with pytest.raises(UserError, match="resume="):
            find_checkpoint(missing, runs)
