"""A linear run on a table as all formats see it: its coefficients, and which of them belong to which raw values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from logreg.data.tables.columns import Categorical, Numeric
from logreg.data.tables.preprocessor import Preprocessor
from logreg.data.tables.reading.kinds import as_levels
from logreg.evaluation.calibration import IsotonicCalibration, SigmoidCalibration
from logreg.optim.objective import coefficients_of
from logreg.runs.load import Run

BOOLEANS = {"true": True, "false": False}
WHOLE = re.compile(r"0|-?[1-9][0-9]{0,14}")  # of so few digits, float64 holds every number


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
