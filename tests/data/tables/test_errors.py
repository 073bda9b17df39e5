"""A table that cannot be used is refused in one sentence that names the file or setting, and the place."""

from __future__ import annotations

import gzip
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from logreg.core.errors import UserError
from logreg.data import TableData
from logreg.data.tables.options import ReadOptions
from logreg.data.tables.reading import text_blocks
from tests.helpers import table_data


def prepare(path: Path | str, **settings: Any) -> TableData:
    folder = settings.pop("folder", Path(path).parent)
    data = table_data(path=str(path), cache_dir=str(folder / "cache"), **{"target": "y", **settings})
    data.prepare_data()
    data.setup()
    return data


def refusal(path: Path | str, **settings: Any) -> str:
    """What is said of a table, without the folder of its files."""
    with pytest.raises(UserError) as refused:
        prepare(path, **settings)
    text = str(refused.value)
    assert len(text.splitlines()) == 1
    assert text.endswith(".")
    assert not re.search(r"[.;,]\.$", text)
    assert re.match(r"data\.\w+|the labels", text)
    return text.replace(f"{Path(path).parent}{os.sep}", "")


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(count: int = 40, **changes: str) -> list[str]:
    """Lines of a table of numbers ``a``, levels ``b`` and labels ``y``; ``line_7="…"`` is another line 7."""
    lines = ["a,b,y", *(f"{i * 0.5},{'uvw'[i % 3]},{i % 2}" for i in range(count))]
    for key, line in changes.items():
        lines[int(key.removeprefix("line_")) - 1] = line
    return lines


def text(count: int = 40, **changes: str) -> str:
    return "\n".join(rows(count, **changes)) + "\n"


def frame(count: int = 40) -> pl.DataFrame:
    return pl.read_csv(text(count).encode())


def packed(write: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    getattr(frame(2000), write)(file, **settings)
    return file.getvalue()


ZSTD: Callable[[bytes], bytes] = lambda data: pa.compress(data, codec="zstd", asbytes=True)  # noqa: E731

# --- files ------------------------------------------------------------------------------------------------------------


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
    ("content", "said"), [("", "is empty"), ("\n \n\r\n", "is empty"), ("a,b,y\n", "a header and no rows")]
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, ZSTD])
def test_a_file_without_rows_is_refused(
    tmp_path: Path, content: str, said: str, pack: Callable[[bytes], bytes]
) -> None:
    assert re.match(rf"data\.path=t\.csv: .*{said}", refusal(written(tmp_path, pack(content.encode()))))


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_a_binary_table_without_rows_is_refused(tmp_path: Path, name: str) -> None:
    getattr(frame().head(0), "write_parquet" if name == "t.parquet" else "write_ipc")(tmp_path / name)
    assert refusal(tmp_path / name) == f"data.path={name}: there are no rows."


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
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
def test_a_file_that_was_cut_off_is_called_damaged(tmp_path: Path, name: str, content: bytes, kept: float) -> None:
    path = written(tmp_path, content[: int(kept * len(content))], name)
    settings = {"target": None} if "svm" in name else {}
    assert re.match(
        rf"data\.path={name}: the file is truncated, damaged|.*truncated or damaged", refusal(path, **settings)
    )


@pytest.mark.parametrize(
    ("content", "said"),
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
def test_what_is_no_table_is_called_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    assert re.search(said, refusal(written(tmp_path, content)))


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


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [5, 900, 1500])
@pytest.mark.parametrize(("line", "fields"), [("1,u,0,9", 4), ("1,u", 2), ("1", 1), ("1,u,0,", 4), ("1,u,0,,,", 6)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_ragged_row_is_named_by_its_line(
    tmp_path: Path, place: int, line: str, fields: int, pack: Callable[[bytes], bytes]
) -> None:
    content = text(2000, **{f"line_{place}": line})
    said = refusal(written(tmp_path, pack(content.encode())))
    assert f"data.path=t.csv: line {place} has {fields} field{'s' * (fields > 1)} where 3 are expected" in said


@pytest.mark.parametrize(("line", "fields", "pack"), [("1,u,0,9", 4, gzip.compress), ("1,u", 2, bytes)])
def test_a_ragged_row_is_named_by_its_line_in_a_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, fields: int, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 2**16)  # a large file has many blocks
    content = text(180_000, line_150000=line)
    said = refusal(written(tmp_path, pack(content.encode())))
    assert f"data.path=t.csv: line 150000 has {fields} fields where 3 are expected" in said


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
    said = refusal(written(tmp_path, content.encode("latin-1")))
    assert f"line {place} is not utf-8 text (byte 0xfc); set data.encoding" in said
    said = refusal(written(tmp_path, content.encode("latin-1")), encoding="gb18030")
    assert f"line {place} is not gb18030 text" in said
    wide = content.replace("ü", "\ue000").encode("utf-16-le").replace("\ue000".encode("utf-16-le"), b"\x00\xdc")
    assert f"line {place} is not utf-16-le text" in refusal(written(tmp_path, wide), encoding="utf-16-le")


@pytest.mark.parametrize("encoding", ["klingon", "hex", "undefined"])
def test_an_encoding_that_does_not_exist_is_refused(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, text())
    assert f"data.encoding={encoding}: the name of an encoding" in refusal(path, encoding=encoding)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("format", "xls"), ("delimiter", ""), ("delimiter", ",,"), ("delimiter", "\n"), ("quote", "''"), ("quote", " ")],
)
def test_a_dialect_that_cannot_be_is_refused(setting: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"data\.{setting}="):
        ReadOptions(**{setting: value})
    with pytest.raises(UserError, match=r"data\.quote=';'"):
        ReadOptions(delimiter=";", quote=";")


def test_names_that_stand_twice_are_refused(tmp_path: Path) -> None:
    assert "the column name a stands more than once" in refusal(written(tmp_path, text(line_1="a, a ,y")))
    file = tmp_path / "t.parquet"
    pa.parquet.write_table(pa.table([[1.0, 2.0]] * 2, names=["a", "a"]), file)
    assert "data.path=t.parquet" in refusal(file)


# --- columns ----------------------------------------------------------------------------------------------------------


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
    said = refusal(written(tmp_path, "\n".join(lines)))
    assert f"data.path=t.csv: line {place} has '{stray}' in column v" in said
    assert f"other values are {'dates' if '-' in others else 'numbers'}" in said
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
    said = "column empty has no value at all; leave it out with 'data.exclude=[empty]'."
    assert refusal(path) == f"data.path=t.csv: {said}"
    assert prepare(path, exclude=["empty"]).preprocessor.raw_columns == ["a"]
    frame(count).with_columns(empty=pl.lit(None)).write_parquet(tmp_path / "t.parquet")
    assert refusal(tmp_path / "t.parquet") == f"data.path=t.parquet: {said}"


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
    said = refusal(path, **{role: "balanse"})
    assert said.startswith(f"data.{role}=balanse: data.path=t.csv has no such column (did you mean balance?)")
    assert "it has age, balance, y" in said


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


# --- labels and weights -----------------------------------------------------------------------------------------------


def labelled(folder: Path, labels: list[str]) -> Path:
    return written(folder, "a,y\n" + "".join(f"{i / 2},{label}\n" for i, label in enumerate(labels)))


def test_a_target_has_two_values(tmp_path: Path) -> None:
    assert "there is only one value, 1 (20 rows)" in refusal(labelled(tmp_path, ["1"] * 20))
    said = refusal(labelled(tmp_path, ["no"] * 20 + ["yes"] * 9 + ["perhaps"] * 3))
    assert said == (
        "data.path=t.csv, data.target=y: two labels are needed, and there are 3 values, no (20 rows), yes (9 rows), "
        "perhaps (3 rows); "
        "data.labels maps several to 0 and 1."
    )
    assert "more than 100 different values" in refusal(labelled(tmp_path, [f"l{i}" for i in range(200)]))


def test_rows_without_a_label_are_counted_and_left_out_on_demand(tmp_path: Path) -> None:
    path = labelled(tmp_path, ["0", "1", "NA", "1", "0"] * 20 + [""])
    assert refusal(path) == (
        "data.path=t.csv, data.target=y: 21 of 101 rows have no value there; data.drop_missing_target=true leaves "
        "them out."
    )
    assert len(prepare(path, drop_missing_target=True).rows["train"]) < 80
    assert "no row has a value" in refusal(labelled(tmp_path, ["NA"] * 30), drop_missing_target=True)


@pytest.mark.parametrize(("weight", "said"), [("-2", "is -2"), ("", "is missing"), ("nan", "is missing")])
def test_a_bad_weight_is_named_by_its_row(tmp_path: Path, weight: str, said: str) -> None:
    path = written(tmp_path, "a,w,y\n" + "".join(f"{i / 2},{weight if i == 9 else 1},{i % 2}\n" for i in range(30)))
    assert (
        refusal(path, weight="w")
        == f"data.weight=w: the weight in row 10 of data.path=t.csv {said}; weights are 0 or more."
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
    said = "label 0 has 30 rows, label 1 has 2"
    assert re.match(rf"data\.split: each of the 3 splits needs a row of each class, and {said}", refusal(path))
    assert re.match(rf"data\.folds: each of the 5 folds .*{said}", refusal(path, folds=5, fold=0))


# --- LIBSVM -----------------------------------------------------------------------------------------------------------

LINES = [f"{1 - i % 2 * 2} 1:{i} 3:{i / 2} 7:1" for i in range(40)]


@pytest.mark.parametrize("place", [1, 900])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 x:3", "'x:3' is not index:value"),
        ("1 0:3", "index 0 is below 1; data.zero_based=true"),
        ("1 -2:3", "index -2 is below 1"),
        ("1 2:3 2:4", "index 2 follows 2; indices must ascend"),
        ("1 5:3 2:4", "index 2 follows 5; indices must ascend"),
        ("1 2147483647:1", "index '2147483647' is too large"),
        ("1 99999999999999999999:1", "index '99999999999999999999' is too large"),
        ("1 1e2:1", "'1e2:1' is not index:value"),
        ("1 1_0:1", "'1_0:1' is not index:value"),
        ("1 13", "'13' is not index:value"),
        ("1 1:", "the value of '1:' is not a number"),
        ("1 1: 2", "the value of '1:' is not a number"),
        ("1 1:2:3", "the value of '1:2:3' is not a number"),
        ("1 1:1_0", "the value of '1:1_0' is not a number"),
        ("1 1:inf", "the value of '1:inf' is not finite"),
        ("1 1:nan", "the value of '1:nan' is not finite"),
        ("1 1:1e999", "the value of '1:1e999' is not finite"),
        ("1 1:2 qid:3", "'qid:3' is not index:value"),
        ("yes 1:3", "the label 'yes' is not a number"),
        ("1,2 1:3", "the label '1,2' is not a number"),
        ("1:3 2:4", "the label '1:3' is not a number"),
        ("nan 1:3", "the label 'nan' is not finite"),
        ("1 1:\u0661", "the value of '1:\u0661' is not a number"),
    ],
)
def test_a_libsvm_line_that_is_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, line: str, said: str
) -> None:
    monkeypatch.setattr("logreg.data.tables.reading.libsvm.BLOCK_BYTES", 2**11)
    lines = LINES * (1 + place // 40)
    lines[place - 1] = line
    path = written(tmp_path, "\n".join(lines), "t.svm")
    assert refusal(path, target=None).startswith(f"data.path=t.svm: line {place}: {said}")


def test_a_libsvm_table_without_two_labels_or_features_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "1 1:2\n" * 20, "t.svm")
    assert "there is only one value, 1 (20 rows)" in refusal(path, target=None)
    path = written(tmp_path, "1\n-1\n" * 20, "t.svm")
    assert refusal(path, target=None) == "data.path=t.svm: no row has any feature."
    path = written(tmp_path, "\n".join(LINES), "t.svm")
    for setting in ("target", "weight", "group"):
        assert refusal(path, **{"target": None, setting: "y"}).startswith(
            f"data.{setting}=y: a LIBSVM file has a label"
        )


def test_a_libsvm_file_is_known_although_a_line_is_wrong(tmp_path: Path) -> None:
    lines = list(LINES)
    lines[20] = "1 oops"
    assert "line 21: 'oops' is not index:value" in refusal(written(tmp_path, "\n".join(lines), "t.txt"), target=None)


def test_labels_that_all_mean_the_same_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "1,x\n2,z\n" * 20)
    message = refusal(path, labels={"x": 0, "z": 0})
    assert "data.labels maps every label that occurs to 0; some must be 1" in message
    assert "'z' is 2; 0 or 1 is needed" in refusal(path, labels={"x": 0, "z": 2})
