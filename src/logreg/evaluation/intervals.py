"""How much the rows that were held out can say of an accuracy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from logreg.data.adapter import AnyData
from logreg.evaluation.reliability import wilson
from logreg.records.record import AccuracyInterval

ACCURACY = "accuracy"
HELD_OUT = ("val", "test")


def accuracy_intervals(
    metrics: Mapping[str, float], data: AnyData, confidence: float = 0.95
) -> dict[str, AccuracyInterval]:
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
    for split in HELD_OUT:
        name = f"{split}/{ACCURACY}"
        if name not in metrics or not len(table.rows[split]):
            continue
        y, weight = table.labels_of(split), table.own_weights(split)
        w = np.ones(len(y)) if weight is None else weight
        low, high = wilson(metrics[name], w.sum() ** 2 / (w**2).sum(), confidence)
        zeros, ones = table.label_totals()
        share = float(w @ y / w.sum())
        majority = share if ones > zeros else 1 - share
        intervals[name] = AccuracyInterval(float(low), float(high), confidence, len(y), majority)
    return intervals
