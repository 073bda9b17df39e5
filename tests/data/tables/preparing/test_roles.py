"""Columns in roles that they cannot have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.data.tables.refusals import frame, prepare, refusal, text, written


@pytest.mark.parametrize("value", ["inf", "-inf", "Infinity", "1e999", "-1e400"])
def test_an_infinite_value_is_named_by_column_and_row(tmp_path: Path, value: str) -> None:
    path = written(tmp_path, text(3000, line_2002=f"{value},u,1"))
    assert "data.path=t.csv: column a is infinite in row 2001" in refusal(path)
    other = frame(3000).with_columns(a=pl.when(pl.int_range(pl.len()) == 2000).then(float(value)).otherwise("a"))
    other.write_parquet(tmp_path / "t.parquet")
    assert "data.path=t.parquet: column a is infinite in row 2001" in refusal(tmp_path / "t.parquet")


@pytest.mark.parametrize("count", [30, 3000])
def test_a_column_without_any_value_is_refused_by_name(tmp_path: Path, count: int) -> None:
    path = written(tmp_path, "a,empty,y\n" + "".join(f"{i / 2},{'NA' * (i % 2)},{i % 2}\n" for i in range(count)))
    sentence = "column empty has no value at all; leave it out with 'data.exclude=[empty]'."
    assert refusal(path) == f"data.path=t.csv: {sentence}"
    assert prepare(path, exclude=["empty"]).preprocessor.raw_columns == ["a"]
    frame(count).with_columns(empty=pl.lit(None)).write_parquet(tmp_path / "t.parquet")
    assert refusal(tmp_path / "t.parquet") == f"data.path=t.parquet: {sentence}"


@pytest.mark.parametrize("values", [[[1]] * 40, [{"a": 1}] * 40, [b"1"] * 40])
def test_columns_of_lists_structures_and_bytes_are_refused_in_every_role(tmp_path: Path, values: list[Any]) -> None:
    path = tmp_path / "t.parquet"
    frame().with_columns(odd=pl.Series(values)).write_parquet(path)
    assert "column odd holds neither numbers, texts nor dates" in refusal(path)
    for role in ("target", "weight", "group"):
        assert refusal(path, **{role: "odd"}).startswith(f"data.{role}=odd: data.path=t.parquet holds neither")


@pytest.mark.parametrize("role", ["target", "weight", "group"])
def test_a_column_that_is_not_there_is_answered_by_the_nearest(tmp_path: Path, role: str) -> None:
    path = written(tmp_path, text(line_1="age,balance,y"))
    sentence = refusal(path, **{role: "balanse"})
    assert sentence.startswith(f"data.{role}=balanse: data.path=t.csv has no such column (did you mean balance?)")
    assert "it has age, balance, y" in sentence


def test_a_target_has_to_be_said(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, text()), target=None) == (
        "data.target: give the column to predict; data.path=t.csv has a, b, y."
    )


def test_names_that_the_file_lacks_are_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, text().partition("\n")[2])
    assert "it has column_1, column_2, column_3; data.header=true takes them from the first line" in refusal(path)


def test_a_column_has_one_role(tmp_path: Path) -> None:
    path = written(tmp_path, text())
    assert refusal(path, weight="y") == "data.target=y: data.weight is this column already; give another one."
    assert refusal(path, group="a", weight="a").startswith("data.weight=a: data.group is this column already")


def test_a_table_of_the_target_alone_has_no_feature(tmp_path: Path) -> None:
    path = written(tmp_path, "y\n" + "0\n1\n" * 20)
    assert refusal(path) == "data.path=t.csv: no feature is left beside the target; data.path=t.csv has y."
