"""How much the rows that were held out can say of an accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from logreg.data.datamodule import BlockData
from logreg.evaluation.reliability import wilson

ACCURACY = "accuracy"
HELD_OUT = ("val", "test")


def accuracy_intervals(metrics: Mapping[str, float], data: Any, confidence: float = 0.95) -> dict[str, Any]:
    """For each accuracy on held-out rows its interval, its rows, and what the commoner label alone would get.

    Args:
        metrics: by name, such as ``test/accuracy``.
        data: the DataModule; of another one than `BlockData` nothing is known.

    Returns:
        By the name of the metric: ``low``, ``high``, ``confidence``, ``rows``, ``majority``.
    """
    found: dict[str, Any] = {}
    for split in HELD_OUT if isinstance(data, BlockData) else ():
        name = f"{split}/{ACCURACY}"
        if name not in metrics or not len(data.rows[split]):
            continue
        y, weight = data.labels_of(split), data.own_weights(split)
        w = np.ones(len(y)) if weight is None else weight
        low, high = wilson(metrics[name], w.sum() ** 2 / (w**2).sum(), confidence)
        zeros, ones = data.label_totals()
        share = float(w @ y / w.sum())
        found[name] = {
            "low": float(low),
            "high": float(high),
            "confidence": confidence,
            "rows": len(y),
            "majority": share if ones > zeros else 1 - share,
        }
    return found
