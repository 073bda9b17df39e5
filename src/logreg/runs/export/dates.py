"""Parts of a date from the seconds since 1970-01-01 00:00, by arithmetic that every format has.

`date_part` takes anything with ``+ - * /`` and a function that rounds down: NumPy arrays, tensors, nodes of an ONNX
graph. The days of a month follow from counting years from March on, in cycles of 400 years of 146,097 days.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import polars as pl

from logreg.data.tables.values import as_date

X = TypeVar("X")

DAY = 86400
CYCLE = 146097
TO_MARCH_OF_YEAR_0 = 719468  # days from there to 1970-01-01


def seconds_of(column: pl.Series, key: str) -> np.ndarray:
    """A column of dates as seconds since 1970-01-01 00:00, (rows,) float64, NaN where it is missing.

    Raises:
        UserError: its values are no dates.
    """
    microseconds = as_date(column, key).dt.timestamp("us").cast(pl.Float64)
    return microseconds.fill_null(float("nan")).to_numpy() / 1e6


def date_part(seconds: X, part: str, floor: Callable[[X], X]) -> X:
    """One part of dates, as polars counts it: Monday is weekday 1.

    Args:
        part: one of those in `logreg.data.tables.preprocessor`.
    """
    x: Any = seconds
    floored: Any = floor
    days = floored(x / DAY)
    within = floored(x) - days * DAY
    if part == "hour":
        return floored(within / 3600)
    if part == "minute":
        return floored(within / 60) - floored(within / 3600) * 60
    if part == "second":
        return within - floored(within / 60) * 60
    if part == "weekday":
        return days + 3 - floored((days + 3) / 7) * 7 + 1
    return _calendar(days, part, floored)


def _calendar(days: Any, part: str, floor: Any) -> Any:
    days = days + TO_MARCH_OF_YEAR_0
    cycle = floor(days / CYCLE)
    day = days - cycle * CYCLE  # of the cycle
    year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / (CYCLE - 1))) / 365)  # of the cycle
    day = day - year * 365 - floor(year / 4) + floor(year / 100)  # of the year that begins in March
    month = floor((day * 5 + 2) / 153)  # 0 is March
    after_december = floor(month / 10)
    if part == "day":
        return day - floor((month * 153 + 2) / 5) + 1
    if part == "month":
        return month + 3 - after_december * 12
    return cycle * 400 + year + after_december
