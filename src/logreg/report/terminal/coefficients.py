"""``coefficients.csv``: what a linear model learned, in the units of the table and in standardised ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from logreg.core.files import write_csv
from logreg.data.features import FittedPreprocessor
from logreg.evaluation.coefficients.estimates import Inference, NoInference
from logreg.evaluation.coefficients.separation import CONSTANT
from logreg.optim.objective import linear_coefficients
from logreg.records.record import COEFFICIENTS, Certificate
from logreg.training.classifier import BinaryClassifier

INTERCEPT = "(intercept)"
NEGLIGIBLE = 1e-4  # an intercept's part of a direction that is rounding
COLUMNS = ("feature", "level", "coefficient", "coefficient_standardised")
ERRORS = ("standard_error", "z", "p", "lower", "upper", "odds_ratio")


@dataclass(frozen=True)
class Coefficient:
    """One row of the file.

    Attributes:
        feature, level: the raw column, and its level or part where it has several features.
        coefficient: change of the logit per unit of the raw column.
        coefficient_standardised: the same per standard deviation; what the model itself holds.
    """

    feature: str
    level: str
    coefficient: float
    coefficient_standardised: float

    @property
    def name(self) -> str:
        return f"{self.feature}={self.level}" if self.level else self.feature


@dataclass(frozen=True, eq=False)
class Coefficients:
    """The intercept, then a row per feature, made when it is looked at: a sparse table has millions.

    Attributes:
        raw, standardised: (features,).
        intercepts: in raw and in standardised units.
        infinite: see `_infinite`.
        inference: where it was asked for, so that the file has columns for errors, which may be empty.
    """

    preprocessor: FittedPreprocessor
    raw: np.ndarray
    standardised: np.ndarray
    intercepts: tuple[float, float]
    infinite: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    inference: Inference | NoInference | None = None

    def __len__(self) -> int:
        return 1 + len(self.raw)

    def __getitem__(self, i: int) -> Coefficient:
        if i == 0:
            return Coefficient(INTERCEPT, "", *self.intercepts)
        return Coefficient(*self.preprocessor.feature(i - 1), float(self.raw[i - 1]), float(self.standardised[i - 1]))

    @property
    def differ(self) -> bool:
        """Whether raw and standardised units are not the same."""
        return self.intercepts[0] != self.intercepts[1] or bool((self.raw != self.standardised).any())

    def largest(self, count: int) -> list[int]:
        """The rows of the features with the largest standardised coefficients; in their order where there are few."""
        if len(self.raw) <= count:
            return list(range(1, len(self)))
        return [1 + i for i in np.argsort(-np.abs(self.standardised), kind="stable")[:count].tolist()]

    def write(self, directory: Path) -> None:
        """Write ``coefficients.csv`` into a run directory."""
        header = [*COLUMNS, *(ERRORS if self.inference is not None else ())]
        write_csv(directory / COEFFICIENTS, chain([header], map(self._cells, range(len(self)))))

    def _cells(self, i: int) -> list[str]:
        """Of a row of the file; without inference an infinite coefficient has, of the errors, its odds ratio alone."""
        row = self[i]
        values = self.values(row)
        cells = [row.feature, row.level, *map(repr, values)]
        if isinstance(self.inference, Inference):
            estimates = self.inference.coefficients  # the intercept, row 0, is their last
            return cells + [repr(float(getattr(estimates, name)[i - 1])) for name in ERRORS]
        if self.inference is None:
            return cells
        odds = repr(0.0 if values[0] < 0 else math.inf) if math.isinf(values[0]) else ""
        return [*cells, *[""] * (len(ERRORS) - 1), odds]

    def values(self, row: Coefficient) -> tuple[float, float]:
        """The coefficient in raw and in standardised units, infinite where the estimate says nothing."""
        raw, standardised = self.infinite.get((row.feature, row.level), (0.0, 0.0))
        return raw or row.coefficient, standardised or row.coefficient_standardised


def coefficients(
    classifier: BinaryClassifier,
    preprocessor: FittedPreprocessor,
    optimality: Certificate | None,
    inference: Inference | NoInference | None,
) -> Coefficients | None:
    """What a linear model learned; None for another one."""
    pair = linear_coefficients(classifier.network)
    if pair is None:
        return None
    weight, bias = (parameter.detach().cpu().double().reshape(-1).numpy() for parameter in pair)
    raw, intercept = preprocessor.raw_coefficients(weight, float(bias[0]))
    infinite = _infinite(optimality, preprocessor)
    return Coefficients(preprocessor, raw, weight, (intercept, float(bias[0])), infinite, inference)


def _infinite(
    optimality: Certificate | None, preprocessor: FittedPreprocessor
) -> dict[tuple[str, str], tuple[float, float]]:
    """Of the coefficients, by feature and level, which are infinite where labels are partly separated.

    Of completely separated labels there are many directions to infinity, and none is better than the others.

    Returns:
        For each its infinity with its sign, or 0 where it is finite: in raw and in standardised units.
    """
    if optimality is None or optimality.penalised or optimality.separation is None:
        return {}  # a penalty makes every estimate finite
    if optimality.separation["kind"] != "quasi-complete":
        return {}
    direction = optimality.separation["direction"]
    assert isinstance(direction, dict)
    standardised = np.array([direction.get(name, 0.0) for name in preprocessor.feature_names])
    constant = direction.get(CONSTANT, 0.0)
    raw, intercept = preprocessor.raw_coefficients(standardised, constant)
    of_intercept = {(INTERCEPT, ""): (_infinity(intercept, NEGLIGIBLE), _infinity(constant, NEGLIGIBLE))}
    return of_intercept | {
        name: (_infinity(a), _infinity(b)) for name, a, b in zip(preprocessor.features, raw, standardised, strict=True)
    }


def _infinity(along: float, rounding: float = 0.0) -> float:
    return math.copysign(math.inf, along) if abs(along) > rounding else 0.0
