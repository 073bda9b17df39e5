"""The figure of a regularisation path: the coefficients, and the cross-validated metric, over the penalty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from logreg.core.numbers import is_number
from logreg.records.comparison import Setting
from logreg.records.record import read_coefficients
from logreg.records.selection import PenaltyChoice
from logreg.report.figures.theme import CATEGORIES, HALF, Look, logarithmic, new_figure

MOST_NAMED = 8  # coefficients with a name in the legend
SIZES = {Look.FILE: (7.0, 7.0), Look.PAGE: (HALF[0], 6.0)}  # inches


def path_figure(settings: Sequence[Setting], choice: PenaltyChoice, look: Look = Look.FILE) -> Figure | None:
    """Standardised coefficients, mean over the folds, above the mean of the metric with its standard error.

    Args:
        settings: one for each penalty.

    Returns:
        None where more than one number was swept besides the folds, or no coefficients were written.
    """
    keys = list(choice.penalty)
    swept = [s.settings[key] for s in settings for key in keys]
    if len(keys) != 1 or not all(is_number(text) and float(text) > 0 for text in swept):  # the axis is logarithmic
        return None
    ordered = sorted(settings, key=lambda s: float(s.settings[keys[0]]))
    penalties = np.array([float(s.settings[keys[0]]) for s in ordered])
    by_penalty = [_mean_coefficients([job.directory for job in s.jobs]) for s in ordered]
    names = list(by_penalty[0])
    if not names or any(list(each) != names for each in by_penalty):
        return None
    paths = np.array([[each[name] for name in names] for each in by_penalty])
    figure = new_figure(SIZES[look])
    above, below = figure.subplots(2, 1, sharex=True)
    paths[~np.isfinite(paths)] = np.nan  # infinite where labels are separated: a gap in the line
    largest = np.argsort(-np.nan_to_num(np.abs(paths)).max(0))
    for rank, column in enumerate(largest.tolist()):
        named = rank < MOST_NAMED
        color, width, label = (CATEGORIES[rank], 1.5, names[column]) if named else ("#cccccc", 0.7, None)
        above.plot(penalties, paths[:, column], color=color, linewidth=width, label=label, zorder=2 if named else 1)
    above.set_ylabel("standardised coefficient, mean over folds")
    above.legend(fontsize=8, loc="best")
    means = np.array([s.mean for s in ordered])
    errors = np.array([s.standard_error for s in ordered])
    below.plot(penalties, means, color=CATEGORIES[0])
    below.fill_between(
        penalties, means - errors, means + errors, color=CATEGORIES[0], alpha=0.2, label="± standard error"
    )
    for name, chosen, style in (("best", choice.best, ":"), ("chosen", choice.penalty, "-")):
        for axes in (above, below):
            axes.axvline(float(chosen[keys[0]]), color="black", linestyle=style, linewidth=1, label=name)
    below.set(xscale="log", xlabel=keys[0], ylabel=f"{choice.metric}, mean over folds")
    below.legend(fontsize=8)
    if look is Look.PAGE:  # where the powers of ten of matplotlib's own labels would not be read as formulas
        logarithmic(below.xaxis)
    return figure


def _mean_coefficients(directories: Sequence[Path]) -> dict[str, float]:
    """Standardised coefficients by feature; those that not all folds have are left out."""
    folds = [read_coefficients(directory)[1:] for directory in directories]
    if any(fold.is_empty() for fold in folds):
        return {}
    rows = pl.concat(fold["name", "coefficient_standardised"] for fold in folds)
    means = (
        rows.group_by("name", maintain_order=True)
        .agg(pl.mean("coefficient_standardised"), pl.len())
        .filter(pl.col("len") == len(folds))
    )
    return dict(zip(means["name"], means["coefficient_standardised"], strict=True))
