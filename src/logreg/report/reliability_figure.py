"""The reliability diagram: observed shares of label 1 against predicted probabilities, calibrated and not."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from logreg.diagnostics.reliability import reliability

COLORS = ("#4c72b0", "#dd8452")


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
    for (name, p), color in zip(curves.items(), COLORS, strict=False):
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
