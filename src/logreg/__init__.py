"""Logistic regression as a Lightning + Hydra experiment; see README.md.

Nothing heavy is imported until it is used, so that a command which fails on a typo fails at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logreg.classifier import BinaryClassifier
    from logreg.runs import Run, RunRecord, load_run
    from logreg.training import train

__all__ = ["BinaryClassifier", "Run", "RunRecord", "load_run", "train"]

_HOME = {
    "BinaryClassifier": "logreg.classifier",
    "Run": "logreg.runs",
    "RunRecord": "logreg.runs",
    "load_run": "logreg.runs",
    "train": "logreg.training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'logreg' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
