"""How a text file writes its table: delimiter, quote character, header."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from logreg.errors import UserError

DELIMITERS = (",", "\t", ";", "|", " ")
QUOTES = ('"', "'")
SAMPLE_BYTES = 2**18
SAMPLE_ROWS = 200
REGULAR = 0.9  # of the rows must have the same number of fields for a delimiter to be believed


@dataclass(frozen=True)
class Dialect:
    """The form of a text file.

    Attributes:
        delimiter: one character.
        quote: one character, or None where nothing is quoted.
        header: whether the first line names the columns.
        padded: fields may have blanks around them, as in ``a, b``.
        plain: polars can read the file; otherwise Python's csv module does.
    """

    delimiter: str
    quote: str | None
    header: bool
    padded: bool = False
    plain: bool = True


def rows_of(text: str, delimiter: str, quote: str | None, padded: bool) -> list[list[str]]:
    """The rows of a text, blank lines left out; the last one may be cut off."""
    return [row for row in reader(io.StringIO(text, newline=""), delimiter, quote, padded) if row]


def reader(lines: object, delimiter: str, quote: str | None, padded: bool, strict: bool = False):  # type: ignore[no-untyped-def]
    """Python's csv reader for this form."""
    quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return csv.reader(
        lines,  # type: ignore[arg-type]
        delimiter=delimiter,
        quotechar=quote or '"',
        quoting=quoting,
        skipinitialspace=padded,
        strict=strict and quote is not None,
    )


def sniff(
    text: str,
    whole: bool,
    missing: Sequence[str],
    key: str,
    delimiter: str | None = None,
    quote: str | None = None,
    header: bool | None = None,
) -> Dialect:
    """The dialect of a text's beginning; what is given is taken, the rest found out.

    Args:
        whole: the text is the whole file, not its first part alone.
        missing: the texts that stand for a missing value.
        key: what to name in errors, such as ``data.path=churn.csv``.

    Raises:
        UserError: no delimiter gives a table.
    """
    quotes = [quote or None] if quote is not None else _quotes(text)
    forms = [_Form.of(text, whole, d, q) for d in ((delimiter,) if delimiter else DELIMITERS) for q in quotes]
    tables = [form for form in forms if form.columns > 1]
    regular = [form for form in tables if form.share >= REGULAR and form.first_row_too]
    # The usual delimiters first; where no form fits nearly all rows, the one that fits most of them.
    best = next(iter(regular), max(tables, key=lambda form: form.share, default=forms[0]))
    chosen, marks = best.delimiter, best.quote
    padded = chosen not in " \t" and _is_padded(rows_of(text, chosen, marks, padded=False))
    blanks = chosen == " " and bool(re.search(r"\S {2,}\S|^ +\S", text, re.MULTILINE))
    # A quote that does not stand right at the edges of its field, or a line that ends in \r alone.
    odd = bool(marks and padded and re.search(rf"{re.escape(chosen)} +{re.escape(marks)}", text))
    plain = not (blanks or odd or ("\r" in text and "\n" not in text))
    rows = rows_of(text, chosen, marks, padded or blanks)[:SAMPLE_ROWS]
    if blanks:
        rows = [[field for field in row if field] for row in rows]
    if not rows:
        raise UserError(f"{key}: the file is empty.")
    return Dialect(chosen, marks, _has_header(rows, missing) if header is None else header, padded or blanks, plain)


def _is_padded(rows: list[list[str]]) -> bool:
    """Whether most rows have a blank after a delimiter."""
    padded = [any(field.startswith(" ") for field in row[1:]) for row in rows[1:SAMPLE_ROWS] or rows]
    return 2 * sum(padded) > len(padded)


def _quotes(text: str) -> list[str | None]:
    """The quote characters that stand at the edge of a field somewhere."""
    edge = r"(?:^|[,;|\t ]){q}|{q}(?:$|[,;|\t ])"
    found: list[str | None] = [q for q in QUOTES if re.search(edge.format(q=q), text, re.MULTILINE)]
    # The apostrophe of a word is no quote: it opens and closes fields where it is one.
    if "'" in found and not re.search(r"(?:^|[,;|\t ])'[^'\n]*'(?:\r?$|[,;|\t ])", text, re.MULTILINE):
        found.remove("'")
    return found or ['"']


@dataclass(frozen=True)
class _Form:
    """How well one delimiter and quote character fit a text."""

    delimiter: str
    quote: str | None
    columns: int  # the commonest number of fields in a row
    share: float  # of the rows that have it
    first_row_too: bool

    @classmethod
    def of(cls, text: str, whole: bool, delimiter: str, quote: str | None) -> _Form:
        rows = rows_of(text, delimiter, quote, padded=delimiter != "\t")
        if delimiter == " ":
            rows = [[field for field in row if field] for row in rows]
        if not whole and len(rows) > 1:
            rows = rows[:-1]
        counts = [len(row) for row in rows[:SAMPLE_ROWS]]
        if not counts:
            return cls(delimiter, quote, 0, 0.0, False)
        columns, often = Counter(counts).most_common(1)[0]
        return cls(delimiter, quote, columns, often / len(counts), counts[0] == columns)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text.strip().lower().startswith(("nan", "+nan", "-nan"))


def _has_header(rows: list[list[str]], missing: Sequence[str]) -> bool:
    """Whether the first row names the columns: texts that are all different, unlike what stands below them."""
    first, rest = [field.strip() for field in rows[0]], rows[1:]
    if any(is_number(field) for field in first) or any(field in missing and field for field in first):
        return False
    if not rest:
        return True
    below = [[row[i].strip() for row in rest if i < len(row)] for i in range(len(first))]
    numeric = [bool(column) and all(is_number(f) or f in missing for f in column) for column in below]
    if any(numeric):
        return True
    # Texts alone: a name does not come back as a value of its own column.
    return len(set(first)) == len(first) and not any(
        name in set(column) for name, column in zip(first, below, strict=True)
    )
