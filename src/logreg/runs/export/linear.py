"""The coefficients of a linear run."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from logreg.data.tables.columns import Categorical
from logreg.data.tables.values import as_levels
from logreg.evaluation.calibration import IsotonicCalibration, SigmoidCalibration
from logreg.optim.objective import linear_coefficients
from logreg.runs.load import Run

STEEPEST_SIGMOID = 0.25


@dataclass(frozen=True)
class Linear:
    """``sigmoid(x @ weight + bias)`` of features x, or ``isotonic(x @ weight + bias)``.

    Attributes:
        weight: (features,) float64; with a sigmoid calibration those of the model times its slope.
    """

    weight: np.ndarray
    bias: float
    isotonic: IsotonicCalibration | None = None

    @property
    def steepest(self) -> float:
        """The derivative of the probability with respect to ``x @ weight`` at the most."""
        return STEEPEST_SIGMOID if self.isotonic is None else float(self.isotonic.slopes.max())


def linear(run: Run) -> Linear:
    """The coefficients of a run whose network is linear, in float64, and what follows them."""
    pair = linear_coefficients(run.model.network)
    assert pair is not None
    weight, bias = (parameter.detach().double().reshape(-1).cpu().numpy().copy() for parameter in pair)
    calibration, intercept = run.model.calibration, float(bias[0])
    if isinstance(calibration, SigmoidCalibration):
        return Linear(calibration.slope * weight, calibration.slope * intercept + calibration.intercept)
    return Linear(weight, intercept, calibration)


BOOLEANS = {"true": True, "false": False}
_WHOLE = re.compile(r"-?\d{1,15}")  # float64 tells them apart


def numbers_of(levels: Sequence[str]) -> dict[str, float | int | bool]:
    """The levels that a number or a boolean stands for, with it.

    A table in which some levels are numbers has no booleans: 1 and True would be one value.
    """
    integers: dict[str, float | int | bool] = {t: int(t) for t in levels if is_whole(t)}
    fractions = {t: value for t in levels if t not in integers and (value := _fraction(t)) is not None}
    texts = as_levels(pl.Series("level", list(fractions.values()), dtype=pl.Float64)).to_list()
    same = {t: value for (t, value), text in zip(fractions.items(), texts, strict=True) if t == text}
    return integers | same or {t: BOOLEANS[t.lower()] for t in levels if t.lower() in BOOLEANS}


def spellings(column: Categorical) -> dict[str, int]:
    """The feature of each level, in every way of writing it that the run itself takes for the same."""
    features = dict(column.position)
    for level, place in column.position.items():
        if column.is_boolean:
            others = [level.capitalize(), level.upper(), "1" if level == "true" else "0"]
        else:
            others = [f"{level}.0"] if is_whole(level) else []
        features |= {other: place for other in others if other not in features}
    return features


def is_whole(level: str) -> bool:
    """Whether a level is a whole number, which a text file may write as ``1.0`` too."""
    return bool(_WHOLE.fullmatch(level)) and str(int(level)) == level


def _fraction(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
