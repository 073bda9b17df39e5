"""A run on a table as exports see it: its raw columns and, of a linear one, the coefficients of their values.

`date_part` takes anything with ``+ - * /`` and a function that rounds down: NumPy arrays, tensors, values of an ONNX
graph.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl

from logreg.data.tables.preparing.columns import Categorical, Numeric
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.data.tables.reading.kinds import as_date, as_levels, as_numbers
from logreg.evaluation.calibration import IsotonicCalibration, SigmoidCalibration
from logreg.optim.objective import coefficients_of
from logreg.runs.load import Run

if TYPE_CHECKING:
    from torch import Tensor

    from logreg.runs.export.graph import GraphValue

X = TypeVar("X", np.ndarray, "Tensor", "GraphValue")

BOOLEANS = {"true": True, "false": False}
WHOLE = re.compile(r"0|-?[1-9][0-9]{0,14}")  # of so few digits, float64 holds every number

DAY = 86400
CYCLE = 146097  # days in 400 years, after which the calendar repeats
TO_MARCH_OF_YEAR_0 = 719468  # days from there to 1970-01-01


@dataclass(frozen=True)
class LinearModel:
    """``sigmoid(x @ weight + bias)`` of features x, or ``isotonic(x @ weight + bias)``.

    Attributes:
        weight: (features,) float64; with a sigmoid calibration those of the network times its slope.
    """

    weight: np.ndarray
    bias: float
    isotonic: IsotonicCalibration | None = None

    @classmethod
    def of(cls, run: Run) -> LinearModel:
        """The coefficients of a run whose network is linear, whatever its precision, and what follows them."""
        parameters = coefficients_of(run.model.network)
        weight, (bias,) = (parameter.detach().double().reshape(-1).cpu().numpy() for parameter in parameters)
        calibration = run.model.calibration
        if isinstance(calibration, SigmoidCalibration):
            return cls(calibration.slope * weight, float(calibration.slope * bias + calibration.intercept))
        return cls(weight, float(bias), calibration)


def number_spans(pre: Preprocessor) -> list[tuple[Numeric, int]]:
    """The numbers and parts of dates, each with its first feature; an indicator of missing values follows it."""
    return [(column, first) for column, first in pre.spans() if isinstance(column, Numeric)]


def level_spans(pre: Preprocessor) -> list[tuple[Categorical, int]]:
    """The columns of levels, each with its first feature: of the levels, of the rare ones, of missing values."""
    return [(column, first) for column, first in pre.spans() if isinstance(column, Categorical)]


def spellings(column: Categorical, first: int = 0) -> dict[str, int]:
    """Every way of writing a known level that the run itself takes for it, with its feature.

    Args:
        first: the first feature of the column.
    """
    written = [*column.levels, *column.rare]  # of booleans, `position` has small letters only
    features = {level: column.position[level.lower() if column.is_boolean else level] for level in written}
    features |= column.position
    for level, feature in column.position.items():
        if column.is_boolean:
            others = [level.capitalize(), level.upper(), "1" if level == "true" else "0"]
        else:
            others = [f"{level}.0"] if WHOLE.fullmatch(level) else []
        features |= {other: feature for other in others if other not in features}
    return {level: first + feature for level, feature in features.items()}


def numbers_of(levels: Sequence[str]) -> dict[str, float]:
    """The levels that a number or a boolean stands for, with that value.

    A table in which some levels are numbers has no booleans: 1 and True would be one value.
    """
    values = pl.Series("level", levels, dtype=pl.String).cast(pl.Float64, strict=False)
    texts = as_levels(values)  # 1000.0 is the level "1000": the level "1e3" is a text and no number
    numbers = {level: value for level, value, text in zip(levels, values, texts, strict=True) if level == text}
    finite = {level: value for level, value in numbers.items() if math.isfinite(value)}
    return finite or {level: BOOLEANS[level.lower()] for level in levels if level.lower() in BOOLEANS}


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
        part: one of `DATE_PARTS` and `TIME_PARTS` in `logreg.data.tables.preparing.columns`.
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
