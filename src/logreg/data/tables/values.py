"""The values of a raw column as levels, numbers or times."""

from __future__ import annotations

import numpy as np
import polars as pl

from logreg.core.errors import UserError
from logreg.data.tables.columns import WHOLE
from logreg.data.tables.reading import kinds


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
    parsed = kinds.parse(text, kind)
    wrong = parsed.is_null() & text.is_not_null()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise UserError(
            f"{key}: column {column.name} has {str(text[row])[:40]!r} in row {first_row + row + 1}; that is not {what}."
        )
    return parsed
