"""Delimiter, quotes and header of a text file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from logreg.data.tables.reading import text_blocks
from tests.data.tables.reading.sources import read

ODD = pd.DataFrame(
    {
        "plain": ["a", "b", "it's", "5 feet"],
        "quotes": ['say "so"', '"', '""', "'"],
        "delimiters": ["a,b", "c;d", "e\tf", "g|h i"],
        "lines": ["one\ntwo", "\n", "three\r\nfour", "last"],
        "number": [1.5, -2.0, 3e-7, 4e9],
    }
)


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", " "])
@pytest.mark.parametrize("block", [2**24, 11])
def test_quoted_fields_hold_what_pandas_finds_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: str, block: int
) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", block)
    path = tmp_path / "odd.csv"
    ODD.to_csv(path, sep=separator, index=False)
    expected = pd.read_csv(path, sep=separator)
    frame = read(path)
    assert frame.columns == list(expected.columns)
    for column in expected.columns:
        # Blanks around a text are no part of it, and a text of blanks alone is missing.
        stripped = [(v.strip() or None) if isinstance(v, str) else v for v in expected[column]]
        assert frame[column].to_list() == stripped


def test_delimiter_quote_and_header_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "said.csv"
    path.write_text("a^b^c\n~x^y~^1^2\n~z~^3^4\n")
    assert read(path, delimiter="^", quote="~").rows() == [("x^y", 1, 2), ("z", 3, 4)]
    path.write_text('a,b\n"x,1\ny",2\n')
    assert read(path, quote="").rows() == [('"x', 1), ('y"', 2)]
    path.write_text("1\t2\n3\t4\n")
    for tab in ("\t", r"\t"):
        assert read(path, header=True, delimiter=tab).rows() == [(3, 4)]
    path.write_text("u,v;3\nw,x;6\n")
    assert read(path, delimiter=";").rows() == [("u,v", 3), ("w,x", 6)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b\n1,2\n3,4\n", ["a", "b"]),
        ("1,2\n3,4\n", ["column_1", "column_2"]),
        ("name,2019,2020,2021\nx,1,2,3\ny,4,5,6\n", ["column_1", "column_2", "column_3", "column_4"]),
        ("name,size,2020,city\nx,1,2,u\ny,4,5,v\n", ["name", "size", "2020", "city"]),
        ("city,colour\nBonn,red\nUlm,blue\n", ["city", "colour"]),
        ("Bonn,red\nUlm,blue\nBonn,red\n", ["column_1", "column_2"]),
        ("2024-01-01,Bonn\n2024-01-02,Ulm\n", ["column_1", "column_2"]),
        (",a,b\n0,1,2\n1,3,4\n", ["column_1", "a", "b"]),
        (" a , b \n1,2\n", ["a", "b"]),
        ('"a\nb",c\n1,2\n', ["a b", "c"]),
        ("x,NA\n1,NA\n2,3\n", ["x", "NA"]),
        ("5.1,NA,x\n4.2,1,y\n", ["column_1", "column_2", "column_3"]),
    ],
)
def test_a_first_line_of_names_is_a_header(tmp_path: Path, text: str, names: list[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    assert read(path).columns == names


def test_a_header_that_is_denied_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\nc,d\n")
    assert read(path, header=False).rows(named=True) == [
        {"column_1": "a", "column_2": "b"},
        {"column_1": "c", "column_2": "d"},
    ]
    assert read(path, header=True).rows(named=True) == [{"a": "c", "b": "d"}]


def test_a_file_of_one_column_has_a_row_for_each_line_that_is_not_blank(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("y\n0\n\nNA\n1\n\n")
    assert read(path)["y"].to_list() == [0, None, 1]


def test_a_stray_quote_within_a_field_is_a_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "inches.csv"
    rows = [f'{i},5" disk' if i % 7 == 3 else f'{i},"a, b"' for i in range(200)]
    path.write_text("n,what\n" + "\n".join(rows))
    expected = [(i, '5" disk' if i % 7 == 3 else "a, b") for i in range(200)]
    assert read(path).rows() == expected
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 100)
    assert read(path).rows() == expected
