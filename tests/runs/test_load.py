"""Loading what a run left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from logreg.core.errors import UserError
from logreg.records.record import RunRecord
from logreg.runs.load import load_run


def test_loading_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run directory"):
        load_run(tmp_path)
    RunRecord(status="failed").write(tmp_path)
    with pytest.raises(UserError, match="status is failed"):
        load_run(tmp_path)
