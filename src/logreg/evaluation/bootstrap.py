"""How sure a metric is: percentile intervals over resampled rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torchmetrics import Metric

from logreg.evaluation.weighted import WeightedMetrics
from logreg.optim.losses import LOG_LOSS, Loss

# Resampled rows in all; a large table needs fewer resamples, its intervals are narrow anyway.
MOST_ROWS, FEWEST_RESAMPLES = 2 * 10**8, 100
UNBOUNDED = ("loss", "log_loss")  # every other metric lies between 0 and 1


def intervals(
    rows: WeightedMetrics,
    weight: np.ndarray,
    metrics: Mapping[str, Metric],
    resamples: int,
    confidence: float,
    seed: int,
) -> tuple[dict[str, tuple[float, float]], int]:
    """The interval of each metric that `WeightedMetrics` knows, and how many resamples were made.

    Rows are drawn with replacement, as many as there are; a resample in which a metric is not defined, since it has one
    class only, does not count for it. The percentiles are shifted by the bootstrap's bias, which matters for the
    calibration error alone: resampling adds to it.

    Args:
        weight: (rows,), of the rows themselves; 1 where they have none.
        confidence: such as 0.95.
    """
    count = len(weight)
    made = min(resamples, max(FEWEST_RESAMPLES, MOST_ROWS // max(1, count)))
    random = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for _ in range(made):
        drawn = np.bincount(random.integers(0, count, count), minlength=count)
        total = weight * drawn
        if not total.any():
            continue
        for name, value in rows.compute(total, dict(metrics)).items():
            found.setdefault(name, []).append(value)
    tail = (1 - confidence) / 2
    measured = rows.compute(weight, dict(metrics))
    result = {}
    for name, values in found.items():
        finite = np.array(values)[np.isfinite(values)]
        if len(finite) and np.isfinite(measured[name]):
            low, high = np.quantile(finite, [tail, 1 - tail]) - (finite.mean() - measured[name])
            highest = np.inf if name in UNBOUNDED else 1.0
            result[name] = (float(np.clip(low, 0, highest)), float(np.clip(high, 0, highest)))
    return result, made


def majority_baseline(
    metrics: Mapping[str, Metric], share_in_training: float, rate: float, trained_on: Loss = LOG_LOSS
) -> dict[str, float]:
    """The metrics of a classifier that knows only how common the labels are among the training rows.

    It gives every row that probability, and predicts the commoner label.

    Args:
        share_in_training: of label 1 among the training rows.
        rate: of label 1 among the rows that are evaluated.
        trained_on: the loss that is called ``loss``.
    """
    q = min(max(share_in_training, 1e-12), 1 - 1e-12)
    log_loss = -(rate * np.log(q) + (1 - rate) * np.log(1 - q))
    ones = share_in_training >= 0.5
    known = {
        "BinaryAccuracy": rate if ones else 1 - rate,
        "BinaryF1Score": 2 * rate / (1 + rate) if ones else 0.0,
        "BinaryAUROC": 0.5,
        "BinaryAveragePrecision": rate,
        "BinaryCalibrationError": abs(share_in_training - rate),
        "BrierScore": rate * (1 - share_in_training) ** 2 + (1 - rate) * share_in_training**2,
    }
    loss = log_loss if trained_on == LOG_LOSS else known["BrierScore"]
    values = {"loss": float(loss), "log_loss": float(log_loss)}
    return values | {name: float(known[type(m).__name__]) for name, m in metrics.items() if type(m).__name__ in known}
