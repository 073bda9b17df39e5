"""Figures of a trained classifier: the decision boundary for two features, evaluation curves for any number."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from logreg.evaluation.reliability import reliability
from logreg.training.classifier import BinaryClassifier

COLORS = ("#c44e52", "#4c72b0")  # label 0, label 1
CURVE = "#4c72b0"


def decision_boundary(
    classifier: BinaryClassifier,
    x: Float[np.ndarray, "rows 2"],
    y: Float[np.ndarray, " rows"],
    names: list[str],
    title: str,
) -> Figure:
    """The probability over the plane, its contour at the threshold, and the points."""
    low, high = x.min(axis=0), x.max(axis=0)
    margin = 0.15 * np.maximum(high - low, 1e-9)
    grid = [np.linspace(a, b, 200) for a, b in zip(low - margin, high + margin, strict=True)]
    first, second = np.meshgrid(*grid)
    dtype = next(classifier.parameters()).dtype
    with torch.no_grad():
        points = torch.as_tensor(np.stack([first.ravel(), second.ravel()], axis=1), dtype=dtype)
        p = classifier(points.to(classifier.device)).cpu().numpy().reshape(first.shape)
    figure, axes = _axes(title, names[0], names[1])
    shades = axes.contourf(first, second, p, levels=np.linspace(0, 1, 21), cmap="RdBu", alpha=0.6)
    if p.min() < classifier.threshold < p.max():
        axes.contour(first, second, p, levels=[classifier.threshold], colors="black", linewidths=1.5)
    for label, color in enumerate(COLORS):
        rows = y == label
        axes.scatter(*x[rows].T, color=color, edgecolor="white", s=60, label=f"label {label}", zorder=3)
    axes.legend(loc="upper left")
    figure.colorbar(shades, ax=axes, label="probability of label 1")
    return figure


def roc(y: np.ndarray, p: np.ndarray, title: str) -> Figure:
    """True against false positive rate."""
    from sklearn.metrics import roc_auc_score, roc_curve

    false_positives, true_positives, _ = roc_curve(y, p)
    figure, axes = _axes(title, "false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.plot(false_positives, true_positives, color=CURVE, label=f"AUROC {roc_auc_score(y, p):.4f}")
    axes.legend(loc="lower right")
    return figure


def precision_recall(y: np.ndarray, p: np.ndarray, title: str) -> Figure:
    """Precision against recall."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    precision, recall, _ = precision_recall_curve(y, p)
    figure, axes = _axes(title, "recall", "precision")
    axes.axhline(y.mean(), color="grey", linestyle=":", label="share of label 1")
    axes.plot(recall, precision, color=CURVE, label=f"average precision {average_precision_score(y, p):.4f}")
    axes.set_ylim(0, 1.05)
    axes.legend(loc="lower left")
    return figure


def _axes(title: str, x_label: str, y_label: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    return figure, axes


def to_png(figure: Figure, path: Path) -> tuple[bytes, int, int]:
    """Save a figure; returns the file's bytes, its width and height in pixels."""
    png, width, height = png_of(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png)
    return png, width, height


def png_of(figure: Figure) -> tuple[bytes, int, int]:
    """A figure as the bytes of a PNG file, its width and height in pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    width, height = (int(side * 100) for side in figure.get_size_inches())
    return buffer.getvalue(), width, height


RELIABILITY_COLORS = ("#4c72b0", "#dd8452")  # as measured, calibrated


def reliability_diagram(
    y: np.ndarray, curves: dict[str, np.ndarray], bins: int, title: str, weight: np.ndarray | None = None
) -> Figure:
    """Bins of equal width with Wilson's 95 % intervals above, the number of rows in each below.

    Args:
        y: labels, (rows,).
        curves: probabilities by what they are called, (rows,) each.
        weight: (rows,).
    """
    figure = Figure(figsize=(6, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color="grey", linestyle=":", label="perfectly calibrated")
    edges = np.linspace(0, 1, bins + 1)
    for (name, p), color in zip(curves.items(), RELIABILITY_COLORS, strict=False):
        found = reliability(p, y, bins, weight)
        low, high = found.intervals()
        # Where all rows of a bin have one label, its share is an end of the interval but for rounding.
        errors = np.maximum([found.share - low, high - found.share], 0.0)
        label = f"{name}: calibration error {found.calibration_error:.4f}, Brier score {found.brier:.4f}"
        above.errorbar(found.mean, found.share, yerr=errors, color=color, marker="o", capsize=2, label=label)
        below.stairs(np.histogram(p, edges)[0], edges, color=color, fill=len(curves) == 1)
    above.set(title=title, ylabel="observed share of label 1, 95 % interval", xlim=(0, 1), ylim=(-0.02, 1.02))
    above.legend(loc="lower right", fontsize="small")
    below.set(xlabel="predicted probability", ylabel="rows", yscale="log", ylim=(0.5, None))
    return figure
