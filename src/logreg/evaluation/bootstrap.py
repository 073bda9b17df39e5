"""How sure a metric is: percentile intervals over resampled rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torchmetrics import Metric, classification

from logreg.evaluation.engine import ScoredRows
from logreg.evaluation.metrics import measured
from logreg.evaluation.scores import BrierScore
from logreg.optim.losses import LOG_LOSS, Loss

# Resampled rows in all; a large table needs fewer resamples, its intervals are narrow anyway.
MOST_ROWS, FEWEST_RESAMPLES = 2 * 10**8, 100
AT_ONCE = 2**15  # resampled rows that are measured together: they stay in the processor's cache
UNBOUNDED = ("loss", "log_loss")  # every other metric lies between 0 and 1


def intervals(
    rows: ScoredRows, metrics: Mapping[str, Metric], resamples: int, confidence: float, seed: int
) -> tuple[dict[str, tuple[float, float]], int]:
    """The interval of each metric that the engine computes, and how many resamples were made.

    Rows are drawn with replacement, as many as there are. A resample in which a metric is not defined, since it has one
    class only, does not count for it. The percentiles are shifted by the bootstrap's bias, which matters for the
    calibration error alone: resampling adds to it.

    Args:
        rows: of one model, with their weights: 1 where they have none.
        confidence: such as 0.95.
    """
    count = rows.p.shape[1]
    resamples = min(resamples, max(FEWEST_RESAMPLES, MOST_ROWS // max(1, count)))
    random, step, parts = np.random.default_rng(seed), max(1, AT_ONCE // max(1, count)), []
    for first in range(0, resamples, step):
        drawn = min(step, resamples - first)
        chosen = random.integers(0, count, (drawn, count)) + count * np.arange(drawn)[:, None]
        weights = rows.w * np.bincount(chosen.ravel(), minlength=drawn * count).reshape(drawn, count)
        weights = weights[weights.any(1)]  # without resamples in which no row has any
        if len(weights):
            parts.append(measured(rows.reweighted(weights), metrics))
    tail = (1 - confidence) / 2
    result = {}
    for name, value in measured(rows, metrics).items():
        values = np.concatenate([part[name] for part in parts]) if parts else np.empty(0)
        at, finite = value[0], values[np.isfinite(values)]
        if len(finite) and np.isfinite(at):
            low, high = np.quantile(finite, [tail, 1 - tail]) - (finite.mean() - at)
            highest = np.inf if name in UNBOUNDED else 1.0
            result[name] = (float(np.clip(low, 0, highest)), float(np.clip(high, 0, highest)))
    return result, resamples


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
    known: dict[type[Metric], float] = {
        classification.BinaryAccuracy: rate if ones else 1 - rate,
        classification.BinaryF1Score: 2 * rate / (1 + rate) if ones else 0.0,
        classification.BinaryAUROC: 0.5,
        classification.BinaryAveragePrecision: rate,
        classification.BinaryCalibrationError: abs(share_in_training - rate),
        BrierScore: rate * (1 - share_in_training) ** 2 + (1 - rate) * share_in_training**2,
    }
    loss = log_loss if trained_on == LOG_LOSS else known[BrierScore]
    values = {"loss": float(loss), "log_loss": float(log_loss)}
    return values | {name: float(known[type(m)]) for name, m in metrics.items() if type(m) in known}
