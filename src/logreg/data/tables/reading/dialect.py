"""How a text file writes its table: delimiter, quote character, header."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from logreg.core.errors import UserError
from logreg.core.options.tables import Dialect, ReadOptions

DELIMITERS = (",", "\t", ";", "|", " ")
QUOTES = ('"', "'")
SAMPLE_BYTES = 2**18
SAMPLE_ROWS = 200
REGULAR = 0.9  # of the rows must have the same number of fields, or be of the form, for a text to be taken for it
LONGEST_FIELD = 2**24

NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?)", re.ASCII | re.IGNORECASE)
_VALUE = re.compile(NUMBER.pattern + r"|\d{4}-\d{1,2}-\d{1,2}([T ].*)?|true|false", re.ASCII | re.IGNORECASE)


def reader(lines: Iterable[str], form: Dialect, strict: bool = False) -> Any:
    """Python's csv reader for this form."""
    csv.field_size_limit(LONGEST_FIELD)
    return csv.reader(
        lines,
        delimiter=form.delimiter,
        quotechar=form.quote,
        quoting=csv.QUOTE_MINIMAL if form.quote else csv.QUOTE_NONE,
        skipinitialspace=form.padded,
        strict=strict and form.quote is not None,
    )


def tidy(row: list[str], form: Dialect) -> list[str]:
    """A row without the nothings between several blanks; no field at all if its line is blank."""
    if form.delimiter == " ":
        row = [field for field in row if field] if form.padded else row
        return row if any(row) else []
    return row if len(row) > 1 or (row and row[0].strip()) else []


def rows_of(text: str, form: Dialect) -> list[list[str]]:
    """The rows of a text, blank lines left out; the last one may be cut off."""
    rows = (tidy(row, form) for row in reader(io.StringIO(text, newline=""), form))
    return [row for row in rows if row]


def known(text: str, options: ReadOptions) -> Dialect | None:
    """The dialect of a text's beginning if it is written like the table of a run, with the same columns."""
    form = options.form
    if form is None or (options.delimiter, options.quote, options.header) != (None, None, None):
        return None
    rows = rows_of(text, form)
    first = [" ".join(name.split()) for name in rows[0]] if rows else []
    fits = set(options.names) <= set(first) if form.header else len(first) == form.width
    return replace(form, width=len(first)) if fits else None


def sniff(text: str, whole: bool, options: ReadOptions, key: str) -> Dialect:
    """The dialect of a text's beginning; what the options say is taken, the rest found out.

    Args:
        whole: the text is the whole file, not just its first part.
        key: what to name in errors, such as ``data.path=churn.csv``.

    Raises:
        UserError: there is nothing but blank lines.
    """
    quotes = [options.quote or None] if options.quote is not None else _quotes(text, options.delimiter)
    delimiters = (options.delimiter,) if options.delimiter else DELIMITERS
    forms = [_fitted(Dialect(d, q, False, d != "\t", 0), text, whole) for d in delimiters for q in quotes]
    tables = [each for each in forms if each[0].width > 1]
    regular = [form for form, share, first_row_too in tables if share >= REGULAR and first_row_too]
    # The usual delimiters first; where no form fits nearly all rows, the one that fits most of them.
    form = regular[0] if regular else max(tables, key=lambda each: each[1], default=forms[0])[0]
    if form.delimiter == " ":
        padded = bool(re.search(r"\S {2,}\S|^ +\S|\S +\r?$", text, re.MULTILINE))
    else:
        padded = form.delimiter != "\t" and _is_padded(rows_of(text, replace(form, padded=False)))
    form = replace(form, padded=padded)
    rows = rows_of(text, form)[:SAMPLE_ROWS]
    if not rows:
        raise UserError(f"{key}: the file is empty.")
    header, names = options.header, set(options.names)
    if header is None:
        header = (bool(names) and names <= {" ".join(name.split()) for name in rows[0]}) or _has_header(
            rows, options.absent
        )
    return replace(form, header=header, width=len(rows[0]))


def _fitted(form: Dialect, text: str, whole: bool) -> tuple[Dialect, float, bool]:
    """The form with the commonest number of fields, the share of rows that have it, and whether the first one has."""
    rows = rows_of(text, form)
    if not whole and len(rows) > 1:
        rows = rows[:-1]
    counts = [len(row) for row in rows[:SAMPLE_ROWS]]
    width, often = Counter(counts).most_common(1)[0] if counts else (0, 0)
    return replace(form, width=width), often / max(1, len(counts)), counts[:1] == [width]


def _is_padded(rows: list[list[str]]) -> bool:
    """Whether most rows have a blank after a delimiter."""
    padded = [any(field.startswith(" ") for field in row[1:]) for row in rows[1:SAMPLE_ROWS] or rows]
    return 2 * sum(padded) > len(padded)


def _quotes(text: str, delimiter: str | None) -> list[str | None]:
    """The quote characters that stand at the edge of a field somewhere."""
    edge = r"(?:^|[,;|\t ]){q}|{q}(?:$|[,;|\t ])"
    quotes: list[str | None] = [q for q in QUOTES if q != delimiter and re.search(edge.format(q=q), text, re.MULTILINE)]
    # The apostrophe of a word is no quote: it opens and closes fields where it is one.
    if "'" in quotes and not re.search(r"(?:^|[,;|\t ])'[^'\n]*'(?:\r?$|[,;|\t ])", text, re.MULTILINE):
        quotes.remove("'")
    return quotes or ["'" if delimiter == '"' else '"']


def is_number(text: str) -> bool:
    """Whether a text without blanks around it is a number, infinite ones included."""
    return NUMBER.fullmatch(text) is not None


def _has_header(rows: list[list[str]], missing: Collection[str]) -> bool:
    """Whether the first row names the columns: texts that are all different, unlike what stands below them."""
    first = [field.strip() for field in rows[0]]
    below = [[row[i].strip() for row in rows[1:] if i < len(row)] for i in range(len(first))]
    present = [[field for field in column if field not in missing] for column in below]
    # Above numbers stand names, and a few of them may look like numbers, as years do.
    above = [name for name, column in zip(first, present, strict=True) if column and all(map(is_number, column))]
    numbers = sum(is_number(name) for name in above)
    names = sum(name not in missing for name in above) - numbers
    different = len(set(first)) == len(first)
    if numbers or names:
        return names > numbers or (names == numbers and different)
    if any(_VALUE.fullmatch(name) or (name and name in missing) for name in first):
        return False
    # Texts alone: a name does not come back as a value of its own column.
    return len(rows) == 1 or (different and not any(n in column for n, column in zip(first, below, strict=True)))
