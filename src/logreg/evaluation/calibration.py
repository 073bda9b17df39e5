"""Probabilities that mean what they say: a map from logits to probabilities, fitted on validation rows.

* ``sigmoid``, Platt's scaling: ``p = sigmoid(slope * z + intercept)``. The two numbers minimise the log loss against
  Platt's targets, ``(n1 + 1) / (n1 + 2)`` for label 1 and ``1 / (n0 + 2)`` for label 0 with n1 and n0 rows of these
  labels (sums of their weights), which keep the slope finite where the logits separate the labels.
* ``isotonic``: the non-decreasing function of the logit with the least squared error, linear between its knots and
  constant beyond the outer ones.

Both are what scikit-learn's ``CalibratedClassifierCV`` fits on the decision function of a frozen classifier.

J. Platt, Probabilistic outputs for support vector machines, 1999. B. Zadrozny and C. Elkan, Transforming classifier
scores into accurate multiclass probability estimates, 2002.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import expit, logit

from logreg.core.errors import UserError

# Where p is exactly 0 or 1 the log loss takes it for this far away, as scikit-learn's does.
MARGIN = float(np.finfo(np.float64).eps)
# Validation rows whose logits are this close are one row: rounding must not come between them.
SAME_LOGIT = 1e-8

Logits = Float[np.ndarray, " rows"]


@dataclass(frozen=True)
class SigmoidCalibration:
    """``p = sigmoid(slope * z + intercept)``."""

    method: ClassVar[str] = "sigmoid"
    slope: float
    intercept: float

    def logits(self, z: Logits) -> Logits:
        return self.slope * z + self.intercept

    def probabilities(self, z: Logits) -> Logits:
        return expit(self.logits(z))

    def as_record(self) -> dict[str, object]:
        return {"method": self.method, "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True)
class IsotonicCalibration:
    """Linear between knots, constant beyond them.

    Attributes:
        knots: logits, ascending, one at least.
        values: the probability at each, not descending.
    """

    method: ClassVar[str] = "isotonic"
    knots: tuple[float, ...]
    values: tuple[float, ...]

    def probabilities(self, z: Logits) -> Logits:
        return np.interp(z, self.knots, self.values)

    def logits(self, z: Logits) -> Logits:
        """Those of the probabilities, `MARGIN` away from infinity."""
        return logit(np.clip(self.probabilities(z), MARGIN, 1 - MARGIN))

    @property
    def slopes(self) -> np.ndarray:
        """From each knot to the next, 0 beyond the last one, (knots,)."""
        return np.append(np.diff(self.values) / np.diff(self.knots), 0.0)

    def as_record(self) -> dict[str, object]:
        return {"method": self.method, "knots": list(self.knots), "values": list(self.values)}


Calibration = SigmoidCalibration | IsotonicCalibration


def from_record(record: Mapping[str, Any] | None) -> Calibration | None:
    """The calibration that ``run.json`` holds, if any."""
    if record is None:
        return None
    if record["method"] == SigmoidCalibration.method:
        return SigmoidCalibration(record["slope"], record["intercept"])
    return IsotonicCalibration(tuple(record["knots"]), tuple(record["values"]))


def check_labels(method: str, y: np.ndarray) -> None:
    """Refuse validation rows that calibration can learn nothing from.

    Raises:
        UserError: there are none, or they have one label only.
    """
    if not len(y):
        raise UserError(f"calibration={method} is fitted on validation rows, and there are none; set data.split.")
    if y.min() == y.max():
        raise UserError(
            f"calibration={method}: all validation rows have the label {y[0]:g}; both are needed, set data.split or "
            "data.seed."
        )


def fit_calibration(
    method: str, z: Logits, y: Float[np.ndarray, " rows"], weight: Float[np.ndarray, " rows"] | None = None
) -> Calibration:
    """Fit ``sigmoid`` or ``isotonic``.

    Args:
        z: float64 logits of rows that the classifier was not trained on.
        y: their labels, 0 or 1.

    Raises:
        UserError: there is one label only, or a logit is not finite.
    """
    weight = np.ones(len(z)) if weight is None else np.asarray(weight, dtype=np.float64)
    z, y, weight = (part[weight > 0] for part in (z, y, weight))
    check_labels(method, y)
    if not np.isfinite(z).all():
        raise UserError(f"calibration={method}: the model gives validation rows logits that are not finite.")
    return _fit_sigmoid(z, y, weight) if method == SigmoidCalibration.method else _fit_isotonic(z, y, weight)


def _fit_sigmoid(z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> SigmoidCalibration:
    ones, zeros = weight @ y, weight @ (1 - y)
    target = np.where(y > 0, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    share = weight / weight.sum()
    # Standardised, both directions are equally steep. Where all logits are equal there is no slope to find: it stays 1.
    centre = share @ z
    scale = float(np.sqrt(share @ (z - centre) ** 2))
    scale = scale if scale > SAME_LOGIT * max(1.0, abs(centre)) else 1.0
    u = np.stack([(z - centre) / scale, np.ones(len(z))])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        s = theta @ u
        return float(share @ (np.logaddexp(0, s) - target * s)), u @ (share * (expit(s) - target))

    def hessian(theta: np.ndarray) -> np.ndarray:
        p = expit(theta @ u)
        return (u * (share * p * (1 - p))) @ u.T

    theta = minimize(loss, [1.0, 0.0], jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-10}).x
    # It stops where the loss shows no difference any more, half of the digits away from where its gradient is zero.
    theta = theta - np.linalg.lstsq(hessian(theta), loss(theta)[1], rcond=None)[0]
    slope = float(theta[0] / scale)
    return SigmoidCalibration(slope, float(theta[1] - slope * centre))


def _fit_isotonic(z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> IsotonicCalibration:
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(z, kind="stable")
    z = z[order]
    first = np.append(True, np.diff(z) > SAME_LOGIT)
    z = z[first][np.cumsum(first) - 1]
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(z, y[order], weight[order])
    return IsotonicCalibration(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))
