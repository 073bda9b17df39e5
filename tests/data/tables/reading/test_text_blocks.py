"""Whatever the bytes of a file: a table comes out of them, or one sentence that says why not."""

from __future__ import annotations

import gzip
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from logreg.core.errors import UserError
from logreg.core.options.tables import Dialect, ReadOptions
from logreg.data.tables.reading import text_blocks
from logreg.data.tables.reading.source import Source, WrongKinds, open_source
from tests.helpers import table_data

quick = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def outcome(folder: Path, name: str, content: bytes, **options: Any) -> None:
    """Hold what becomes of a file against the promise."""
    path = folder / name
    path.write_bytes(content)
    try:
        data = table_data(path=str(path), cache_dir=str(folder / "cache"), **options)
        data.prepare_data()
        data.setup()
        for split in ("train", "val", "test"):
            x, y = data.tensors(split)[:2]
            values = x.values() if x.is_sparse_csr else x
            assert np.isfinite(values.numpy()).all()
            assert set(y.tolist()) <= {0.0, 1.0}
            assert len(y) == len(data.rows[split])
    except UserError as error:
        sentence = str(error)
        assert len(sentence.splitlines()) == 1
        assert name in sentence or "data." in sentence or sentence.startswith("the labels:")
        assert "Traceback" not in sentence
    finally:
        shutil.rmtree(folder / "cache", ignore_errors=True)


# --- texts that are nearly tables -------------------------------------------------------------------------------------

WORDS = st.sampled_from(["red", "blue", "two words", "it's", "Köln", "a.b", "#", "x" * 50])
QUOTES = [
    '"',
    "'",
    '"a',
    'a"',
    '5" disk',
    '"a""b"',
    '"a"b',
    '"x\ny"',
    '"x,y"',
    '""',
    '" q "',
    ' "q"',
    '"q" ',
    '"NA"',
    "\\",
]
BLANKS = ["", " ", " NA ", "  pad  ", "12 ", " 12", "\r", "\u2028", "\x0b"]
VALUES = ["NA", "nan", "-nan", "inf", "1e999", "1_0", "\u0661", "1,5", "99999999999999999999", "true", "False"]
DATES = ["2024-01-31", "2024-02-31", "01/02/2024", "2024-01-31T10:00Z"]
ODD = st.sampled_from(QUOTES + BLANKS + VALUES + DATES)
KINDS: list[st.SearchStrategy[str]] = [
    st.integers(-5, 30).map(str),
    st.floats(-1e6, 1e6).map(lambda value: f"{value:.6g}"),
    WORDS,
    st.integers(1, 28).map(lambda day: f"2024-01-{day:02d}"),
    st.sampled_from(["true", "False"]),
]


@st.composite
def texts(draw: st.DrawFn, rows: st.SearchStrategy[int]) -> tuple[str, str]:
    """A table with faults, and its delimiter; its last column is ``y``."""
    delimiter, newline = draw(st.sampled_from(",,,,\t;| ")), draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=draw(st.sampled_from([0, 1, 2, 2])), max_size=3))
    labels = draw(st.sampled_from(["01", "01", "01", "0", "012", ["yes", "no"], ["1.0", "0.0"]]))
    faults = draw(st.sampled_from([0.0, 0.01, 0.05, 0.3]))
    lines = [[f"c{i}" for i in range(len(kinds))] + ["y"]] if draw(st.integers(0, 7)) else []
    random = Random(draw(st.integers(0, 2**32)))
    # A field that has the delimiter in it needs quotes.
    pools = [[f'"{v}"' if delimiter in v else v for v in draw(st.lists(k, min_size=8, max_size=8))] for k in kinds]
    odd = draw(st.lists(ODD, min_size=4, max_size=4))
    for _ in range(draw(rows)):
        line = [*(random.choice(pool) for pool in pools), random.choice(labels)]
        if random.random() < faults:
            line[random.randrange(len(line))] = random.choice(odd)
        if random.random() < faults / 40:
            line = random.choice([line[:-1], [*line, "7"]])
        lines.append(line)
        if random.random() < faults / 10:
            lines.append(random.choice([[""], [" "], [""] * len(line)]))
    ending = newline * draw(st.integers(0, 2))
    return newline.join(delimiter.join(line) for line in lines) + ending, delimiter


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes of a file with a few of them changed, left out or put in; compressed perhaps."""
    content = bytearray(whole)
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 3]))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    if draw(st.integers(0, 14)) == 0:
        packed = gzip.compress(bytes(content))
        return packed[: draw(st.integers(1, len(packed)))] if draw(st.booleans()) else packed
    return bytes(content)


CHOICES: dict[str, list[Any]] = {
    "target": ["column_2", "c0", None],
    "delimiter": [",", "\t", ";", " ", '"'],
    "quote": ["", '"', "'", ","],
    "header": [True, False],
    "encoding": ["latin-1", "utf-16", "ascii", "shift_jis"],
    "missing": [("-",), ("7", "NA"), ("0",)],
    "drop_missing_target": [True],
    "categorical": [["c0"], ["c*"]],
    "features": [["c0"], ["c1", "c0"]],
    "weight": ["c1"],
    "group": ["c0"],
    "format": ["csv", "libsvm", "parquet", "arrow"],
}


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    """Few settings beside the target."""
    names = draw(st.lists(st.sampled_from(list(CHOICES)), max_size=2, unique=True))
    return {"target": "y"} | {name: draw(st.sampled_from(CHOICES[name])) for name in names}


@given(st.data())
@quick
def test_a_text_is_a_table_or_is_refused_in_one_sentence(folder: Path, data: st.DataObject) -> None:
    text, _ = data.draw(texts(st.one_of(st.integers(0, 12), st.integers(20, 60), st.integers(20, 60))))
    outcome(folder, "t.csv", data.draw(damaged(text.encode())), **data.draw(choices()))


@given(st.binary(max_size=400), choices())
@quick
def test_any_bytes_are_a_table_or_are_refused_in_one_sentence(folder: Path, content: bytes, options: dict) -> None:
    outcome(folder, "t.csv", content, **options)


@given(st.text(st.sampled_from("01,;\t |\n\r\"'aN.-+e:# "), max_size=200), choices())
@quick
def test_any_text_of_delimiters_and_digits_is_a_table_or_is_refused(folder: Path, text: str, options: dict) -> None:
    outcome(folder, "t.csv", text.encode(), **options)


# --- LIBSVM -----------------------------------------------------------------------------------------------------------


@st.composite
def sparse_lines(draw: st.DrawFn) -> str:
    width = draw(st.integers(1, 6))
    lines = []
    for i in range(draw(st.integers(0, 40))):
        indices = sorted(draw(st.sets(st.integers(1, width))))
        lines.append(" ".join([f"{i % 2}", *(f"{index}:{draw(st.integers(-9, 9))}" for index in indices)]))
    faults = [
        "1 0:1",
        "1 2:1 1:1",
        "x",
        "1 1:",
        "1 :1",
        "1 1:1e999",
        "1 1:nan",
        "2 1:1",
        "1,2 1:1",
        "",
        "# c",
        "nan 1:1",
    ]
    faults += ["1 99999999999:1", "1 1:1_0", "1 qid:1 1:1", "1 1:1\t2:2 # c", "1 1:1:1", "\ufeff1 1:1", "1 1 1"]
    for fault in draw(st.lists(st.sampled_from(faults), max_size=1)):
        lines.insert(draw(st.integers(0, len(lines))), fault)
    return draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])).join(lines)


@given(st.data())
@quick
def test_libsvm_lines_are_a_table_or_are_refused_in_one_sentence(folder: Path, data: st.DataObject) -> None:
    options = {"zero_based": data.draw(st.booleans())} | data.draw(
        st.sampled_from([{}, {"target": "y"}, {"folds": 3, "fold": 1}])
    )
    outcome(folder, "t.svm", data.draw(damaged(data.draw(sparse_lines()).encode())), **options)


# --- two readers, one table -------------------------------------------------------------------------------------------


def rows_of(source: Source) -> Iterator[tuple[Any, ...]]:
    """All rows, NaN and nothing but blanks as None."""
    frame = pl.concat(source.batches(list(source.columns)))
    for row in frame.iter_rows():
        yield tuple(None if isinstance(value, float) and math.isnan(value) else value for value in row)


def read(source: Source, plain: bool, block: int) -> tuple[dict[str, str], list[tuple[Any, ...]]] | None:
    """Kinds and rows by polars or by Python's csv module, from blocks of some size; None for a refusal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_blocks, "BLOCK_BYTES", block)
        patch.setattr(Dialect, "plain", plain)
        for _ in range(3):
            try:
                return source.columns, list(rows_of(source))
            except WrongKinds as wrong:
                source = wrong.source
            except UserError:
                return None
    raise AssertionError("the columns do not settle")


@pytest.mark.slow
@given(texts(st.integers(1, 40)), st.booleans(), st.sampled_from([5, 30, 200, 2**24]))
@example(('0,\',2\n0,0,0\n0,0,a"\n0,0,0\n0,0,2\n0,"x\ny",1\n0,0,0\n0,0,a"\n', ","), False, 5)
@quick
def test_polars_and_the_csv_module_read_the_same(
    folder: Path, table: tuple[str, str], is_given: bool, block: int
) -> None:
    text, delimiter = table
    path = folder / "two.csv"
    path.write_bytes(text.encode())
    try:
        source = open_source(str(path), ReadOptions(delimiter=delimiter if is_given else None), "data.path")
    except UserError:
        return
    if source.texts[0].dialect.plain:
        assert read(source, True, block) == read(source, False, 2**24)


FIELDS = st.text(st.sampled_from("ab\"',;|\t\n "), max_size=6).map(str.strip)


@pytest.mark.slow
@given(
    st.lists(st.tuples(FIELDS, st.integers(-99, 99), st.floats(-1e9, 1e9), st.booleans()), min_size=3, max_size=30),
    st.sampled_from(",\t;|"),
    st.sampled_from(["necessary", "always", "non_numeric"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([5, 30, 2**24]),
)
@quick
def test_what_polars_writes_is_read_back(
    folder: Path, rows: list[tuple[str, int, float, bool]], delimiter: str, style: Any, newline: str, block: int
) -> None:
    frame = pl.DataFrame(rows, schema=["text", "integer", "float", "boolean"], orient="row")
    path = folder / "back.csv"
    frame.write_csv(path, separator=delimiter, quote_style=style, line_terminator=newline)
    options = ReadOptions(delimiter=delimiter, quote='"', header=True, text=("text",))
    kinds_and_rows = read(open_source(str(path), options, "data.path"), True, block)
    assert kinds_and_rows is not None
    assert kinds_and_rows[0] == {"text": "string", "integer": "integer", "float": "float", "boolean": "boolean"}
    assert kinds_and_rows[1] == [(text or None, *others) for text, *others in rows]
