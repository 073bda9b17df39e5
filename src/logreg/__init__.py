"""Logistic regression as a Lightning + Hydra experiment; see README.md.

Nothing heavy is imported until it is used, so that a command which fails on a typo fails at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from logreg.core.lazy import lazy_attributes

if TYPE_CHECKING:
    from logreg.records.record import RunRecord
    from logreg.runs.load import Run, load_run
    from logreg.training.classifier import BinaryClassifier
    from logreg.training.loop import train

__all__ = ["BinaryClassifier", "Run", "RunRecord", "load_run", "train"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "BinaryClassifier": "logreg.training.classifier",
        "Run": "logreg.runs.load",
        "RunRecord": "logreg.records.record",
        "load_run": "logreg.runs.load",
        "train": "logreg.training.loop",
    },
)
