"""The kind of a column, whatever file it comes from, and its values as levels, numbers or times.

``integer`` and ``float`` are numbers, ``boolean`` and ``string`` become levels, ``date`` and ``datetime`` become parts;
``empty`` has no value at all; ``other`` (lists, structures, bytes) cannot be used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase

import numpy as np
import polars as pl

from logreg.core.errors import UserError

PolarsType = type[pl.DataType] | pl.DataType
DTYPES: dict[str, PolarsType] = {
    "integer": pl.Int64,
    "float": pl.Float64,
    "boolean": pl.Boolean,
    "string": pl.String,
    "empty": pl.String,
    "date": pl.Date,
    "datetime": pl.Datetime("us"),
}
# What polars raises, a panic in its own code included.
POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
NUMBERS = ("integer", "float")
DATES = ("date", "datetime")
# From this share of numbers on, a column is one of numbers with something wrong in it; the same holds for dates.
MOSTLY = 0.9
# Numbers that were written with a comma, of decimals or of thousands: not a kind, since nothing reads them.
COMMA = "comma"
# Texts that are carried along as they are written, blanks and words for missing values included.
VERBATIM = "verbatim"
WHOLE = r"^([+-]?\d+)\.0+$", "$1"  # what a whole number is replaced by that is written with a point

_DAY = r"^\d{4}-\d{1,2}-\d{1,2}"
_MINUTE = _DAY + r"[T ]\d{1,2}:[0-5]\d"
_SECOND = _MINUTE + r":[0-5]\d(\.\d{1,9})?"
_COMMA = r"^[+-]?(\d+,\d+|\d{1,3}(,\d{3})+(\.\d*)?|\d{1,3}(\.\d{3})+,\d+)$"
# The ways of writing a time in ISO 8601, and how polars calls them once the T is a blank and Z an offset.
_TIMES = (
    (_DAY + "$", "%Y-%m-%d"),
    (_MINUTE + "$", "%Y-%m-%d %H:%M"),
    (_SECOND + "$", "%Y-%m-%d %H:%M:%S%.f"),
    (_SECOND + r"(Z|[+-]\d{2}:?\d{2})$", "%Y-%m-%d %H:%M:%S%.f%z"),
)


def of(dtype: pl.DataType) -> str:
    """The kind of a polars type."""
    if dtype.is_integer():
        return "integer"
    if dtype.is_float() or dtype.is_decimal():
        return "float"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype == pl.Date:
        return "date"
    if dtype == pl.Datetime:
        return "datetime"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "string"
    return "empty" if dtype == pl.Null else "other"


def common(kinds: Sequence[str]) -> str:
    """The kind of a column whose files differ."""
    several = set(kinds) - {"empty"}
    if len(several) <= 1:
        return next(iter(several), "empty")
    if several <= set(NUMBERS):
        return "float"
    return "datetime" if several <= set(DATES) else "string"


def parse(text: pl.Series, kind: str) -> pl.Series:
    """Texts without blanks around them as values of a kind; null where a text is not of that kind.

    A time with an offset becomes that of UTC.
    """
    if kind in NUMBERS:
        return text.cast(DTYPES[kind], strict=False)
    if kind == "boolean":
        meaning = {"true": True, "false": False}
        return text.str.to_lowercase().replace_strict(meaning, default=None, return_dtype=pl.Boolean)
    value = pl.col(text.name)
    if kind == "date":
        value = pl.when(value.str.contains(_DAY + "$")).then(value).str.to_date("%Y-%m-%d", strict=False)
    elif kind == "datetime":
        value = pl.coalesce(_time(value, *way) for way in _TIMES)
    elif kind == COMMA:
        value = pl.when(value.str.contains(_COMMA)).then(value)
    return text.to_frame().select(value)[text.name]


def _time(value: pl.Expr, pattern: str, form: str) -> pl.Expr:
    plain = pl.when(value.str.contains(pattern)).then(value.str.replace("T", " ").str.replace(r"Z$", "+00:00"))
    return plain.str.to_datetime(form, time_unit="us", strict=False).dt.replace_time_zone(None)


def cleaned(columns: Sequence[str], missing: Collection[str]) -> pl.Expr:
    """Texts without blanks around them, null where they stand for a missing value."""
    text = pl.col(columns).str.strip_chars()
    return pl.when(~text.is_in(list(missing))).then(text)


class KindInference:
    """Finds the kinds of the columns of a text file from frames of their texts.

    Args:
        declared: names or globs of columns that are text whatever stands there.
    """

    def __init__(self, names: Sequence[str], declared: Sequence[str] = ()) -> None:
        self.rows, self._names = 0, names
        undeclared = [name for name in names if not any(name == d or fnmatchcase(name, d) for d in declared)]
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in undeclared}
        # Of each kind, the row and text that came first.
        self._first: dict[str, dict[str, tuple[int, str]]] = {name: {} for name in undeclared}

    def add(self, frame: pl.DataFrame) -> None:
        """Take in some rows: texts without blanks around them, null where a value is missing."""
        for name in self._counts.keys() & set(frame.columns):
            for kind, count, row, text in _tally(frame[name]):
                self._counts[name][kind] += count
                self._first[name].setdefault(kind, (self.rows + row, text))
        self.rows += len(frame)

    @property
    def unseen(self) -> list[str]:
        """The columns without a value so far."""
        return [name for name, counts in self._counts.items() if not counts]

    def kinds(self) -> dict[str, str]:
        """The kind of every column; of one with strays, what its other values are."""
        return {name: self._kind(name) if name in self._counts else "string" for name in self._names}

    def strays(self) -> dict[str, str]:
        """The first text that does not belong, of every column that is numbers or dates but for a few others."""
        strays = {}
        for name, first in self._first.items():
            main = self._main(name)
            if others := [place for kind, place in first.items() if main and kind not in main]:
                strays[name] = min(others)[1]
        return strays

    def _kind(self, name: str) -> str:
        counts, main = self._counts[name], self._main(name)
        present = [kind for kind in counts if not main or kind in main]
        return common(["string" if kind == COMMA else kind for kind in present]) if present or not main else "float"

    def _main(self, name: str) -> tuple[str, ...]:
        """The kinds that nearly all values of a column are of, if those are numbers or dates."""
        counts = self._counts[name]
        total = counts.total()
        for main, also in ((NUMBERS, (COMMA,)), (DATES, ())):
            if total and sum(counts[kind] for kind in (*main, *also)) >= MOSTLY * total:
                return main
        return ()


def _tally(column: pl.Series) -> Iterator[tuple[str, int, int, str]]:
    """Of each kind that occurs in texts, how many values there are, and the row and text of the first."""
    rest = pl.DataFrame({"row": pl.int_range(len(column), eager=True), "text": column}).drop_nulls("text")
    for kind in ("integer", "float", "boolean", "date", "datetime", COMMA, "string"):
        if not len(rest):
            return
        fits = parse(rest["text"], kind).is_not_null()
        if count := int(fits.sum()):
            first = rest.row(int(fits.arg_max() or 0))
            yield kind, count, first[0], first[1]
            rest = rest.filter(~fits)


def level_expression(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A column as the texts of its levels; the numbers 1 and 1.0 are one level, and so is ``a`` with blanks or without.

    That the texts ``1`` and ``1.0`` are one too, `Categorical.spelled` and `as_levels` see to: it takes time.
    """
    if dtype.is_float() or dtype.is_decimal():
        number = value.cast(pl.Float64) if dtype.is_decimal() else value.fill_nan(None)
        whole = number.cast(pl.Int64, strict=False).cast(pl.String)
        is_whole = (number == number.floor()) & (number.abs() < 2.0**53)
        return pl.when(is_whole).then(whole).otherwise(number.cast(pl.String))
    if dtype == pl.Boolean or dtype.is_numeric():
        return value.cast(pl.String)
    text = value.cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)


def as_levels(column: pl.Series) -> pl.Series:
    """`level_expression` of a series, with texts such as ``1.0`` as ``1``."""
    if column.dtype == pl.Object:
        values = [None if v is None else str(v).lower() if isinstance(v, bool) else str(v) for v in column.to_list()]
        column = pl.Series(column.name, values, dtype=pl.String)
    expression = level_expression(pl.col(column.name), column.dtype).str.replace(*WHOLE).alias(column.name)
    return column.to_frame().select(expression)[column.name]


def as_numbers(column: pl.Series, part: str | None, key: str, first_row: int = 0) -> np.ndarray:
    """A column, or one part of a column of dates, as float64 with NaN where it is missing.

    Raises:
        UserError: its values are no numbers, or no dates.
    """
    if part is not None:
        column = getattr(as_date(column, key, first_row).dt, part)()
    if column.dtype == pl.Null:
        return np.full(len(column), np.nan)
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        column = _parsed(column, "float", "a number", key, first_row)
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise UserError(f"{key}: column {column.name} is infinite in row {first_row + row + 1}; numbers are needed.")
    return values


def as_date(column: pl.Series, key: str, first_row: int = 0) -> pl.Series:
    """A column as times; those with a zone as those of UTC.

    Raises:
        UserError: a value is no date.
    """
    if column.dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.Datetime("us"))
    return _parsed(column, "datetime", "a date, as in 2024-01-31", key, first_row)


def _parsed(column: pl.Series, kind: str, what: str, key: str, first_row: int) -> pl.Series:
    text = column.cast(pl.String).str.strip_chars()
    text = text.set(text == "", None) if (text == "").any() else text
    parsed = parse(text, kind)
    wrong = parsed.is_null() & text.is_not_null()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise UserError(
            f"{key}: column {column.name} has {str(text[row])[:40]!r} in row {first_row + row + 1}; that is not {what}."
        )
    return parsed
