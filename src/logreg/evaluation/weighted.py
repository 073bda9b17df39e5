"""The standard metrics with a weight for every row: what weighted tables and the bootstrap need.

torchmetrics counts every row once. Rows are sorted once here; each metric of any set of weights is then a few sums.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Float
from torchmetrics import Metric
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryCalibrationError,
    BinaryF1Score,
)

from logreg.evaluation.calibration import Calibration
from logreg.evaluation.scores import BrierScore
from logreg.optim.losses import LOG_LOSS, Loss


class WeightedMetrics:
    """Metrics of fixed predictions under changing weights.

    Args:
        logits: (rows,), in float64.
        y: (rows,), 0 or 1.
        predicted: (rows,), whether the row is predicted to be of label 1.
        calibration: of the logits; ``loss`` is the mean of the loss without it.
        trained_on: that loss.
    """

    def __init__(
        self,
        logits: Float[np.ndarray, " rows"],
        y: np.ndarray,
        predicted: np.ndarray,
        calibration: Calibration | None = None,
        trained_on: Loss = LOG_LOSS,
    ) -> None:
        z = logits if calibration is None else calibration.logits(logits)
        self.order = np.argsort(-z, kind="stable")
        z, raw = z[self.order], logits[self.order]
        self.y = y[self.order].astype(np.float64)
        self.predicted = predicted[self.order].astype(np.float64)
        with np.errstate(over="ignore"):
            self.p = 1 / (1 + np.exp(-z)) if calibration is None else calibration.probabilities(raw)
        self.losses = LOG_LOSS.of_arrays(z, self.y)
        self.raw_losses = trained_on.of_arrays(raw, self.y)
        self.squares = (self.p - self.y) ** 2
        # The last row of every run of equal probabilities: a threshold cannot fall inside one.
        self.ends = np.append(np.flatnonzero(np.diff(self.p)), len(z) - 1)

    def compute(self, weight: Float[np.ndarray, " rows"], metrics: dict[str, Metric]) -> dict[str, float]:
        """The values of those metrics that are known here, by the names they are given.

        Args:
            weight: (rows,), in the order in which the rows were given.
        """
        w = weight[self.order]
        values = {"loss": float(w @ self.raw_losses / w.sum()), "log_loss": float(w @ self.losses / w.sum())}
        curve = _Curve(w, w * self.y, self.ends)
        for name, metric in metrics.items():
            if isinstance(metric, BinaryAccuracy):
                values[name] = float(w @ (self.predicted == self.y) / w.sum())
            elif type(metric) is BinaryF1Score:
                hits = 2 * float(w @ (self.predicted * self.y))
                values[name] = hits / total if (total := float(w @ self.predicted + w @ self.y)) else 0.0
            elif isinstance(metric, BinaryAUROC) and metric.max_fpr is None:
                values[name] = curve.auroc
            elif isinstance(metric, BinaryAveragePrecision):
                values[name] = curve.average_precision
            elif isinstance(metric, BinaryCalibrationError) and metric.norm == "l1":
                values[name] = self._calibration_error(w, int(metric.n_bins))
            elif isinstance(metric, BrierScore):
                values[name] = float(w @ self.squares / w.sum())
        return values

    @cached_property
    def _bins(self) -> dict[int, np.ndarray]:
        return {}

    def _calibration_error(self, w: np.ndarray, bins: int) -> float:
        if bins not in self._bins:  # as torchmetrics does: equal widths, the upper edge belongs to the bin above
            edges = np.linspace(0, 1, bins + 1)
            self._bins[bins] = np.clip(np.searchsorted(edges, self.p, side="right") - 1, 0, bins - 1)
        gaps = np.bincount(self._bins[bins], weights=w * (self.p - self.y), minlength=bins)
        return float(np.abs(gaps).sum() / w.sum())


class _Curve:
    """True and false positives at every threshold, from the highest down."""

    def __init__(self, w: np.ndarray, positive: np.ndarray, ends: np.ndarray) -> None:
        self.true = np.cumsum(positive)[ends]
        self.false = np.cumsum(w)[ends] - self.true

    @property
    def auroc(self) -> float:
        """Area by trapezoids; nan where only one class has weight."""
        area = float(np.trapezoid(np.append(0.0, self.true), np.append(0.0, self.false)))
        whole = float(self.true[-1] * self.false[-1])
        return area / whole if whole else float("nan")

    @property
    def average_precision(self) -> float:
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(self.true / (self.true + self.false))
        steps = np.diff(self.true, prepend=0.0)
        return float(precision @ steps / self.true[-1]) if self.true[-1] else float("nan")
