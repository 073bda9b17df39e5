"""Weights and classes that make no split."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from tests.data.tables.refusals import frame, labelled, refusal, text, written


@pytest.mark.parametrize(("weight", "fault"), [("-2", "is -2"), ("", "is missing"), ("nan", "is missing")])
def test_a_bad_weight_is_named_by_its_row(tmp_path: Path, weight: str, fault: str) -> None:
    path = written(tmp_path, "a,w,y\n" + "".join(f"{i / 2},{weight if i == 9 else 1},{i % 2}\n" for i in range(30)))
    assert (
        refusal(path, weight="w")
        == f"data.weight=w: the weight in row 10 of data.path=t.csv {fault}; weights are 0 or more."
    )


def test_weights_are_numbers_and_not_all_zero(tmp_path: Path) -> None:
    path = written(tmp_path, "a,w,y\n" + "".join(f"{i / 2},0,{i % 2}\n" for i in range(30)))
    assert "data.weight=w: all weights of the train rows are 0" in refusal(path, weight="w")
    assert "numbers are needed, and this column of data.path=t.csv holds strings" in refusal(
        written(tmp_path, text()), weight="b"
    )
    path = written(tmp_path, "a,w,y\n" + "".join(f"{i / 2},{'x' if i == 9 else 1},{i % 2}\n" for i in range(30)))
    assert "line 11 has 'x' in column w, whose other values are numbers" in refusal(path, weight="w")
    frame().with_columns(w=pl.lit(None)).write_parquet(tmp_path / "t.parquet")
    assert "this column of data.path=t.parquet has no value at all" in refusal(tmp_path / "t.parquet", weight="w")


def test_a_class_with_fewer_rows_than_splits_or_folds_is_refused(tmp_path: Path) -> None:
    path = labelled(tmp_path, ["0"] * 30 + ["1"] * 2)
    counts = "label 0 has 30 rows, label 1 has 2"
    assert re.match(rf"data\.split: each of the 3 splits needs a row of each class, and {counts}", refusal(path))
    assert re.match(rf"data\.folds: each of the 5 folds .*{counts}", refusal(path, folds=5, fold=0))
