"""The kind of a column: what its values are, whatever file they come from.

``integer`` and ``float`` are numbers, ``boolean`` and ``string`` become levels, ``date`` and ``datetime`` become parts;
``other`` (lists, structures, bytes) cannot be used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import polars as pl

from logreg.data.tables.dialect import is_number
from logreg.errors import UserError

DTYPES: dict[str, Any] = {
    "integer": pl.Int64,
    "float": pl.Float64,
    "boolean": pl.Boolean,
    "string": pl.String,
    "date": pl.Date,
    "datetime": pl.Datetime("us"),
}
NUMBERS = ("integer", "float")
DATES = ("date", "datetime")
SAMPLED_ROWS = 1000  # of a text file, to find out its kinds
# A column of texts in which so many are numbers is a column of numbers with something wrong in it.
MOSTLY_NUMBERS = 0.9

_INTEGER = re.compile(r"[+-]?\d{1,18}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?")


def of(dtype: Any) -> str:
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


def common(found: Sequence[str]) -> str:
    """The kind of a column whose files differ."""
    several = set(found) - {"empty"}
    if len(several) <= 1:
        return next(iter(several), "empty")
    if several <= set(NUMBERS):
        return "float"
    return "datetime" if several <= set(DATES) else "string"


def parse(column: str, dtype: Any) -> pl.Expr:
    """From text to a type; polars raises where it cannot."""
    text = pl.col(column)
    if dtype == pl.Boolean:
        lower = text.str.to_lowercase()
        return pl.when(lower == "true").then(True).when(lower == "false").then(False).alias(column)
    if dtype == pl.Date:
        return text.str.to_date("%Y-%m-%d")
    if dtype == pl.Datetime:
        return text.str.replace("T", " ").str.to_datetime(time_unit="us")
    return text.cast(dtype)


class Inference:
    """Finds the kinds of the columns of a text file from its rows."""

    def __init__(self, names: list[str], missing: Sequence[str], text: Sequence[str] = ()) -> None:
        self.names, self.missing, self.rows = names, frozenset(missing), 0
        self.text = {name for name in names if any(fnmatchcase(name, pattern) for pattern in text)}
        self._seen: list[dict[str, int]] = [{} for _ in names]
        self._text: list[tuple[int, str]] = [(0, "")] * len(names)  # the first one that is nothing else

    def add(self, row: list[str], line: int) -> None:
        self.rows += 1
        for i, field in enumerate(row):
            value = field.strip()
            if value in self.missing:
                continue
            kind = _kind(value)
            seen = self._seen[i]
            seen[kind] = seen.get(kind, 0) + 1
            if kind == "string" and not self._text[i][0]:
                self._text[i] = line, value

    def kinds(self, key: str) -> dict[str, str]:
        """The kind of every column.

        Raises:
            UserError: a column is numbers but for a few texts, and not declared to be text.
        """
        result = {}
        for name, seen, (line, text) in zip(self.names, self._seen, self._text, strict=True):
            numbers, total = sum(seen.get(kind, 0) for kind in NUMBERS), sum(seen.values())
            if name in self.text:
                result[name] = "string"
                continue
            if seen.get("string") and numbers >= MOSTLY_NUMBERS * total:
                raise UserError(
                    f"{key}: line {line} has {text[:40]!r} in column {name}, whose other values are numbers; mend it, add "
                    f"it to data.missing, or set 'data.categorical=[{name}]'."
                )
            result[name] = common(list(seen)) if seen else "string"
        return result


def _kind(value: str) -> str:
    if _INTEGER.fullmatch(value):
        return "integer"
    if is_number(value) and "_" not in value:
        return "float"
    if value.lower() in ("true", "false"):
        return "boolean"
    if _DATE.fullmatch(value):
        return "date"
    return "datetime" if _DATETIME.fullmatch(value) else "string"
