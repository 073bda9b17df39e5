"""Tables are read alike whatever file they come in; pandas, polars and scikit-learn say what is in it."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from logreg.core.errors import UserError
from logreg.data import TableData
from logreg.data.labels import label_codes
from logreg.data.tables.options import ReadOptions
from logreg.data.tables.reading import csv_fallback, text_blocks
from logreg.data.tables.reading.source import WrongKinds, open_source
from tests.helpers import table_data


def table(path: Path, **settings: Any) -> TableData:
    settings = {"target": "bought", "seed": 1, **settings}
    data = table_data(path=str(path), cache_dir=str(path.parent / "cache"), **settings)
    data.prepare_data()
    data.setup()
    return data


def read(path: Path, columns: list[str] | None = None, **options: Any) -> pl.DataFrame:
    """A file as the preparation sees it: read again where its beginning did not tell what is in it."""
    source = open_source(str(path), ReadOptions(**options), "data.path")
    for _ in range(3):
        try:
            return pl.concat(source.batches(columns or list(source.columns)))
        except WrongKinds as wrong:
            source = wrong.source
    raise AssertionError("the columns do not settle")


def content(data: TableData) -> tuple[str, dict[str, np.ndarray]]:
    """The preprocessing, and the features and labels of every split."""
    assert data.cached is not None
    arrays = {}
    for split in ("train", "val", "test"):
        x, y = data.tensors(split)[:2]
        arrays |= {f"x {split}": x.numpy(), f"y {split}": y.numpy()}
    return data.cached.manifest.preprocessing, arrays


def same(left: TableData, right: TableData) -> None:
    (preprocessing, arrays), (others_preprocessing, others) = content(left), content(right)
    assert preprocessing == others_preprocessing
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)


def people(rows: int = 120) -> pl.DataFrame:
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "height": random.normal(170, 10, rows),
            "children": random.integers(0, 4, rows),
            "city": random.choice(["Bonn", "Ulm", "Hof"], rows),
            "member": random.random(rows) < 0.5,
            "day": [pl.Series(["2024-01-05"]).str.to_date()[0]] * rows,
            "bought": random.choice(["no", "yes"], rows),
        }
    )
    gap = pl.Series(random.random(rows) < 0.1)
    return frame.with_columns(
        pl.when(~gap).then("height"),
        pl.when(~gap.reverse()).then("city"),
        pl.when(~gap.shift(3, fill_value=False)).then("children"),
        pl.col("day") + pl.duration(days=pl.Series(random.integers(0, 700, rows))),
    )


def csv(separator: str = ",", frame: pl.DataFrame | None = None, **settings: Any) -> str:
    return (people() if frame is None else frame).write_csv(separator=separator, **settings)


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


@pytest.mark.parametrize("target", [pl.Float64, pl.Int8, pl.Boolean, pl.String])
def test_labels_do_not_depend_on_how_the_file_writes_them(tmp_path: Path, target: Any) -> None:
    bought = (pl.col("bought") == "yes").cast(pl.Int8).cast(target)
    frame = people().with_columns(bought)
    frame.write_parquet(tmp_path / "people.parquet")
    for form in (
        csv(frame=frame),
        csv(frame=frame, quote_style="always").replace("true", "True").replace("false", "False"),
    ):
        (tmp_path / "people.csv").write_text(form)
        same(table(tmp_path / "people.csv"), table(tmp_path / "people.parquet"))


@pytest.mark.parametrize("texts", [["0", "1"], ["0.0", "1.0"], ["0.", " 1 "], ["+0", "+1"], ["0.000", "+1.0"]])
def test_labels_of_a_later_file_are_known_in_other_spellings(texts: list[str]) -> None:
    assert label_codes(texts, ("0", "1"), {}, "data.target=y").tolist() == [0, 1]
    with pytest.raises(UserError, match=r"data\.target=y: '0\.5' is neither"):
        label_codes(["0.5"], ("0", "1"), {}, "data.target=y")


# --- dialects ---------------------------------------------------------------------------------------------------------

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
    found = read(path)
    assert found.columns == list(expected.columns)
    for column in expected.columns:
        # Blanks around a text are no part of it, and a text of blanks alone is missing.
        wanted = [(v.strip() or None) if isinstance(v, str) else v for v in expected[column]]
        assert found[column].to_list() == wanted


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


# --- what columns hold ------------------------------------------------------------------------------------------------


def column(path: Path, values: list[str], **options: Any) -> pl.Series:
    path.write_text("v,row\n" + "".join(f"{value},{i}\n" for i, value in enumerate(values)))
    return read(path, **options)["v"]


def test_numbers_are_read_in_all_their_forms(tmp_path: Path) -> None:
    texts = ["1", "+1", "-1", "01", "1.", ".5", "-.5", "1e3", "1E+3", "2.5e-3", "1e-999", "12345678901234567890"]
    found = column(tmp_path / "t.csv", texts)
    assert found.dtype == pl.Float64
    assert found.to_list() == [float(text) for text in texts]
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
    found = column(tmp_path / "t.csv", [beginning] * 3000 + [later, "3"])
    assert found.dtype.is_numeric()
    assert found.to_list()[2999:] == [1 if beginning else None, value, 3]


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
    found = column(tmp_path / "t.csv", [early] * 2000 + [late] * 1000)
    assert found.dtype == dtype
    assert found.null_count() == (2000 if not early else 0)


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
    found = column(tmp_path / "t.csv", [text, "2024-02-01 00:00"])
    assert pd.Timestamp(found[0]) == pd.Timestamp(time)


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


# --- rows, their order and who reads them -----------------------------------------------------------------------------


def test_plain_files_are_read_by_polars_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.concat([people(), people()]).with_columns(note=pl.Series(['a "b"\nc, d', None] * 120))
    forms = {
        "quoted": csv(frame=frame),
        "CRLF": csv(frame=frame, line_terminator="\r\n"),
        "NA": csv(frame=frame, null_value="NA"),
    }
    for form, text in forms.items():
        path = tmp_path / f"{form}.csv"
        path.write_bytes(text.encode())
        source = open_source(str(path), ReadOptions(), "data.path")
        with monkeypatch.context() as patch:
            patch.setattr(csv_fallback, "rows", lambda *a: pytest.fail("read by Python's csv module"))
            found = pl.concat(source.batches(list(source.columns)))
        assert found.equals(frame.with_columns(pl.col("note").str.replace("\n", "\n")), null_equal=True)


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
    for name, text in {"a": csv(frame=frame), "b": "\n\n" + csv(frame=frame, quote_style="always") + "\n \n"}.items():
        path = tmp_path / f"{name}.csv.gz"
        path.write_bytes(gzip.compress(text.encode()) if block == 64 else text.encode())
        found = read(path)
        assert found.drop("note").equals(frame.drop("note"), null_equal=True)
        assert found["note"].to_list() == ['"', None, "a,\nb", "c", None] * 8


def test_a_row_without_any_value_is_a_row_and_a_blank_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for blank in ("", "\n", "  \n"):
        path.write_text(f"a,b,c\n1,2,x\n{blank},,\n3,4,y\n{blank},NA,\n{blank}")
        assert read(path).rows() == [(1, 2, "x"), (None, None, None), (3, 4, "y"), (None, None, None)]


# --- LIBSVM -----------------------------------------------------------------------------------------------------------


def sparse(rows: int = 90, width: int = 12) -> tuple[Any, np.ndarray]:
    random = np.random.default_rng(2)
    x = random.normal(size=(rows, width)).round(6) * (random.random((rows, width)) < 0.4)
    x[:, -1] = 1 + np.arange(rows)  # every row has the last column
    return x, np.where(np.arange(rows) % 2, 1, -1)


def libsvm(zero_based: bool = False, **settings: Any) -> bytes:
    file = io.BytesIO()
    x, y = sparse(**settings)
    dump_svmlight_file(x, y, file, zero_based=zero_based)
    return file.getvalue()


def dense(data: TableData) -> np.ndarray:
    return np.concatenate(
        [block.to_dense().numpy() for split in ("train", "val", "test") for block in [data.tensors(split)[0]]]
    )


@pytest.mark.parametrize("block", [2**23, 50])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b"\n\n"),
        lambda text: b"# a comment: 1:1\n" + text.replace(b"\n", b" # 7:7\n"),
        lambda text: text.replace(b" ", b" qid:1 ", 1),
        lambda text: b"\xef\xbb\xbf" + text.rstrip(b"\n"),
        lambda text: text.replace(b" ", b"\t"),
        lambda text: text.replace(b"\n", b"\r"),
        gzip.compress,
        lambda text: pa.compress(text, codec="zstd", asbytes=True),
    ],
)
def test_libsvm_files_hold_what_scikit_learn_finds_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes], block: int
) -> None:
    monkeypatch.setattr("logreg.data.tables.reading.libsvm.BLOCK_BYTES", block)
    path = tmp_path / "table.svm"
    path.write_bytes(change(libsvm()))
    data = table(path, target=None, storage="float64")
    assert data.cached is not None
    expected, labels = load_svmlight_file(io.BytesIO(libsvm()))
    indptr, indices, values = data.cached.csr
    assert indptr.tolist() == expected.indptr.tolist()
    assert indices.tolist() == expected.indices.tolist()
    np.testing.assert_array_equal(values, expected.data)
    assert data.cached.y.tolist() == (labels > 0).astype(int).tolist()


def test_libsvm_is_known_by_its_lines_and_may_begin_at_0(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes(libsvm())
    (tmp_path / "zero.txt").write_bytes(libsvm(zero_based=True))
    one, zero = table(tmp_path / "one.txt", target=None), table(tmp_path / "zero.txt", target=None, zero_based=True)
    assert one.cached is not None
    assert zero.cached is not None
    for left, right in zip(one.cached.csr, zero.cached.csr, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(("width", "noted"), [(5, False), (12, False), (30, True)])
def test_later_libsvm_files_have_the_width_of_training(tmp_path: Path, width: int, noted: bool) -> None:
    (tmp_path / "train.svm").write_bytes(libsvm())
    (tmp_path / "test.svm").write_bytes(libsvm(width=width))
    data = table(tmp_path / "train.svm", target=None, test_path=str(tmp_path / "test.svm"), storage="float64")
    assert data.cached is not None
    x, _ = sparse(width=width)
    expected = np.zeros((len(x), 12))
    expected[:, : min(width, 12)] = x[:, :12]
    indptr, indices, values = data.cached.csr
    rows = data.rows["test"]
    found = np.zeros((len(rows), 12))
    for i, row in enumerate(rows):
        found[i, indices[indptr[row] : indptr[row + 1]]] = values[indptr[row] : indptr[row + 1]]
    np.testing.assert_array_equal(found, expected)
    assert any("30 columns" in note for note in data.cached.manifest.notes) == noted


# --- levels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([1.0, float("nan"), 2.0, None], ["1", "2"]),
        ([0.1, float("nan"), 0.2, float("nan")], ["0.1", "0.2"]),
        ([2**60, 2**60 + 1, 2**60 + 2, 2**60], [str(2**60 + i) for i in range(3)]),
        ([date(2024, 1, 31), date(2023, 5, 1), None, date(2024, 1, 31)], ["2023-05-01", "2024-01-31"]),
        ([Decimal("1.50"), Decimal("2.25"), Decimal("1.50"), Decimal("3.00")], ["1.5", "2.25", "3"]),
        ([1e19, 2e19, 1e19, 2e19], ["1e+19", "2e+19"]),
        (pl.Series([0.1, 0.2, 0.1, 0.2], dtype=pl.Float32), ["0.1", "0.2"]),
    ],
)
def test_any_column_can_be_levels_or_labels(tmp_path: Path, values: Any, levels: list[str]) -> None:
    values = pl.Series("c", values, strict=False)
    column = pl.concat([values] * (100 // len(values)))
    random, rows = np.random.default_rng(0), len(column)
    x, y = random.normal(size=rows), random.integers(0, 2, rows)
    frame = pl.DataFrame([column, pl.Series("x", x), pl.Series("y", y)])
    frame.write_parquet(tmp_path / "t.parquet")
    data = table(tmp_path / "t.parquet", target="y", categorical=["c"])
    found = next(c for c in data.preprocessor.columns if c.feature == "c")
    assert found.levels == levels
    assert found.missing == (column.fill_nan(None) if column.dtype.is_float() else column).is_null().any()
    # A frame, and the file read lazily for Parquet to Parquet, are encoded as the training rows were.
    x = data.preprocessor.transform(frame)
    np.testing.assert_allclose(x[data.rows["train"]], data.tensors("train")[0].numpy(), atol=1e-6)
    weight = random.normal(size=x.shape[1])
    lazily = pl.scan_parquet(tmp_path / "t.parquet")
    expression = data.preprocessor.logit_expression(weight, 0.5, lazily.collect_schema())
    np.testing.assert_allclose(lazily.select(expression).collect().to_series(), x @ weight + 0.5, atol=1e-9)


def test_labels_of_any_kind_and_gaps_among_them(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    y = np.where(random.random(100) < 0.1, np.nan, random.integers(0, 2, 100))
    weight = np.where(np.isnan(y), np.nan, 1.0)
    pl.DataFrame({"x": random.normal(size=100), "y": y, "w": weight}).write_parquet(tmp_path / "t.parquet")
    data = table(tmp_path / "t.parquet", target="y", weight="w", drop_missing_target=True)
    assert sum(map(len, data.rows.values())) == np.count_nonzero(~np.isnan(y))
