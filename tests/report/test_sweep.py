"""The columns of leaderboard.csv."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from logreg.records.jobs import Job
from logreg.records.record import RunRecord
from logreg.report.sweep import write_tables


@pytest.mark.parametrize(("tags", "cells"), [([[], []], None), ([["first", "b c"], []], ["first, b c", ""])])
def test_tags_have_a_column_where_a_job_has_some(
    tmp_path: Path, tags: list[list[str]], cells: list[str] | None
) -> None:
    overrides = [["seed=1", "tags=[first,b c]"], ["seed=2"]]
    records = [RunRecord("completed", overrides=o, tags=t) for o, t in zip(overrides, tags, strict=True)]
    write_tables(tmp_path, [Job(i, tmp_path / str(i), record) for i, record in enumerate(records)])
    rows = list(csv.DictReader((tmp_path / "leaderboard.csv").open()))
    assert [row["seed"] for row in rows] == ["1", "2"]
    assert [row.get("tags") for row in rows] == (cells or [None, None])
