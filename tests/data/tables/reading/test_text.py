"""Rows of text: their order, who reads them, and the line that is wrong."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from logreg.core.options.tables import ReadOptions
from logreg.data.tables.reading import text as text_reader
from logreg.data.tables.reading import text_blocks
from logreg.data.tables.reading.source import WrongKinds, open_source
from tests.data.tables.reading.sources import csv, people, read
from tests.data.tables.refusals import refusal, rows, text, written


@pytest.mark.parametrize("place", [5, 900, 1500])
@pytest.mark.parametrize(("line", "fields"), [("1,u,0,9", 4), ("1,u", 2), ("1", 1), ("1,u,0,", 4), ("1,u,0,,,", 6)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_ragged_row_is_named_by_its_line(
    tmp_path: Path, place: int, line: str, fields: int, pack: Callable[[bytes], bytes]
) -> None:
    content = text(2000, **{f"line_{place}": line})
    sentence = refusal(written(tmp_path, pack(content.encode())))
    assert f"data.path=t.csv: line {place} has {fields} field{'s' * (fields > 1)} where 3 are expected" in sentence


@pytest.mark.parametrize(("line", "fields", "pack"), [("1,u,0,9", 4, gzip.compress), ("1,u", 2, bytes)])
def test_a_ragged_row_is_named_by_its_line_in_a_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, fields: int, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 2**16)  # a large file has many blocks
    content = text(180_000, line_150000=line)
    sentence = refusal(written(tmp_path, pack(content.encode())))
    assert f"data.path=t.csv: line 150000 has {fields} fields where 3 are expected" in sentence


def test_a_short_row_is_found_among_missing_values_quotes_and_blank_lines(tmp_path: Path) -> None:
    lines = rows(5000, line_4001="1,u")
    lines[1::2] = [line.rpartition(",")[0] + ',""' for line in lines[1::2]]
    lines[2::40] = ['1.5,"u\n,v",0'] * len(lines[2::40])
    number = 1 + next(i for i, line in enumerate("\n".join(lines).split("\n")) if line == "1,u")
    assert f"line {number} has 2 fields" in refusal(written(tmp_path, "\n".join(lines)), drop_missing_target=True)
    number = 1 + next(i for i, line in enumerate("\n\n".join(lines).split("\n")) if line == "1,u")
    assert f"line {number} has 2 fields" in refusal(written(tmp_path, "\n\n".join(lines)), drop_missing_target=True)


@pytest.mark.parametrize("place", [2, 3000])
def test_an_open_quote_is_named_by_the_line_where_it_opens(tmp_path: Path, place: int) -> None:
    content = text(6000, **{f"line_{place}": '1,"u,0'})
    assert f"line {place} has a quote that is not closed" in refusal(written(tmp_path, content))
    content = text(6000, **{f"line_{place}": '1,"u" v,0'})
    assert f"line {place} cannot be read as a row: a quote stands where none can" in refusal(written(tmp_path, content))


def test_an_open_quote_before_much_text_is_found(tmp_path: Path) -> None:
    content = text(20, line_5='1,"u,0') + "1.5,u,1\n" * 2_500_000
    assert "line 5 has a quote that is not closed" in refusal(written(tmp_path, content))


@pytest.mark.parametrize("place", [1, 7, 3000])
def test_a_line_in_another_encoding_is_named(tmp_path: Path, place: int) -> None:
    content = text(5000, **{f"line_{place}": "a,ü,y" if place == 1 else "1.0,ü,0"})
    sentence = refusal(written(tmp_path, content.encode("latin-1")))
    assert f"line {place} is not utf-8 text (byte 0xfc); set data.encoding" in sentence
    sentence = refusal(written(tmp_path, content.encode("latin-1")), encoding="gb18030")
    assert f"line {place} is not gb18030 text" in sentence
    wide = content.replace("ü", "\ue000").encode("utf-16-le").replace("\ue000".encode("utf-16-le"), b"\x00\xdc")
    assert f"line {place} is not utf-16-le text" in refusal(written(tmp_path, wide), encoding="utf-16-le")


def test_names_that_stand_twice_are_refused(tmp_path: Path) -> None:
    assert "the column name a stands more than once" in refusal(written(tmp_path, text(line_1="a, a ,y")))
    file = tmp_path / "t.parquet"
    pa.parquet.write_table(pa.table([[1.0, 2.0]] * 2, names=["a", "a"]), file)
    assert "data.path=t.parquet" in refusal(file)


def test_plain_files_are_read_by_polars_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.concat([people(), people()]).with_columns(note=pl.Series(['a "b"\nc, d', None] * 120))
    forms = {
        "quoted": csv(frame=frame),
        "CRLF": csv(frame=frame, line_terminator="\r\n"),
        "NA": csv(frame=frame, null_value="NA"),
    }
    for form, content in forms.items():
        path = tmp_path / f"{form}.csv"
        path.write_bytes(content.encode())
        source = open_source(str(path), ReadOptions(), "data.path")
        with monkeypatch.context() as patch:
            patch.setattr(text_reader, "csv_rows", lambda *a: pytest.fail("read by Python's csv module"))
            batches = pl.concat(source.batches(list(source.columns)))
        assert batches.equals(frame.with_columns(pl.col("note").str.replace("\n", "\n")), null_equal=True)


def test_rows_keep_their_order_up_to_the_one_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # polars passes on later rows when it has failed at earlier ones; whoever writes predictions relies on the order.
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 2**12)
    path = tmp_path / "late.csv"
    values = [str(i) for i in range(30_000)]
    values[20_000] = "0.5"
    path.write_text("n,m\n" + "\n".join(f"{value},1" for value in values))
    source = open_source(str(path), ReadOptions(), "data.path")
    before: list[int] = []
    with pytest.raises(WrongKinds) as wrong:
        before.extend(value for frame in source.batches(["n"]) for value in frame["n"])
    assert 10_000 < len(before) <= 20_000
    assert before == list(range(len(before)))
    again = pl.concat(wrong.value.source.batches(["n"]))["n"].to_list()
    assert again == [float(value) for value in values]


@pytest.mark.parametrize("block", [7, 64, 500, 2**24])
def test_where_a_file_is_cut_into_blocks_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", block)
    frame = people(40).with_columns(note=pl.Series(['"', "\n\n", "a,\nb", "c", None] * 8))
    for name, content in {
        "a": csv(frame=frame),
        "b": "\n\n" + csv(frame=frame, quote_style="always") + "\n \n",
    }.items():
        path = tmp_path / f"{name}.csv.gz"
        path.write_bytes(gzip.compress(content.encode()) if block == 64 else content.encode())
        in_blocks = read(path)
        assert in_blocks.drop("note").equals(frame.drop("note"), null_equal=True)
        assert in_blocks["note"].to_list() == ['"', None, "a,\nb", "c", None] * 8


def test_a_row_without_any_value_is_a_row_and_a_blank_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for blank in ("", "\n", "  \n"):
        path.write_text(f"a,b,c\n1,2,x\n{blank},,\n3,4,y\n{blank},NA,\n{blank}")
        assert read(path).rows() == [(1, 2, "x"), (None, None, None), (3, 4, "y"), (None, None, None)]
