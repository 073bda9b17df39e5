"""Raw columns as exports take them, and parts of dates by arithmetic that every format has.

`date_part` takes anything with ``+ - * /`` and a function that rounds down: NumPy arrays, tensors, values of an ONNX
graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl

from logreg.data.tables.columns import Categorical, Numeric
from logreg.data.tables.preprocessor import Preprocessor
from logreg.data.tables.reading.kinds import as_date, as_levels, as_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from logreg.runs.export.graph import GraphValue

X = TypeVar("X", np.ndarray, "Tensor", "GraphValue")

DAY = 86400
CYCLE = 146097  # days in 400 years, after which the calendar repeats
TO_MARCH_OF_YEAR_0 = 719468  # days from there to 1970-01-01


def raw_values(
    frame: pl.DataFrame, pre: Preprocessor, levels: Callable[[pl.Series, Categorical], np.ndarray]
) -> dict[str, np.ndarray]:
    """Each raw column as exports take it, (rows,); ``levels`` makes the values of one of levels."""
    values: dict[str, np.ndarray] = {}
    for column in pre.columns:
        series = frame[column.feature]
        if isinstance(column, Categorical):
            values[column.feature] = levels(as_levels(series), column)
        elif column.feature not in values:  # a date has several parts
            values[column.feature] = raw_numbers(series, column)
    return values


def raw_numbers(series: pl.Series, column: Numeric) -> np.ndarray:
    """Numbers, or dates as seconds since 1970-01-01 00:00, (rows,) float64, NaN where one is missing.

    Raises:
        UserError: its values are no numbers, or no dates.
    """
    if column.part is None:
        return as_numbers(series, None, "frame")
    microseconds = as_date(series, "frame").dt.timestamp("us").cast(pl.Float64)
    return microseconds.fill_null(float("nan")).to_numpy() / 1e6


def date_part(seconds: X, part: str, floor: Callable[[X], X]) -> X:
    """One part of dates, as polars counts it: Monday is weekday 1.

    Args:
        part: one of `DATE_PARTS` and `TIME_PARTS` in `logreg.data.tables.columns`.
    """
    days = floor(seconds / DAY)
    second = floor(seconds) - days * DAY  # of the day
    if part == "hour":
        return floor(second / 3600)
    if part == "minute":
        return floor(second / 60) - floor(second / 3600) * 60
    if part == "second":
        return second - floor(second / 60) * 60
    if part == "weekday":
        return days + 3 - floor((days + 3) / 7) * 7 + 1
    # Years are counted from March on: the leap day is then the last day of its year, and the lengths of the months
    # before it follow one formula, 153 days in every five of them.
    days = days + TO_MARCH_OF_YEAR_0
    cycle = floor(days / CYCLE)
    day = days - cycle * CYCLE  # of the cycle
    year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / (CYCLE - 1))) / 365)  # of the cycle
    day = day - year * 365 - floor(year / 4) + floor(year / 100)  # of the year that begins in March
    month = floor((day * 5 + 2) / 153)  # 0 is March
    if part == "day":
        return day - floor((month * 153 + 2) / 5) + 1
    after_december = floor(month / 10)
    if part == "month":
        return month + 3 - after_december * 12
    return cycle * 400 + year + after_december
