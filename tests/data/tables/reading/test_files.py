"""Files that are no tables are called what they are."""

from __future__ import annotations

import gzip
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.data.tables.people import assert_alike, people, table
from tests.data.tables.refusals import frame, refusal, text, written


def packed(write: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    getattr(frame(2000), write)(file, **settings)
    return file.getvalue()


ZSTD: Callable[[bytes], bytes] = lambda data: pa.compress(data, codec="zstd", asbytes=True)  # noqa: E731


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.csv") == "data.path=no.csv: there is no such file."
    assert refusal(tmp_path / "*.csv") == "data.path=*.csv: no file matches."
    good = written(tmp_path, text())
    for setting in ("val_path", "test_path"):
        other = {setting: str(tmp_path / "no.csv")}
        assert refusal(good, **other) == f"data.{setting}=no.csv: there is no such file."
    for path in ("", "\0", "x" * 5000):
        assert "data.path=" in refusal(path, folder=tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"), [("", "is empty"), ("\n \n\r\n", "is empty"), ("a,b,y\n", "a header and no rows")]
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, ZSTD])
def test_a_file_without_rows_is_refused(
    tmp_path: Path, content: str, reason: str, pack: Callable[[bytes], bytes]
) -> None:
    assert re.match(rf"data\.path=t\.csv: .*{reason}", refusal(written(tmp_path, pack(content.encode()))))


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_a_binary_table_without_rows_is_refused(tmp_path: Path, name: str) -> None:
    getattr(frame().head(0), "write_parquet" if name == "t.parquet" else "write_ipc")(tmp_path / name)
    assert refusal(tmp_path / name) == f"data.path={name}: there are no rows."


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.gz", gzip.compress(text(40_000).encode())),
        ("t.csv.zst", ZSTD(text(40_000).encode())),
        ("t.parquet", packed("write_parquet")),
        ("t.arrow", packed("write_ipc")),
        ("t.feather", packed("write_ipc", compression="zstd")),
        ("t.svm.gz", gzip.compress(b"1 1:2 2:3\n-1 1:3 2:4\n" * 20_000)),
    ],
)
def test_a_file_that_was_cut_off_is_called_damaged(tmp_path: Path, name: str, content: bytes, share: float) -> None:
    path = written(tmp_path, content[: int(share * len(content))], name)
    settings = {"target": None} if "svm" in name else {}
    assert re.match(
        rf"data\.path={name}: the file is truncated, damaged|.*truncated or damaged", refusal(path, **settings)
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bytes(range(256)) * 9, "binary"),
        (b"a,y\n1,0\n\0\0,1\n", "binary"),
        (
            np.random.default_rng(0).integers(1, 256, 5000).astype(np.uint8).tobytes(),
            "not utf-8 text|fields where|quote",
        ),
        (b"BZh91AY&SY rest", "bzip2"),
        (b"\xfd7zXZ\0 rest", "xz"),
        (b"PK\x03\x04 rest", "a zip archive or a spreadsheet"),
        (text().encode("utf-16"), "data.encoding=utf-16"),
        (b"FEA1 rest", "Feather version 1"),
        (b"\xff\xff\xff\xff rest", "an Arrow stream"),
        (b"PAR1 rest", "not parquet"),
        (b"ARROW1 rest", "not arrow"),
    ],
)
def test_what_is_no_table_is_called_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    assert re.search(reason, refusal(written(tmp_path, content)))


@pytest.mark.parametrize(
    ("name", "format"), [("t.csv", "parquet"), ("t.parquet", None), ("t.arrow", None), ("t.pq", "arrow")]
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, name: str, format: str | None) -> None:
    path = written(tmp_path, text(), name)
    assert re.search(r"not (parquet|arrow)", refusal(path, format=format))


def test_folders_devices_and_pipes_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "this folder has no table in it" in refusal(tmp_path / "folder")
    written(tmp_path / "folder", "", "a.parquet")
    assert "a.parquet is empty" in refusal(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "a device or a pipe" in refusal(tmp_path / "pipe.csv")
    assert "a device or a pipe" in refusal("/dev/null", folder=tmp_path)


def test_files_of_one_table_have_the_same_columns_and_format(tmp_path: Path) -> None:
    written(tmp_path, text(), "1.csv")
    written(tmp_path, text(line_1="a,c,y"), "2.csv")
    assert "(2.csv): its columns are not those of 1.csv: b, c" in refusal(tmp_path / "*.csv")
    written(tmp_path, text(line_1="b,a,y"), "2.csv")
    assert "(2.csv): its columns are not those of 1.csv: their order" in refusal(tmp_path / "*.csv")
    written(tmp_path, text(line_9="1,u"), "2.csv")
    assert "(2.csv): line 9 has 2 fields" in refusal(tmp_path / "*.csv")
    frame().write_ipc(tmp_path / "3.arrow")
    assert "files of several formats" in refusal(tmp_path / "", folder=tmp_path)


def test_folders_that_name_columns_are_read(tmp_path: Path) -> None:
    table_of_people = people(300)
    years = np.repeat([2020, 2021, 2022], 100)
    for year in (2020, 2021, 2022):
        folder = tmp_path / "t" / f"year={year}" / "land=S%C3%BCd"
        folder.mkdir(parents=True)
        table_of_people[years == year].to_parquet(folder / "part.parquet")
    data = table(tmp_path, str(tmp_path / "t"), features=["year", "age"])
    assert data.preprocessor.raw_columns == ["age", "year"]
    table_of_people.assign(year=years).to_parquet(tmp_path / "flat.parquet")
    flat = table(tmp_path, str(tmp_path / "flat.parquet"), features=["year", "age"])
    assert_alike(data.preprocessor, flat.preprocessor)
    by_glob = table(tmp_path, str(tmp_path / "t" / "*" / "*" / "*.parquet"), features=["year", "age"])
    assert_alike(by_glob.preprocessor, flat.preprocessor)
    land = table(tmp_path, str(tmp_path / "t"), features=["land", "age"])
    assert "one value only" in land.preprocessor.left_out["land"]
