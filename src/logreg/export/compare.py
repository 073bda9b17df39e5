"""An export against the run that it was made from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from logreg.runs import Run

Probabilities = Callable[[Any], np.ndarray]


def in_double(run: Run) -> Run:
    """The same run, computing in float64: its own rounding is then no part of a comparison."""
    return replace(run, model=copy.deepcopy(run.model).double())


def largest_difference(expected: Probabilities, found: Probabilities, rows: Iterable[Any]) -> float:
    """The largest absolute difference of two functions from batches of rows to probabilities, (rows,).

    NaN if one of them returns NaN, infinite if they disagree about the number of rows.
    """
    largest = 0.0
    for batch in rows:
        p, q = np.asarray(expected(batch), dtype=np.float64), np.asarray(found(batch), dtype=np.float64)
        if p.shape != q.shape:
            return float("inf")
        largest = float(np.maximum(largest, np.abs(p - q).max(initial=0.0)))  # NaN stays
    return largest
