"""Do events happen as often as their probabilities say? Rows in bins of equal width of the predicted probability.

A bin k has the weight n_k, summed over its rows, their mean probability p_k and their share of label 1, o_k; N is the
weight of all rows and o their share of label 1.

* The expected calibration error is ``sum n_k |p_k - o_k| / N``.
* The Brier score, the mean of ``(p - y)^2``, is *reliability - resolution + uncertainty* (A. H. Murphy, A new vector
  partition of the probability score, 1973), exactly so where all rows of a bin have one probability, and with what is
  left *within bins* (Stephenson, Coelho and Jolliffe, Two extra components in the Brier score decomposition, 2008)::

      reliability  sum n_k (p_k - o_k)^2 / N              less is better
      resolution   sum n_k (o_k - o)^2 / N                more is better
      uncertainty  o (1 - o)                              of the labels alone
      within bins  mean of (p - p_k)^2 - 2 (p - p_k) (y - o_k)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from logreg.evaluation.engine import bin_numbers
from logreg.records.record import AccuracyInterval

if TYPE_CHECKING:
    from logreg.data.adapter import AnyData

CONFIDENCE = 0.95
CALIBRATED = ("log_loss", "brier", "calibration_error")  # what calibration is judged by
PARTS = ("reliability", "resolution", "uncertainty", "within_bins")


@dataclass(frozen=True)
class Reliability:
    """Rows in bins by their probability; bins without rows are left out.

    Attributes:
        rows, weight: how many rows each bin has, and the sum of their weights, (bins,).
        mean: the probability of each bin, (bins,), the weighted mean of its rows.
        share: of label 1 in each bin, (bins,).
        squares: the sum of the squared weights of each bin, (bins,).
        within: the Brier score's part within bins.
    """

    rows: np.ndarray
    weight: np.ndarray
    mean: np.ndarray
    share: np.ndarray
    squares: np.ndarray
    within: float

    @property
    def calibration_error(self) -> float:
        return float(self.weight @ np.abs(self.mean - self.share) / self.weight.sum())

    @property
    def decomposition(self) -> dict[str, float]:
        """The parts of the Brier score by the names in `PARTS`."""
        fraction = self.weight / self.weight.sum()
        rate = float(fraction @ self.share)
        reliability, resolution = fraction @ (self.mean - self.share) ** 2, fraction @ (self.share - rate) ** 2
        values = (float(reliability), float(resolution), rate * (1 - rate), self.within)
        return dict(zip(PARTS, values, strict=True))

    @property
    def brier(self) -> float:
        parts = self.decomposition
        return parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bins"]

    def as_record(self, confidence: float) -> list[dict[str, object]]:
        """The bins as plain values."""
        columns = (self.rows, self.mean, self.share, *self.intervals(confidence))
        return [
            {"rows": rows, "probability": mean, "share": share, "interval": [low, high]}
            for rows, mean, share, low, high in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def intervals(self, confidence: float = CONFIDENCE) -> tuple[np.ndarray, np.ndarray]:
        """Wilson's interval of the share in each bin, lower and upper ends, (bins,) each."""
        return wilson(self.share, self.weight**2 / self.squares, confidence)


def reliability(p: np.ndarray, y: np.ndarray, bins: int, weight: np.ndarray | None = None) -> Reliability:
    """Put rows into bins by their probability; one on an edge belongs to the bin above, 1 to the last one.

    Args:
        p, y: probabilities and labels, (rows,).
        bins: how many, of equal width.
    """
    w = np.ones(len(p)) if weight is None else weight
    counted = w > 0  # rows of weight 0 are not counted among the rows of a bin
    of = bin_numbers(p, bins)[counted]
    p, y, w = (part[counted].astype(np.float64) for part in (p, y, w))
    rows = np.bincount(of, minlength=bins)
    filled = rows > 0

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(of, values, bins)

    weights = np.where(filled, sums(w), 1.0)  # of empty bins, which are left out below, anything but 0
    mean, share = sums(w * p) / weights, sums(w * y) / weights
    from_mean, from_share = p - mean[of], y - share[of]
    within = float(w @ (from_mean * (from_mean - 2 * from_share)) / w.sum())
    return Reliability(rows[filled], weights[filled], mean[filled], share[filled], sums(w * w)[filled], within)


def wilson(share: np.ndarray | float, count: np.ndarray | float, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of shares of ``count`` rows, lower and upper ends (E. B. Wilson, 1927).

    Weighted rows count for ``(sum of weights)^2 / sum of squared weights`` of them (Kish).
    """
    share, n = np.asarray(share, dtype=np.float64), np.asarray(count, dtype=np.float64)
    z = float(ndtri(0.5 + confidence / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def accuracy_intervals(metrics: Mapping[str, float], data: AnyData) -> dict[str, AccuracyInterval]:
    """For each accuracy on held-out rows its interval, its rows, and what the commoner label alone would get.

    Args:
        metrics: by name, such as ``test/accuracy``.
        data: of another DataModule than `BlockData` nothing is known.

    Returns:
        By the name of the metric.
    """
    table, intervals = data.blocks, dict[str, AccuracyInterval]()
    if table is None:
        return {}
    for split in ("val", "test"):
        name = f"{split}/accuracy"
        if name not in metrics or not len(table.rows[split]):
            continue
        y, weight = table.labels_of(split), table.own_weights(split)
        w = np.ones(len(y)) if weight is None else weight
        low, high = wilson(metrics[name], w.sum() ** 2 / (w**2).sum(), CONFIDENCE)
        zeros, ones = table.label_totals()
        share = float(w @ y / w.sum())
        majority = share if ones > zeros else 1 - share
        intervals[name] = AccuracyInterval(float(low), float(high), CONFIDENCE, len(y), majority)
    return intervals
