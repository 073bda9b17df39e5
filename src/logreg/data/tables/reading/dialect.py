"""How a text file writes its table: delimiter, quote character, header."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from logreg.core.errors import UserError
from logreg.core.options.tables import Dialect

DELIMITERS = (",", "\t", ";", "|", " ")
QUOTES = ('"', "'")
SAMPLE_BYTES = 2**18
SAMPLE_ROWS = 200
REGULAR = 0.9  # of the rows must have the same number of fields for a delimiter to be believed
LONGEST_FIELD = 2**24

_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?)", re.ASCII | re.IGNORECASE)
_VALUE = re.compile(_NUMBER.pattern + r"|\d{4}-\d{1,2}-\d{1,2}([T ].*)?|true|false", re.ASCII | re.IGNORECASE)


def reader(lines: Iterable[str], delimiter: str, quote: str | None, padded: bool, strict: bool = False) -> Any:
    """Python's csv reader for this form."""
    csv.field_size_limit(LONGEST_FIELD)
    return csv.reader(
        lines,
        delimiter=delimiter,
        quotechar=quote,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        skipinitialspace=padded,
        strict=strict and quote is not None,
    )


def tidy(row: list[str], delimiter: str, padded: bool) -> list[str]:
    """A row without the nothings between several blanks; no field at all if its line is blank."""
    if delimiter == " ":
        row = [field for field in row if field] if padded else row
        return row if any(row) else []
    return row if len(row) > 1 or (row and row[0].strip()) else []


def rows_of(text: str, delimiter: str, quote: str | None, padded: bool) -> list[list[str]]:
    """The rows of a text, blank lines left out; the last one may be cut off."""
    rows = (tidy(row, delimiter, padded) for row in reader(io.StringIO(text, newline=""), delimiter, quote, padded))
    return [row for row in rows if row]


def known(text: str, form: Dialect, names: Collection[str]) -> Dialect | None:
    """The dialect of a text's beginning if it is written like another table with the same columns.

    Args:
        names: of columns, which a header must have.
    """
    rows = rows_of(text, form.delimiter, form.quote, form.padded)
    first = [" ".join(name.split()) for name in rows[0]] if rows else []
    fits = set(names) <= set(first) if form.header else len(first) == form.width
    return replace(form, width=len(first)) if fits else None


def sniff(
    text: str,
    whole: bool,
    missing: Collection[str],
    key: str,
    delimiter: str | None = None,
    quote: str | None = None,
    header: bool | None = None,
    names: Collection[str] = (),
) -> Dialect:
    """The dialect of a text's beginning; what is given is taken, the rest found out.

    Args:
        whole: the text is the whole file, not just its first part.
        missing: the texts that stand for a missing value.
        key: what to name in errors, such as ``data.path=churn.csv``.
        names: of columns that are known to be there.

    Raises:
        UserError: there is nothing but blank lines.
    """
    quotes = [quote or None] if quote is not None else _quotes(text, delimiter)
    forms = [_Candidate.of(text, whole, d, q) for d in ((delimiter,) if delimiter else DELIMITERS) for q in quotes]
    tables = [form for form in forms if form.columns > 1]
    regular = [form for form in tables if form.share >= REGULAR and form.first_row_too]
    # The usual delimiters first; where no form fits nearly all rows, the one that fits most of them.
    best = next(iter(regular), max(tables, key=lambda form: form.share, default=forms[0]))
    chosen, marks = best.delimiter, best.quote
    if chosen == " ":
        padded = bool(re.search(r"\S {2,}\S|^ +\S|\S +\r?$", text, re.MULTILINE))
    else:
        padded = chosen != "\t" and _is_padded(rows_of(text, chosen, marks, padded=False))
    rows = rows_of(text, chosen, marks, padded)[:SAMPLE_ROWS]
    if not rows:
        raise UserError(f"{key}: the file is empty.")
    if header is None:
        first = {" ".join(name.split()) for name in rows[0]}
        header = (bool(names) and set(names) <= first) or _has_header(rows, missing)
    return Dialect(chosen, marks, header, padded, len(rows[0]))


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


@dataclass(frozen=True)
class _Candidate:
    """How well one delimiter and quote character fit a text."""

    delimiter: str
    quote: str | None
    columns: int  # the commonest number of fields in a row
    share: float  # of the rows that have it
    first_row_too: bool

    @classmethod
    def of(cls, text: str, whole: bool, delimiter: str, quote: str | None) -> _Candidate:
        rows = rows_of(text, delimiter, quote, padded=delimiter != "\t")
        if not whole and len(rows) > 1:
            rows = rows[:-1]
        counts = [len(row) for row in rows[:SAMPLE_ROWS]]
        if not counts:
            return cls(delimiter, quote, 0, 0.0, False)
        columns, often = Counter(counts).most_common(1)[0]
        return cls(delimiter, quote, columns, often / len(counts), counts[0] == columns)


def is_number(text: str) -> bool:
    """Whether a text without blanks around it is a number, infinite ones included."""
    return _NUMBER.fullmatch(text) is not None


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
