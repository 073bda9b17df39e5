"""The coefficients of a linear run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from logreg.calibration import IsotonicCalibration, SigmoidCalibration
from logreg.objective import linear_coefficients
from logreg.runs import Run

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
