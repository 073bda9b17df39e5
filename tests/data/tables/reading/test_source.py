"""Tables are read alike whatever file they come in."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest

from logreg.data import TableData
from logreg.data.tables.reading import text_blocks
from tests.data.tables.reading.sources import csv, people, same, table


def aligned(text: str) -> str:
    lines = [[field or "NA" for field in line.split(",")] for line in text.splitlines()]
    return "\n".join("".join(field.rjust(22) for field in line) for line in lines)


TEXTS: dict[str, Callable[[], bytes]] = {
    "comma": lambda: csv().encode(),
    "tab": lambda: csv("\t").encode(),
    "semicolon": lambda: csv(";").encode(),
    "bar": lambda: csv("|").encode(),
    "blank": lambda: csv(" ", null_value="NA").encode(),
    "comma and blank": lambda: csv().replace(",", ", ").encode(),
    "blank, comma and blank": lambda: csv().replace(",", " , ").encode(),
    "aligned by blanks": lambda: aligned(csv()).encode(),
    "quoted": lambda: csv(quote_style="always").encode(),
    "single quotes": lambda: csv(quote_style="always").replace('"', "'").encode(),
    "quoted after a blank": lambda: csv(quote_style="always").replace(",", ", ").encode(),
    "CRLF": lambda: csv(line_terminator="\r\n").encode(),
    "quoted and CRLF": lambda: csv(line_terminator="\r\n", quote_style="always").encode(),
    "old Mac": lambda: csv(line_terminator="\r").encode(),
    "byte order mark": lambda: b"\xef\xbb\xbf" + csv().encode(),
    "no end of the last line": lambda: csv().rstrip("\n").encode(),
    "blank lines everywhere": lambda: ("\n \n" + csv().replace("\n", "\n\n")).encode(),
    "blank lines at the end": lambda: (csv() + "\n\n  \n").encode(),
    "blank lines and CRLF": lambda: csv(line_terminator="\r\n\r\n").encode(),
    "missing as NA": lambda: csv(null_value="NA").encode(),
    "missing as NA with blanks": lambda: csv(null_value=" NA ").encode(),
    "blanks behind numbers": lambda: csv().replace(",", " ,").encode(),
    "capital booleans": lambda: csv().replace("true", "True").replace("false", "FALSE").encode(),
}


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "people.csv": lambda text: text,
    "people.csv.gz": gzip.compress,
    "people.txt": lambda text: gzip.compress(text[:900]) + gzip.compress(text[900:]),
    "people.csv.zst": lambda text: pa.compress(text, codec="zstd", asbytes=True),
}


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> TableData:
    path = tmp_path_factory.mktemp("parquet") / "people.parquet"
    people().write_parquet(path)
    return table(path)


@pytest.mark.parametrize("form", TEXTS)
def test_a_text_table_is_what_the_same_parquet_table_is(tmp_path: Path, parquet: TableData, form: str) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(TEXTS[form]())
    same(table(path), parquet)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("form", ["comma", "quoted and CRLF"])
def test_a_compressed_table_is_known_by_its_bytes(tmp_path: Path, parquet: TableData, name: str, form: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACKED[name](TEXTS[form]()))
    same(table(path), parquet)


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
@pytest.mark.parametrize("name", ["people.arrow", "people.feather", "people"])
def test_an_arrow_table_is_what_the_same_parquet_table_is(
    tmp_path: Path, parquet: TableData, name: str, compression: str
) -> None:
    pyarrow.feather.write_feather(people().to_arrow(), tmp_path / name, compression=compression)
    same(table(tmp_path / name), parquet)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "gb18030"])
@pytest.mark.parametrize("block", [2**24, 300])
def test_other_encodings_are_read_when_they_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, block: int
) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", block)
    frame = people().with_columns(pl.col("city").replace("Bonn", "Köln")).rename({"height": "größe"})
    (tmp_path / "plain.csv").write_text(csv(frame=frame), encoding="utf-8")
    (tmp_path / "other.csv").write_bytes(csv(frame=frame).encode(encoding))
    same(table(tmp_path / "other.csv", encoding=encoding), table(tmp_path / "plain.csv"))


def test_files_of_a_folder_or_a_glob_follow_each_other(tmp_path: Path, parquet: TableData) -> None:
    frame = people()
    for name, folder in (("parquet", "a"), ("csv", "b")):
        (tmp_path / folder / "deep").mkdir(parents=True)
        for path, part in ((f"1.{name}", frame[:50]), (f"deep/2.{name}", frame[50:51]), (f"deep/3.{name}", frame[51:])):
            getattr(part, f"write_{name}")(tmp_path / folder / path)
        (tmp_path / folder / "_SUCCESS").touch()
        (tmp_path / folder / "notes.md").write_text("not a table")
        same(table(tmp_path / folder), parquet)
        same(table(tmp_path / folder / "**" / f"*.{name}"), parquet)


def test_each_file_of_a_glob_has_its_own_dialect(tmp_path: Path, parquet: TableData) -> None:
    frame = people()
    (tmp_path / "1.csv").write_text(csv(";", frame[:40], quote_style="always"))
    (tmp_path / "2.csv").write_bytes(gzip.compress(csv("\t", frame[40:80]).encode()))
    (tmp_path / "3.csv").write_text(csv(frame=frame[80:]).replace(",", ", "))
    same(table(tmp_path / "*.csv"), parquet)


@pytest.mark.parametrize("name", ["a[1].csv", "b*.parquet", "{c}.arrow"])
def test_a_file_is_found_by_a_name_that_looks_like_a_glob(tmp_path: Path, parquet: TableData, name: str) -> None:
    write = {"csv": "write_csv", "parquet": "write_parquet", "arrow": "write_ipc"}[name.partition(".")[2]]
    getattr(people(), write)(tmp_path / name)
    same(table(tmp_path / name), parquet)
