"""Parallel coordinates: an axis for each swept key and one for the metric, a line for each setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from logreg.core.numbers import is_number
from logreg.records.jobs import Job, by_monitor
from logreg.report.figures.theme import INK, MUTED, PAPER, RED, WIDE, new_chart, outer_fence, page_colors
from logreg.report.page.charts import Chart, chart
from logreg.report.page.histories import spans_much
from logreg.report.page.tables import bounded

MOST_AXES = 8
MOST_TICKS = 9
MOST_VECTORS, MOST_LINES = 80, 1_500
MOST_METRICS = 3
LOG_RATIO = 20
BEST_WIDTHS = (2.2, 1.3, 0.9)  # of the lines of the best three


class _Axis(NamedTuple):
    """One axis: the place of each value on it, from 0 to 1, and its ticks."""

    title: str
    places: np.ndarray
    ticks: list[tuple[float, str]]


def parallel_coordinates(jobs: Sequence[Job], keys: Sequence[str]) -> list[Chart]:
    """A chart for each monitored metric; repetitions of a setting are averaged.

    At most `MOST_AXES` keys are drawn, those with the most values.
    """
    drawn = sorted(keys, key=lambda key: -len({job.settings.get(key) for job in jobs}))[:MOST_AXES]
    drawn = [key for key in keys if key in drawn]
    charts = []
    groups = by_monitor([job for job in jobs if job.is_ranked])
    for i, (metric, group) in enumerate(list(groups.items())[:MOST_METRICS]):
        by_values: dict[tuple[str, ...], list[Job]] = {}
        for job in group:
            by_values.setdefault(tuple(job.settings.get(key, "") for key in keys), []).append(job)
        if len(by_values) < 2:
            continue
        points = [tuple(values[keys.index(key)] for key in drawn) for values in by_values]
        means = np.array([fmean(float(job.score or 0.0) for job in each) for each in by_values.values()])
        repeated = any(len(each) > 1 for each in by_values.values())
        left_out = len(keys) - len(drawn)
        with page_colors():
            caption = (
                f"A line is a setting{', the mean of its repetitions' if repeated else ''}; dark is good, the best "
            )
            caption += f"{min(len(BEST_WIDTHS), len(means))} are red."
            if len(means) > MOST_LINES:
                caption += f" {MOST_LINES:,} of the {len(means):,} settings are drawn, evenly spread over the ranks."
            caption += f" The {left_out} keys with the fewest values have no axis." if left_out else ""
            figure = _draw(metric, drawn, points, means, group[0].sign)
            charts.append(chart(figure, f"parallel{i}", f"{metric} by {', '.join(drawn)}", caption, is_wide=True))
    return charts


def _draw(metric: str, keys: Sequence[str], points: list[tuple[str, ...]], means: np.ndarray, direction: int) -> Figure:
    figure, axes = new_chart(WIDE)
    lines = [_swept(key, [point[i] for point in points]) for i, key in enumerate(keys)]
    lines.append(_measured(metric, means, direction))
    places = np.stack([axis.places for axis in lines], axis=1)
    order = np.argsort(direction * means, kind="stable")[::-1]  # the best last, on top
    if len(order) > MOST_LINES:
        spread = np.linspace(0, len(order) - 1 - len(BEST_WIDTHS), MOST_LINES - len(BEST_WIDTHS)).astype(int)
        order = np.concatenate([order[np.unique(spread)], order[-len(BEST_WIDTHS) :]])
    rank = np.linspace(0.12, 0.95, len(order))
    columns = np.arange(len(lines))
    segments = [np.column_stack([columns, places[i]]) for i in order]
    alpha = max(0.05, min(0.8, 60 / len(order)))
    colors = colormaps["Blues"](rank)
    many = len(order) > MOST_VECTORS
    axes.add_collection(LineCollection(segments, colors=colors, linewidths=1.0, alpha=alpha, rasterized=many))
    for i, width in zip(order[::-1], BEST_WIDTHS, strict=False):
        axes.plot(columns, places[i], color=RED, linewidth=width)
    for x, axis in enumerate(lines):
        axes.plot([x, x], [0, 1], color=MUTED, linewidth=0.8)
        outside = 1 if x == len(lines) - 1 else -1  # the last axis has its labels on the right
        for place, label in axis.ticks:
            axes.plot([x, x + 0.012 * outside], [place, place], color=MUTED, linewidth=0.8)
            behind = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
            side = "left" if outside == 1 else "right"
            style = {"ha": side, "va": "center", "fontsize": 8, "color": MUTED, "bbox": behind}
            axes.text(x + 0.025 * outside, place, label, style)
        axes.text(x, 1.06, axis.title, ha="center", va="bottom", fontsize=8.5, color=INK)
    axes.set(xlim=(-0.3, len(lines) - 0.6), ylim=(-0.04, 1.14))
    axes.set_axis_off()
    axes.grid(False)
    return figure


def _swept(key: str, values: Sequence[str]) -> _Axis:
    """Numbers where they are, on a logarithmic axis where that shows more; other values side by side."""
    title = bounded(key, 24)
    if all(map(is_number, values)):
        numbers = np.array([float(value) for value in values])
        return _Axis(title, *_scaled(numbers, numbers))
    different = sorted(set(values), key=lambda text: (not is_number(text), float(text) if is_number(text) else 0, text))
    at = {value: (i + 0.5) / len(different) for i, value in enumerate(different)}
    step = math.ceil(len(different) / (2 * MOST_TICKS))
    ticks = [(at[value], bounded(value, 16) or "(none)") for value in different[::step]]
    return _Axis(title, np.array([at[value] for value in values]), ticks)


def _measured(metric: str, means: np.ndarray, direction: int) -> _Axis:
    """The metric, the best on top; what is far worse than the others lies at the bottom."""
    losses = direction * means
    places, ticks = _scaled(direction * np.minimum(losses, outer_fence(losses)), None)
    flipped = direction == 1
    places = 1 - places if flipped else places
    ticks = [(1 - place if flipped else place, label) for place, label in ticks]
    return _Axis(f"{bounded(metric, 24)} ({'lower' if flipped else 'higher'} is better)", places, ticks)


def _scaled(values: np.ndarray, swept: np.ndarray | None) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Places from 0 to 1, and ticks: the swept values themselves where they are few, else evenly spread ones."""
    low, high = float(values.min()), float(values.max())
    log = spans_much(values)
    if low == high:
        return np.full(len(values), 0.5), [(0.5, f"{low:.4g}")]
    zero = low == 0 and swept is not None and high > LOG_RATIO * float(values[values > 0].min())
    if zero:  # a swept 0 stands below the logarithmic part
        least = float(values[values > 0].min())
        scaled = np.where(values > 0, np.log10(np.maximum(values, least)), np.log10(least) - 1)
    else:
        scaled = np.log10(values) if log else values
    start, width = scaled.min(), scaled.max() - scaled.min()
    places = (scaled - start) / width
    different = {float(v): float(p) for v, p in zip(values.tolist(), places.tolist(), strict=True)}
    if swept is not None and len(different) <= MOST_TICKS:
        return places, [(place, f"{value:g}") for value, place in different.items()]
    at = np.linspace(0, 1, 5)
    shown = start + at * width
    labels = [f"{10**s:.3g}" if log or zero else f"{s:.4g}" for s in shown]
    return places, list(zip(at.tolist(), labels, strict=True))
