"""Reading text the careful way: Python's csv module, line by line.

It is what rows are read with whose form polars does not know (columns aligned by blanks, quotes after a blank), and
what finds the line when polars has only said that something is wrong.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

import numpy as np

from logreg.core.errors import UserError
from logreg.core.options.tables import Dialect
from logreg.data.tables.reading.dialect import reader, tidy
from logreg.data.tables.reading.text_blocks import TextBlock, not_text


def rows(block: TextBlock, dialect: Dialect, key: str, width: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank with the number of the line it ends in.

    Args:
        key: what to name in errors, such as ``data.path=churn.csv``.
        width: how many fields a row has; None for as many as the first.

    Raises:
        UserError: a line is not UTF-8, a quote is left open, a row has another number of fields.
    """
    lines = reader(_lines(block, key), dialect.delimiter, dialect.quote, dialect.padded, strict=True)
    before = 0
    while True:
        try:
            row = tidy(next(lines), dialect.delimiter, dialect.padded)
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


def is_complete(block: TextBlock, dialect: Dialect, width: int) -> bool:
    """Whether counting delimiters proves that all rows have this many fields, and that no line is blank.

    polars refuses rows that are too long, so where it has read a block, an even count means that none is too short.
    """
    data, delimiter = block.data, dialect.delimiter.encode()
    if dialect.quote:
        data = _unquoted(data, dialect.quote.encode())
    body = data.removesuffix(b"\n")
    blank = rb"(\A|\n)[ \r]*(\n|\Z)" if delimiter == b"\t" else rb"(\A|\n)[ \t\r]*(\n|\Z)"
    return body.count(delimiter) == (body.count(b"\n") + 1) * (width - 1) and not re.search(blank, body)


def _unquoted(data: bytes, quote: bytes) -> bytes:
    """What is not in quotes."""
    characters = np.frombuffer(data, dtype=np.uint8)
    marks = characters == ord(quote)
    return characters[np.cumsum(marks, dtype=np.uint8) % 2 == 0].tobytes() if marks.any() else data


def _lines(block: TextBlock, key: str) -> Iterator[str]:
    for number, line in enumerate(io.BytesIO(block.data), block.line):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{key}: {not_text(number, 'utf-8', error)}") from error


def _unreadable(block: TextBlock, dialect: Dialect, key: str, before: int, last: int, error: csv.Error) -> UserError:
    """The error for a row that ends in line ``last`` of a block, after the line ``before``."""
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
