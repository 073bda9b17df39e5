"""The charts of a run: its curves over updates, its predictions of held-out rows, its largest coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.ticker import MaxNLocator

from logreg.data.splits import SPLIT_NAMES
from logreg.records.record import LESSON_FIGURES, RunRecord
from logreg.report.figures.theme import BLUE, INK, MUTED, OF_SPLIT, SMALL, Drawing, logarithmic, new_chart, page_colors
from logreg.report.page.charts import Chart, chart, image_file, photograph
from logreg.report.page.histories import STRETCHES, Curve, read_curves, shortened, spans_much
from logreg.report.page.tables import bounded
from logreg.report.terminal.sentences import is_part, spoken

MOST_PANELS = 12
MOST_IN_FOREST = 20
FIRST = ("loss", "log_loss", "accuracy", "auroc", "average_precision", "f1", "brier", "calibration_error")
TITLES = {
    "roc": "ROC curve", "precision_recall": "Precision and recall", "reliability": "Reliability of the probabilities",
    "decision_boundary": "Decision boundary", "photos": "Photos it is surest of", "filters": "First layer",
}  # fmt: skip
PICTURES = ("decision_boundary", "photos", "filters")  # whose shades or photos are pixels


def curve_charts(directory: Path, record: RunRecord) -> list[Chart]:
    """A chart for each metric that was measured more than twice, train and validation in one."""
    panels: dict[str, dict[str, Curve]] = {}
    for name, curve in read_curves(directory / "metrics.csv").items():
        split, _, metric = name.partition("/")
        if not is_part(metric) and len(curve[0]) > 1:
            panels.setdefault(metric if split in SPLIT_NAMES else name, {})[split] = curve
    loss, log_loss = (panels.get(name, {}).get("val") for name in ("loss", "log_loss"))
    if loss is not None and log_loss is not None and np.array_equal(loss, log_loss):
        del panels["log_loss"]
    panels = {name: curves for name, curves in panels.items() if any(len(x) > 2 for x, _ in curves.values())}
    order = sorted(panels, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    best = record.evaluated.updates if record.evaluated.checkpoint == "best" else None
    with page_colors():
        return [_curves(f"curve{i}", name, panels[name], best) for i, name in enumerate(order[:MOST_PANELS])]


def _curves(name: str, metric: str, curves: Mapping[str, Curve], best: int | None) -> Chart:
    figure, axes = new_chart()
    for split, color in (OF_SPLIT | {each: BLUE for each in curves if each not in OF_SPLIT}).items():
        if split in curves:
            x, y = shortened(curves[split])
            few: dict[str, Any] = {"marker": "o", "markersize": 3} if len(x) < 12 else {}
            axes.plot(x, y, color=color, label=SPLIT_NAMES.get(split, metric), **few)
    if spans_much(np.concatenate([y for _, y in curves.values()])):
        logarithmic(axes.yaxis)
    if best is not None and "val" in curves:
        axes.axvline(best, color=MUTED, linestyle=":", linewidth=1, label="best checkpoint")
    axes.set_xlabel("updates")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.legend(loc="best")
    longest = max(len(x) for x, _ in curves.values())
    long = longest > 2 * STRETCHES + 2
    caption = f"{longest:,} measurements, drawn as the least and the largest of each of {STRETCHES} stretches."
    return chart(figure, name, spoken(metric), caption if long else "")


def held_out_charts(drawings: Mapping[str, Drawing]) -> list[Chart]:
    """The figures that `logreg.report.run.draw` drew for the page; call it inside `page_colors`."""
    return [
        photograph(drawing.figure, TITLES[name], is_wide=name == "photos")
        if name in PICTURES
        else chart(drawing.figure, name, TITLES[name], " ".join(drawing.sentences))
        for name, drawing in drawings.items()
    ]


def figure_files(directory: Path) -> list[Chart]:
    """The figures that the run itself drew when it ended, but those of its lesson."""
    paths = [path for path in (directory / "figures").glob("*.png") if not path.name.startswith(LESSON_FIGURES)]
    paths.sort(key=lambda path: ([*TITLES, path.stem].index(path.stem), path.stem))
    return list(filter(None, (image_file(path, TITLES.get(path.stem, path.stem)) for path in paths)))


def forest(rows: pl.DataFrame) -> Chart | None:
    """The largest coefficients per standard deviation, with their intervals where there are any.

    Args:
        rows: of ``coefficients.csv`` without the intercept, the largest first.

    Returns:
        None where no coefficient is finite, and other than 0.
    """
    value = pl.col("coefficient_standardised")
    known = rows.filter(value.is_finite() & (value != 0))[:MOST_IN_FOREST]
    if known.is_empty():
        return None
    values, raw = (known[key].to_numpy() for key in ("coefficient_standardised", "coefficient"))
    with np.errstate(divide="ignore", invalid="ignore"):  # of raw coefficients of 0
        low, high = (
            known[key].to_numpy() * (values / raw) if key in known.columns else values for key in ("lower", "upper")
        )
    has_interval = np.isfinite(raw) & np.isfinite(low) & np.isfinite(high)
    low, high = (np.where(has_interval, end, values) for end in (low, high))
    with page_colors():
        figure, axes = new_chart((SMALL[0] + 1.1, 0.9 + 0.22 * len(known)))
        places = np.arange(len(known))[::-1]
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.hlines(places, low, high, color=BLUE, linewidth=1.4)
        axes.plot(values, places, "o", color=BLUE, markersize=4.5)
        axes.set_yticks(places, [bounded(name, 32) for name in known["name"]])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-0.7, len(known) - 0.3)
        unit = "standard deviation" if (raw != values).any() else "unit of the column"
        axes.set_xlabel(f"change of the logit per {unit}")
        shown = "All" if len(known) == len(rows) else f"The {len(known)} largest"
        caption = f"{shown} of {len(rows):,}" + (", with 95 % intervals." if (low < high).any() else ".")
        return chart(figure, "forest", "Largest coefficients", caption)
