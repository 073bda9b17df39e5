"""``coefficients.csv``: what a linear model learned, in the units of the table and in standardised ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from logreg.core.files import write_csv
from logreg.data.preprocessing import FittedPreprocessor
from logreg.evaluation.coefficients.estimates import Estimates
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


class Coefficients(Sequence[Coefficient]):
    """The intercept, then a row per feature, made when it is looked at: a sparse table has millions.

    Args:
        raw, standardised: (features,).
        intercepts: in raw and in standardised units.
    """

    def __init__(
        self,
        preprocessor: FittedPreprocessor,
        raw: np.ndarray,
        standardised: np.ndarray,
        intercepts: tuple[float, float],
    ) -> None:
        self.preprocessor, self.raw, self.standardised, self.intercepts = preprocessor, raw, standardised, intercepts
        self.infinite: Mapping[tuple[str, str], tuple[float, float]] = {}  # see `infinite_of`
        self.estimates: Estimates | None = None  # with an error each
        self.has_errors = False  # whether the file has columns for them, which may be empty

    def __len__(self) -> int:
        return 1 + len(self.raw)

    @overload
    def __getitem__(self, i: int) -> Coefficient: ...
    @overload
    def __getitem__(self, i: slice) -> list[Coefficient]: ...
    def __getitem__(self, i: int | slice) -> Coefficient | list[Coefficient]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if i == 0:
            return Coefficient(INTERCEPT, "", *self.intercepts)
        if not 0 < i < len(self):
            raise IndexError(i)
        return Coefficient(*self.preprocessor.feature(i - 1), float(self.raw[i - 1]), float(self.standardised[i - 1]))

    @property
    def differ(self) -> bool:
        """Whether raw and standardised units are not the same."""
        return self.intercepts[0] != self.intercepts[1] or bool((self.raw != self.standardised).any())

    def largest(self, count: int) -> list[Coefficient]:
        """The features that matter most, by their standardised coefficient; in their order where there are few."""
        if len(self.raw) <= count:
            return self[1:]
        return [self[i + 1] for i in np.argsort(-np.abs(self.standardised), kind="stable")[:count].tolist()]

    def write(self, directory: Path) -> None:
        """Write ``coefficients.csv`` into a run directory."""
        write_csv(directory / COEFFICIENTS, self._lines())

    def _lines(self) -> Iterator[tuple[str, ...]]:
        yield *COLUMNS, *(ERRORS if self.has_errors else ())
        for i, row in enumerate(self):
            values = self.values(row)
            yield row.feature, row.level, *map(repr, values), *(self._errors(i, values[0]) if self.has_errors else ())

    def values(self, row: Coefficient) -> tuple[float, float]:
        """The coefficient in raw and in standardised units, infinite where the number found says nothing."""
        raw, standardised = self.infinite.get((row.feature, row.level), (0.0, 0.0))
        return raw or row.coefficient, standardised or row.coefficient_standardised

    def _errors(self, i: int, coefficient: float) -> list[str]:
        """The cells of `ERRORS` of a row; without inference an infinite coefficient has its odds ratio alone."""
        if self.estimates is None:
            odds = repr(0.0 if coefficient < 0 else math.inf) if math.isinf(coefficient) else ""
            return [*[""] * (len(ERRORS) - 1), odds]
        return [repr(float(getattr(self.estimates, name)[i - 1])) for name in ERRORS]  # the intercept is their last


def coefficients(classifier: BinaryClassifier, preprocessor: FittedPreprocessor) -> Coefficients | None:
    """What a linear model learned; None for another one."""
    pair = linear_coefficients(classifier.network)
    if pair is None:
        return None
    weight, bias = (parameter.detach().cpu().double().reshape(-1).numpy() for parameter in pair)
    raw, intercept = preprocessor.raw_coefficients(weight, float(bias[0]))
    return Coefficients(preprocessor, raw, weight, (intercept, float(bias[0])))


def infinite_of(
    optimality: Certificate | None, rows: Coefficients | None
) -> dict[tuple[str, str], tuple[float, float]]:
    """Of the coefficients, by feature and level, which are infinite where labels are partly separated.

    Of completely separated labels there are many directions to infinity, and none is better than the others.

    Returns:
        For each its infinity with its sign, or 0 where it is finite: in raw and in standardised units.
    """
    if rows is None or optimality is None or optimality.penalised or optimality.separation is None:
        return {}  # a penalty makes every estimate finite
    if optimality.separation["kind"] != "quasi-complete":
        return {}
    pre, direction = rows.preprocessor, optimality.separation["direction"]
    assert isinstance(direction, dict)
    standardised = np.array([direction.get(name, 0.0) for name in pre.feature_names])
    constant = direction.get(CONSTANT, 0.0)
    raw, intercept = pre.raw_coefficients(standardised, constant)
    of_intercept = {(INTERCEPT, ""): (_infinity(intercept, NEGLIGIBLE), _infinity(constant, NEGLIGIBLE))}
    return of_intercept | {
        name: (_infinity(a), _infinity(b)) for name, a, b in zip(pre.features, raw, standardised, strict=True)
    }


def _infinity(along: float, rounding: float = 0.0) -> float:
    return math.copysign(math.inf, along) if abs(along) > rounding else 0.0
