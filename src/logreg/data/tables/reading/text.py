"""The rows of a text file as frames: read by polars, or where it cannot, by Python's csv module.

A file is read in blocks of whole rows, so that memory is constant, rows keep their order, and a row that polars does
not like costs time in its own block only.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from logreg.core.errors import UserError
from logreg.core.options.tables import Dialect, ReadOptions
from logreg.data.tables.reading import kinds
from logreg.data.tables.reading.dialect import is_number, known, reader, sniff, tidy
from logreg.data.tables.reading.kinds import KindInference
from logreg.data.tables.reading.text_blocks import OTHER_COMPRESSIONS, TextBlock, blocks, head_of, in_order, not_text

CAREFUL_ROWS, CAREFUL_FIELDS = 2**11, 2**16  # at once, as many as the processor's cache holds
SAMPLED_ROWS, FEWEST_SAMPLED, SAMPLED_FIELDS = 1000, 20, 2**20  # to find out what columns hold
NO_KINDS: Mapping[str, str] = {}
# The kinds that polars parses as it reads; of dates it takes too many for one.
SCANNED = {kind: kinds.DTYPES[kind] for kind in ("integer", "float", "boolean")}


class Misread(Exception):
    """A column of a text file is not of the kind that it was taken for."""


@dataclass(frozen=True)
class TextFile:
    """One text file.

    Attributes:
        key: what to name in errors, such as ``data.path=churn.csv``.
        missing: the texts that stand for a missing value, without blanks around them.
        names: of its columns.
        skipped: how many lines there are before the first row.
        strays: a text for each column that is numbers or dates but for a few others.
        applied: a run is applied to the table, so that what its columns are is settled.
    """

    path: Path
    key: str
    encoding: str
    dialect: Dialect
    missing: frozenset[str]
    names: tuple[str, ...] = ()
    skipped: int = 0
    strays: dict[str, str] = field(default_factory=dict)
    applied: bool = False

    def frames(self, columns: Sequence[str], known_kinds: Mapping[str, str]) -> Iterator[pl.DataFrame]:
        """These columns of all rows, as the kinds that were found.

        Raises:
            UserError: the file cannot be read; names the line.
            Misread: a column holds something else.
        """
        yield from in_order(lambda block: self._frame(block, columns, known_kinds), self._blocks())

    def texts(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """These columns of all rows as texts without blanks around them, null where a value is missing.

        Raises:
            UserError: the file cannot be read; names the line.
        """
        yield from in_order(lambda block: self._texts(block, columns), self._blocks())

    def infer(self, declared: Sequence[str]) -> KindInference:
        """What the columns hold, from all rows."""
        known_kinds = KindInference(self.names, declared)
        for frame in self.texts(self.names):
            known_kinds.add(frame)
        return known_kinds

    def refuse_stray(self, column: str, kind: str) -> None:
        """Say where the text is that does not belong into a column of this kind.

        Raises:
            UserError: always.
        """
        text, place = self.strays[column], self.names.index(column)
        candidates = (block for block in self._blocks() if text.encode() in block.data)
        rows = (row for block in candidates for row in self._rows(block))
        line = next((line for line, row in rows if row[place].strip() == text), 0)
        what = f"{self.key}: line {line} has {text[:40]!r} in column {column}"
        declare = "" if self.applied else f", or set 'data.categorical=[{column}]'"
        if kinds.parse(pl.Series([text]), kinds.COMMA)[0] is not None:
            raise UserError(f"{what}; write numbers as in 1234.5{declare}.")
        others = "numbers" if kind in kinds.NUMBERS else "dates"
        hint = f"correct it, add it to data.missing (now {', '.join(sorted(self.missing - {''}))})"
        if line == 1:
            hint = "set data.header=true if the first line names the columns, correct it"
        raise UserError(f"{what}, whose other values are {others}; {hint}{declare}.")

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """All rows as Python's csv module reads them, with the lines they end in."""
        for block in self._blocks():
            yield from self._rows(block)

    def _blocks(self) -> Iterator[TextBlock]:
        """The file without its header."""
        dialect = self.dialect
        for block in blocks(self.path, self.key, self.encoding, dialect):
            if block.line > self.skipped:
                yield block
            else:
                skipped = self.skipped - block.line + 1
                lines = block.data.split(b"\n", skipped)
                if len(lines) > skipped and lines[-1]:
                    yield TextBlock(lines[-1], self.skipped + 1)

    def _rows(self, block: TextBlock) -> Iterator[tuple[int, list[str]]]:
        return csv_rows(block, self.dialect, self.key, len(self.names) or None)

    def _frame(self, block: TextBlock, columns: Sequence[str], known_kinds: Mapping[str, str]) -> pl.DataFrame:
        # Without texts to look for, polars is much faster; it fails at the first one of them.
        for missing in ((),) if kinds.VERBATIM in known_kinds.values() else ((), self.missing):
            frame = self._plain(block, columns, known_kinds, missing)
            if frame is not None and (typed := self._typed(frame, known_kinds)) is not None:
                return typed
        typed = self._typed(self._texts(block, columns, known_kinds), known_kinds)  # a blank behind a number comes here
        if typed is None:
            raise Misread
        return typed

    def _texts(
        self, block: TextBlock, columns: Sequence[str], known_kinds: Mapping[str, str] = NO_KINDS
    ) -> pl.DataFrame:
        verbatim = {column: kind for column, kind in known_kinds.items() if kind == kinds.VERBATIM}
        frame = self._plain(block, columns, verbatim)
        return self.careful_texts(self._rows(block), columns, verbatim) if frame is None else frame

    def careful_texts(
        self, rows: Iterator[tuple[int, list[str]]], columns: Sequence[str], verbatim: Collection[str] = ()
    ) -> pl.DataFrame:
        """`texts` of rows that Python's csv module read, but for columns that are left as they are."""
        place = {name: i for i, name in enumerate(self.names)}
        frames = [pl.DataFrame(schema=dict.fromkeys(columns, pl.String))]
        at_once = max(1, min(CAREFUL_ROWS, CAREFUL_FIELDS // len(self.names)))
        while some := [row for _, row in islice(rows, at_once)]:
            fields = list(zip(*some, strict=True))
            frames.append(pl.DataFrame({c: pl.Series(fields[place[c]], dtype=pl.String) for c in columns}))
        return self._cleaned(pl.concat(frames), verbatim)

    def _plain(
        self, block: TextBlock, columns: Sequence[str], known_kinds: Mapping[str, str], missing: Collection[str] = ()
    ) -> pl.DataFrame | None:
        """What polars makes of a block; None if it cannot, or may have misunderstood it."""
        if not self.dialect.plain:
            return None
        # To polars a number that stands for a missing value is a number if a blank comes before it.
        scanned = {} if any(map(is_number, self.missing)) else SCANNED
        try:
            frame = pl.read_csv(
                block.data,
                separator=self.dialect.delimiter,
                quote_char=self.dialect.quote,
                has_header=False,
                schema={name: scanned.get(known_kinds.get(name, ""), pl.String) for name in self.names},
                null_values=list(missing) or None,
                raise_if_empty=False,
            )
        except kinds.POLARS_ERRORS:
            return None
        # A short row and a blank line look like missing values at the end: counting tells.
        if frame[self.names[-1]].null_count() and not _is_complete(block, self.dialect, len(self.names)):
            return None
        return self._cleaned(frame.select(columns), [c for c, kind in known_kinds.items() if kind == kinds.VERBATIM])

    def _cleaned(self, frame: pl.DataFrame, verbatim: Collection[str]) -> pl.DataFrame:
        texts = [c for c, dtype in frame.schema.items() if dtype == pl.String and c not in verbatim]
        return frame.with_columns(kinds.cleaned(texts, self.missing)) if texts else frame

    def _typed(self, frame: pl.DataFrame, known_kinds: Mapping[str, str]) -> pl.DataFrame | None:
        """A frame with its texts as the kinds that were found, or None where one is not of that kind."""
        changed = []
        for column in frame:
            typed = column
            kind = known_kinds.get(column.name)
            if column.dtype == pl.String and kind not in (None, "string", "empty", kinds.VERBATIM):
                typed = kinds.parse(column, kind)
                if typed.null_count() > column.null_count():
                    return None
            # However it is written; a sum is quicker than looking at each value.
            if typed.dtype.is_float() and math.isnan(typed.sum()) and typed.is_nan().any():
                typed = typed.fill_nan(None)
            if typed is not column:
                changed.append(typed)
        return frame.with_columns(changed) if changed else frame


def look(path: Path, options: ReadOptions, key: str) -> tuple[TextFile, dict[str, str]]:
    """The form of a text file and the kinds of its columns, as its beginning shows them.

    Raises:
        UserError: it is empty, binary or no table, or has only a header, or two columns of one name.
    """
    head, whole = head_of(path, key)
    if not head.strip():
        raise UserError(f"{key}: the file is empty.")
    if not options.is_wide:
        _refuse_binary(head, key)
    encoding = "utf-8" if options.is_utf8 else options.encoding
    try:
        text = head.decode(encoding, errors="replace" if options.is_utf8 else "ignore").removeprefix("\ufeff")
    except UnicodeError as error:
        raise UserError(f"{key}: the file is not {encoding} text ({error}); set data.encoding.") from error
    dialect = known(text, options) or sniff(text, whole, options, key)
    file = TextFile(path, key, encoding, dialect, options.absent, applied=options.form is not None)
    line, first = next(file.rows(), (0, []))
    if not first:
        raise UserError(f"{key}: the file is empty.")
    names = _names(first if dialect.header else [""] * len(first), key)
    file = replace(file, names=names, skipped=line if dialect.header else 0)
    inference = KindInference(names, options.text)
    sampled = max(FEWEST_SAMPLED, min(SAMPLED_ROWS, SAMPLED_FIELDS // len(names)))
    inference.add(file.careful_texts(islice(file.rows(), sampled), names))
    if not inference.rows:
        raise UserError(f"{key}: there is a header and no rows.")
    if inference.unseen and inference.rows == sampled:
        for frame in file.texts(inference.unseen):
            inference.add(frame)
            if not inference.unseen:
                break
    return replace(file, strays=inference.strays()), inference.kinds()


def _refuse_binary(head: bytes, key: str) -> None:
    for magic, what in OTHER_COMPRESSIONS.items():
        if re.match(magic, head):
            raise UserError(f"{key}: the file is {what}, which is not read; decompress it, or use gzip or Zstandard.")
    if b"\0" in head:
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UserError(f"{key}: the file looks like UTF-16 text; set data.encoding=utf-16.")
        raise UserError(f"{key}: the file is binary, not text, and no table; data.format says how to read one anyway.")


def _names(header: Sequence[str], key: str) -> tuple[str, ...]:
    """The names of the columns, each in one line; two of the same name are refused."""
    names = [" ".join(name.split()) or f"column_{i + 1}" for i, name in enumerate(header)]
    duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
    if duplicates:
        raise UserError(
            f"{key}: the column name {', '.join(duplicates[:5])} stands more than once in the header; give every "
            "column a name of its own, or set data.header=false if the first line is no header."
        )
    return tuple(names)


def csv_rows(block: TextBlock, dialect: Dialect, key: str, width: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank, with the number of the line it ends in, by Python's csv module.

    It reads what polars cannot (columns aligned by blanks, quotes after a blank), and finds the line where polars has
    only said that something is wrong.

    Args:
        key: what to name in errors, such as ``data.path=churn.csv``.
        width: how many fields a row has; None for as many as the first.

    Raises:
        UserError: a line is not UTF-8, a quote is left open, a row has another number of fields.
    """
    lines = reader(_decoded_lines(block, key), dialect, strict=True)
    before = 0
    while True:
        try:
            row = tidy(next(lines), dialect)
        except StopIteration:
            return
        except csv.Error as error:
            raise _unreadable(block, dialect, key, before, lines.line_num, error) from error
        if row:
            width = width or len(row)
            if len(row) != width:
                place = _place(block.line + before, block.line + lines.line_num - 1)
                raise UserError(
                    f"{key}: {place} has {len(row)} field{'s' * (len(row) > 1)} where {width} are expected, as in the "
                    "first line; correct the line, or set data.delimiter and data.quote."
                )
            yield block.line + lines.line_num - 1, row
        before = lines.line_num


def _is_complete(block: TextBlock, dialect: Dialect, width: int) -> bool:
    """Whether counting delimiters proves that all rows have this many fields, and that no line is blank.

    polars refuses rows that are too long, so where it has read a block, an even count means that none is too short.
    """
    data, delimiter = block.data, dialect.delimiter.encode()
    if dialect.quote and dialect.quote.encode() in data:  # only what is not in quotes counts
        characters = np.frombuffer(data, dtype=np.uint8)
        marks = np.cumsum(characters == ord(dialect.quote), dtype=np.uint8)
        data = characters[marks % 2 == 0].tobytes()
    body = data.removesuffix(b"\n")
    blank = rb"(\A|\n)[ \r]*(\n|\Z)" if delimiter == b"\t" else rb"(\A|\n)[ \t\r]*(\n|\Z)"
    return body.count(delimiter) == (body.count(b"\n") + 1) * (width - 1) and not re.search(blank, body)


def _decoded_lines(block: TextBlock, key: str) -> Iterator[str]:
    for number, line in enumerate(io.BytesIO(block.data), block.line):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{key}: {not_text(number, 'utf-8', error)}") from error


def _unreadable(block: TextBlock, dialect: Dialect, key: str, before: int, last: int, error: csv.Error) -> UserError:
    first, last = block.line + before, block.line + max(last, before + 1) - 1
    if "unexpected end of data" in str(error) or "field limit" in str(error):
        hint = "correct the line, or set data.quote; data.quote='' is for no quotes at all"
        return UserError(f"{key}: line {first} has a quote that is not closed; {hint}.")
    if "new-line character" in str(error):
        return UserError(f"{key}: {_place(first, last)} contains a carriage return; correct the line.")
    hint = "a quote stands where none can; correct the line, or set data.quote" if dialect.quote else str(error)
    return UserError(f"{key}: {_place(first, last)} cannot be read as a row: {hint}.")


def _place(first: int, last: int) -> str:
    return f"line {last}" if first == last else f"the row from line {first} to line {last}"
