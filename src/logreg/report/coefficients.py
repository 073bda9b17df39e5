"""``coefficients.csv``: what a linear model learned, in the units of the table and in standardised ones."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from logreg.classifier import BinaryClassifier
from logreg.data.preprocessing import Preprocessor
from logreg.objective import linear_coefficients
from logreg.runs import COEFFICIENTS, write_atomically

INTERCEPT = "(intercept)"


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


def coefficients(classifier: BinaryClassifier, preprocessor: Preprocessor) -> list[Coefficient]:
    """The intercept and a row per feature; empty for a model that is not linear."""
    pair = linear_coefficients(classifier.network)
    if pair is None:
        return []
    weight, bias = (parameter.detach().cpu().double().reshape(-1).numpy() for parameter in pair)
    raw, intercept = preprocessor.raw_coefficients(weight, float(bias[0]))
    rows = [Coefficient(INTERCEPT, "", intercept, float(bias[0]))]
    named = zip(preprocessor.features, raw.tolist(), weight.tolist(), strict=True)
    return rows + [Coefficient(column, level, value, own) for (column, level), value, own in named]


def write_coefficients(directory: Path, rows: list[Coefficient]) -> None:
    """Write ``coefficients.csv`` into a run directory."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("feature", "level", "coefficient", "coefficient_standardised"))
    writer.writerows((r.feature, r.level, repr(r.coefficient), repr(r.coefficient_standardised)) for r in rows)
    write_atomically(directory / COEFFICIENTS, text.getvalue())


def largest(rows: list[Coefficient], count: int) -> list[Coefficient]:
    """The features that matter most, by their standardised coefficient; all in their order where there are few."""
    features = rows[1:]
    if len(features) <= count:
        return features
    order = np.argsort([-abs(row.coefficient_standardised) for row in features], kind="stable")
    return [features[i] for i in order[:count]]
