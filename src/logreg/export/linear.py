"""The coefficients of a linear run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from logreg.objective import linear_coefficients
from logreg.runs import Run


@dataclass(frozen=True)
class Linear:
    """``sigmoid(x @ weight + bias)`` of features x.

    Attributes:
        weight: (features,) float64.
    """

    weight: np.ndarray
    bias: float


def linear(run: Run) -> Linear:
    """The coefficients of a run whose network is linear, in float64."""
    pair = linear_coefficients(run.model.network)
    assert pair is not None
    weight, bias = (parameter.detach().double().reshape(-1).cpu().numpy().copy() for parameter in pair)
    return Linear(weight, float(bias[0]))
