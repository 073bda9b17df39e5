"""Logistic regression as a Lightning + Hydra experiment; see README.md.

Nothing heavy is imported until it is used, so that a command which fails on a typo fails at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from logreg.lazily import lazily

if TYPE_CHECKING:
    from logreg.classifier import BinaryClassifier
    from logreg.runs import Run, RunRecord, load_run
    from logreg.training import train

__all__ = ["BinaryClassifier", "Run", "RunRecord", "load_run", "train"]

__getattr__ = lazily(
    __name__,
    {
        "BinaryClassifier": "logreg.classifier",
        "Run": "logreg.runs",
        "RunRecord": "logreg.runs",
        "load_run": "logreg.runs",
        "train": "logreg.training",
    },
)
