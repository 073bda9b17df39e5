"""What columns of text hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from logreg.data.tables.reading import text_blocks
from tests.data.tables.reading.sources import column, csv, table
from tests.data.tables.refusals import prepare, refusal, text, written


@pytest.mark.parametrize("place", [2, 700, 1500])
@pytest.mark.parametrize(
    ("others", "stray"),
    [
        ("0.25", "oops"),
        ("17", "1_0"),
        ("2024-01-31", "soon"),
        ("2024-01-31", "2024-02-31"),
        ("1.5", "2024-01-31"),
        ("3", "true"),
    ],
)
def test_a_text_among_numbers_or_dates_is_named_by_its_line(
    tmp_path: Path, place: int, others: str, stray: str
) -> None:
    lines = ["v,w,y", *(f"{others},{i / 2},{i % 2}" for i in range(max(1200, place + 100)))]
    lines[place - 1] = f"{stray},0.1,1"
    sentence = refusal(written(tmp_path, "\n".join(lines)))
    assert f"data.path=t.csv: line {place} has '{stray}' in column v" in sentence
    assert f"other values are {'dates' if '-' in others else 'numbers'}" in sentence
    assert prepare(tmp_path / "t.csv", exclude=["v"]).preprocessor.raw_columns == ["w"]


def test_a_text_among_numbers_is_named_by_its_line_in_a_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 2**16)
    path = written(tmp_path, text(150_000, line_120000="oops,u,1"))
    assert "data.path=t.csv: line 120000 has 'oops' in column a" in refusal(path)


def test_numbers_with_commas_are_refused_rather_than_taken_for_texts(tmp_path: Path) -> None:
    path = written(tmp_path, "a;b;y\n" + "".join(f"{i},5;{i};{i % 2}\n" for i in range(40)))
    assert "line 2 has '0,5' in column a; write numbers as in 1234.5" in refusal(path)


def test_numbers_are_read_in_all_their_forms(tmp_path: Path) -> None:
    texts = ["1", "+1", "-1", "01", "1.", ".5", "-.5", "1e3", "1E+3", "2.5e-3", "1e-999", "12345678901234567890"]
    values = column(tmp_path / "t.csv", texts)
    assert values.dtype == pl.Float64
    assert values.to_list() == [float(text) for text in texts]
    large = [str(2**63 - 1), "-9000000000000000000"]
    assert column(tmp_path / "t.csv", large).to_list() == [int(text) for text in large]


@pytest.mark.parametrize("text", ["1_000", "0x10", "1 000", "\u0661", "1d", "--1", "1e", "12:30"])
def test_what_merely_looks_like_a_number_is_a_text(tmp_path: Path, text: str) -> None:
    assert column(tmp_path / "t.csv", [text] * 3).to_list() == [text] * 3


@pytest.mark.parametrize("beginning", ["1", ""])
@pytest.mark.parametrize(
    ("later", "value"),
    [("2.5", 2.5), ("NA", None), (" NA ", None), ("7 ", 7), ("", None), ("-nan", None), ("1e2", 100)],
)
def test_a_column_is_read_again_when_its_beginning_did_not_tell_what_it_holds(
    tmp_path: Path, beginning: str, later: str, value: float | None
) -> None:
    values = column(tmp_path / "t.csv", [beginning] * 3000 + [later, "3"])
    assert values.dtype.is_numeric()
    assert values.to_list()[2999:] == [1 if beginning else None, value, 3]


@pytest.mark.parametrize(
    ("early", "late", "dtype"),
    [
        ("", "2024-01-31", pl.Date),
        ("2024-01-31", "2024-01-31 12:30", pl.Datetime),
        ("", "true", pl.Boolean),
        ("true", "perhaps", pl.String),
        ("1", "x", pl.String),
        ("", "x", pl.String),
        ("2024-01-31", "soon", pl.String),
    ],
)
def test_kinds_that_show_late_hold_for_all_rows(tmp_path: Path, early: str, late: str, dtype: Any) -> None:
    values = column(tmp_path / "t.csv", [early] * 2000 + [late] * 1000)
    assert values.dtype == dtype
    assert values.null_count() == (2000 if not early else 0)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-01-31", "2024-01-31 00:00:00"),
        ("2024-1-5", "2024-01-05 00:00:00"),
        ("2024-01-31T10:20", "2024-01-31 10:20:00"),
        ("2024-01-31 10:20:30", "2024-01-31 10:20:30"),
        ("2024-01-31T10:20:30.5", "2024-01-31 10:20:30.5"),
        ("2024-01-31T10:20:30.123456789", "2024-01-31 10:20:30.123456"),
        ("2024-01-31T10:20:30Z", "2024-01-31 10:20:30"),
        ("2024-01-31T10:20:30+02:00", "2024-01-31 08:20:30"),
        ("2024-01-31 10:20:30.25-0330", "2024-01-31 13:50:30.25"),
    ],
)
def test_iso_dates_and_times_are_read_with_one_another(tmp_path: Path, text: str, time: str) -> None:
    times = column(tmp_path / "t.csv", [text, "2024-02-01 00:00"])
    assert pd.Timestamp(times[0]) == pd.Timestamp(time)


@pytest.mark.parametrize(
    "text", ["31/01/2024", "01-02-2024", "2024/01/31", "20240131x", "24-01-31", "2024-01-31 24:10"]
)
def test_other_dates_are_texts_and_never_guessed(tmp_path: Path, text: str) -> None:
    assert column(tmp_path / "t.csv", [text] * 3).to_list() == [text] * 3


def test_missing_values_are_what_is_said_with_or_without_blanks_and_quotes(tmp_path: Path) -> None:
    values = ["-999", " -999", '"-999"', '" -999 "', "", '""', "5"]
    assert column(tmp_path / "t.csv", values, missing=("-999",)).to_list() == [None] * 6 + [5]
    assert column(tmp_path / "t.csv", ["none", "x", "NA"], missing=("none",)).to_list() == [None, "x", "NA"]
    assert column(tmp_path / "t.csv", ["?", " NULL", '"n/a"', "N/A"]).to_list() == [None, None, "n/a", None]


def test_a_column_that_is_left_out_may_hold_anything(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("\n".join(f"{line},{'oops' if i == 60 else i * 0.5}" for i, line in enumerate(csv().splitlines())))
    data = table(path, exclude=["0.0"], header=True)
    assert "0.0" not in data.preprocessor.raw_columns


def test_declared_levels_keep_their_zeros(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_text("code,n,bought\n" + "".join(f"0{i % 3}1,{i * 0.5},{i % 2}\n" for i in range(60)))
    names = table(path, categorical=["code"]).preprocessor.feature_names
    assert names == ["code=001", "code=011", "code=021", "n"]
