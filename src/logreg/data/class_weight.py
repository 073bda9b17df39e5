"""Weights of the two labels, as weights of the rows that have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from logreg.errors import UserError

BALANCED = "balanced"
ClassWeight = Mapping[Any, float | int] | str | None


def label_weights(given: ClassWeight, labels: tuple[str, str], totals: tuple[float, float]) -> tuple[float, float]:
    """The weight of label 0 and of label 1.

    Args:
        given: ``balanced``, which makes both labels weigh the same in all, ``total / (2 * total of the label)`` as in
            scikit-learn; or a weight by label, 1 for one that is left out.
        labels: what 0 and 1 stand for; a key of ``given`` is one of them, else 0 or 1.
        totals: the number of training rows of each label, or the sum of their weights.

    Raises:
        UserError: a key is no label.
    """
    if given is None:
        return 1.0, 1.0
    if isinstance(given, str):
        if given != BALANCED:
            raise UserError(f"class_weight={given}: {BALANCED}, a weight for each label, or null is needed.")
        return (sum(totals) / (2 * totals[0]), sum(totals) / (2 * totals[1]))
    found = [1.0, 1.0]
    for key, value in given.items():
        name = str(key)
        if name not in labels and name not in ("0", "1"):
            raise UserError(f"class_weight: there is no label {name}; the labels are {labels[0]} and {labels[1]}.")
        found[labels.index(name) if name in labels else int(name)] = float(value)
    return found[0], found[1]


def weighted_rows(y: np.ndarray, weight: np.ndarray | None, of_labels: tuple[float, float]) -> np.ndarray:
    """``weight`` times the weight of each row's label, (rows,)."""
    rows = np.where(y == 1, of_labels[1], of_labels[0])
    return rows if weight is None else rows * weight
