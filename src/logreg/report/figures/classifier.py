"""Figures of a trained classifier: the decision boundary for two features, evaluation curves for any number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes

from logreg.evaluation.reliability import reliability
from logreg.report.figures.theme import BLUE, LABELS, ORANGE, SMALL, Drawing, Look, logarithmic, new_figure
from logreg.training.classifier import BinaryClassifier

SIZES = {Look.FILE: (6.0, 4.5), Look.PAGE: (SMALL[0], 3.5)}  # inches, of a curve
STEPS = 200  # of the plane along each axis


def decision_boundary(
    classifier: BinaryClassifier,
    x: Float[np.ndarray, "rows 2"],
    y: Float[np.ndarray, " rows"],
    names: list[str],
    title: str,
    look: Look = Look.FILE,
) -> Drawing:
    """The probability over the plane, its contour at the threshold, and the points."""
    axis_values = plane(x, STEPS)
    first, second = np.meshgrid(*axis_values)
    dtype = next(classifier.parameters()).dtype
    with torch.no_grad():
        points = torch.as_tensor(np.stack([first.ravel(), second.ravel()], axis=1), dtype=dtype)
        p = classifier(points.to(classifier.device)).cpu().numpy().reshape(first.shape)
    figure = new_figure(SIZES[look] if look is Look.FILE else (5.2, 3.9))
    axes = figure.subplots()
    axes.set(title=title, xlabel=names[0], ylabel=names[1])
    shades = axes.contourf(first, second, p, levels=np.linspace(0, 1, 21), cmap="RdBu", alpha=0.6)
    if p.min() < classifier.threshold < p.max():
        axes.contour(first, second, p, levels=[classifier.threshold], colors="black", linewidths=1.5)
    for label, color in enumerate(LABELS):
        horizontal, vertical = x[y == label].T
        axes.scatter(horizontal, vertical, color=color, edgecolor="white", s=60, label=f"label {label}", zorder=3)
    axes.legend(loc="upper left", frameon=True)
    figure.colorbar(shades, ax=axes, label="probability of label 1")
    return Drawing(figure)


def plane(x: Float[np.ndarray, "rows 2"], steps: int) -> list[np.ndarray]:
    """The values of either axis, (steps,), of a part of the plane that has all points and a margin around them."""
    low, high = x.min(axis=0), x.max(axis=0)
    margin = 0.15 * np.maximum(high - low, 1e-9)
    return [np.linspace(a, b, steps) for a, b in zip(low - margin, high + margin, strict=True)]


def roc(y: np.ndarray, p: np.ndarray, title: str, look: Look = Look.FILE) -> Drawing:
    """True against false positive rate, of labels and probabilities (rows,)."""
    from sklearn.metrics import roc_auc_score, roc_curve

    false_positives, true_positives, _ = roc_curve(y, p)
    figure = new_figure(SIZES[look])
    axes = figure.subplots()
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    label = f"AUROC {roc_auc_score(y, p):.4f}"
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.plot(false_positives, true_positives, color=BLUE, label=label)
    return Drawing(figure, sentences=_titled(axes, title, label, "lower right", look))


def precision_recall(y: np.ndarray, p: np.ndarray, title: str, look: Look = Look.FILE) -> Drawing:
    """Precision against recall, of labels and probabilities (rows,)."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    precision, recall, _ = precision_recall_curve(y, p)
    figure = new_figure(SIZES[look])
    axes = figure.subplots()
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.05))
    label = f"average precision {average_precision_score(y, p):.4f}"
    axes.axhline(y.mean(), color="grey", linestyle=":", label="share of label 1")
    axes.plot(recall, precision, color=BLUE, label=label)
    return Drawing(figure, sentences=_titled(axes, title, label, "lower left", look))


def _titled(axes: Axes, title: str, label: str, corner: Literal["lower right", "lower left"], look: Look) -> list[str]:
    """Put the title and the legend into a file's figure; returns what a page says instead."""
    if look is Look.FILE:
        axes.set_title(title)
        axes.legend(loc=corner)
        return []
    axes.grid(True)
    return [f"{title}.", _sentence(label)]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def reliability_diagram(
    y: np.ndarray,
    curves: Mapping[str, np.ndarray],
    bins: int,
    title: str,
    weight: np.ndarray | None = None,
    look: Look = Look.FILE,
) -> Drawing:
    """Bins of equal width with Wilson's 95 % intervals above, the number of rows in each below.

    Args:
        y: labels, (rows,).
        curves: probabilities by what they are called, (rows,) each.
        weight: (rows,).
    """
    on_page = look is Look.PAGE
    figure = new_figure((SMALL[0], 4.3) if on_page else (6.0, 6.0))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color="grey", linestyle=":", label=None if on_page else "perfectly calibrated")
    edges = np.linspace(0, 1, bins + 1)
    sentences = [f"{title}."]
    for (name, p), color in zip(curves.items(), (BLUE, ORANGE), strict=False):
        diagram = reliability(p, y, bins, weight)
        low, high = diagram.intervals()
        # Where all rows of a bin have one label, its share is an end of the interval but for rounding.
        errors = np.maximum([diagram.share - low, high - diagram.share], 0.0)
        scores = f"calibration error {diagram.calibration_error:.4f}, Brier score {diagram.brier:.4f}"
        label = name if on_page else f"{name}: {scores}"
        above.errorbar(diagram.mean, diagram.share, yerr=errors, color=color, marker="o", capsize=2, label=label)
        below.stairs(np.histogram(p, edges)[0], edges, color=color, fill=len(curves) == 1)
        sentences.append(_sentence(f"{name}: {scores}" if len(curves) > 1 else scores))
    above.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    below.set(xlabel="predicted probability", ylabel="rows", yscale="log", ylim=(0.5, None))
    if not on_page:
        above.set(title=title, ylabel="observed share of label 1, 95 % interval")
        above.legend(loc="lower right", fontsize="small")
        return Drawing(figure)
    above.set_ylabel("observed share of label 1")
    for axes in (above, below):
        axes.grid(True)
    logarithmic(below.yaxis)
    if len(curves) > 1:
        above.legend(loc="upper left")
    return Drawing(figure, sentences=[*sentences, "Bars are 95 % intervals (Wilson)."])
