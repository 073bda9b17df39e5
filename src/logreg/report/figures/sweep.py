"""Figures of a sweep: the monitored metric over one swept number as curves, over two as heat maps.

Two numbers that a search drew make no grid; their points are scattered, the metric is their colour. Repetitions of a
setting (seeds, folds) are averaged. Keys whose values are not all numbers become lines and panels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter

from logreg.core.numbers import is_number
from logreg.records.comparison import compared_keys
from logreg.records.jobs import Job
from logreg.report.figures.theme import CATEGORIES, HALF, Drawing, Look, new_figure, outer_fence

MOST_PANELS, MOST_LINES, MOST_TICKS, MOST_LABELLED, HALF_TITLE = 6, 8, 12, 8, 22
FULL_GRID, SPARSE = 2_000, 4  # cells that a heat map may have anyway; cells a point, beyond which most are empty
LOG_AXIS, LOG_COLORS = 20, 1000  # the ratio of the largest to the smallest value beyond which a scale is logarithmic
MARKERS = "osD^vPp*"  # which tell the lines apart without colour


@dataclass(frozen=True)
class SweptMetric:
    """What the figure of one metric shows.

    Attributes:
        sign: 1 where less of the metric is better, -1 where more is.
        numeric: the swept keys whose values are numbers, one or two.
        scores: a row for each job: the titles of its ``panel`` and ``line``, its numbers ``x`` and ``y`` (0 where
            there is one), and its ``score``, null without a result.
    """

    metric: str
    sign: int
    numeric: list[str]
    scores: pl.DataFrame

    @cached_property
    def points(self) -> pl.DataFrame:
        """The scores over repetitions: ``mean``, ``low`` and ``high``, ``results`` of how many ``repetitions``."""
        score = pl.col("score")
        statistics = {"mean": score.mean(), "low": score.min(), "high": score.max(), "results": score.count()}
        groups = self.scores.group_by("panel", "line", "x", "y", maintain_order=True)
        points = groups.agg(**statistics, repetitions=pl.len()).with_columns(loss=self.sign * pl.col("mean"))
        order = pl.Enum(points["panel"].unique(maintain_order=True))
        return points.sort(pl.col("panel").cast(order), maintain_order=True)

    def best_few(self, column: str, most: int) -> list[str]:
        """The ``most`` panels or lines with the best results, in their order."""
        groups = self.points.group_by(column, maintain_order=True).agg(pl.min("loss"))
        best = set(groups.sort("loss", nulls_last=True, maintain_order=True)[column][:most])
        return [name for name in groups[column] if name in best]

    def best_of(self, points: pl.DataFrame) -> pl.DataFrame:
        """Those that have the best mean of all."""
        return points.filter(pl.col("loss") == self.points["loss"].min())

    def swept(self, axis: str) -> list[float]:
        return self.points[axis].unique().sort().to_list()


def sweep_figures(jobs: Sequence[Job], look: Look = Look.FILE) -> dict[str, Drawing]:
    """A figure for each monitored metric, by a name that a file can have, such as ``val_loss_by_lr``.

    Nothing where none or more than two of the swept keys, the repeated ones aside, hold numbers in all jobs. At most
    `MOST_PANELS` panels and `MOST_LINES` lines are drawn, those with the best results.
    """
    known = sorted((job for job in jobs if job.settings), key=lambda job: (job.number, str(job.directory)))
    keys = compared_keys(known)
    numeric = [key for key in keys if all(is_number(job.settings.get(key, "")) for job in known)]
    if len(numeric) not in (1, 2):
        return {}
    others = [key for key in keys if key not in numeric]
    # the key with most values tells lines apart, which take less room than panels; a heat map has none
    line_keys = sorted(others, key=lambda key: -len({job.settings.get(key) for job in known}))[: 2 - len(numeric)]
    panel_keys = [key for key in others if key not in line_keys]
    schema = {"panel": pl.String, "line": pl.String, "x": pl.Float64, "y": pl.Float64, "score": pl.Float64}
    figures = {}
    for first in {job.monitor: job for job in known if job.is_ranked}.values():
        rows = []
        for job in (job for job in known if job.monitor in (first.monitor, "")):
            titles = (", ".join(f"{key}={job.settings.get(key, '')}" for key in ks) for ks in (panel_keys, line_keys))
            x, y = (float(job.settings[numeric[0]]), float(job.settings[numeric[1]]) if numeric[1:] else 0.0)
            rows.append((*titles, x, y, job.score if job.is_ranked else None))
        scores = pl.DataFrame(rows, schema, orient="row", strict=False)
        sweep = SweptMetric(first.monitor, first.sign, numeric, scores)
        name = re.sub(r"[^\w-]+", "_", f"{sweep.metric}_by_{'_'.join(numeric)}")
        figures[name] = _curves(sweep, look) if len(numeric) == 1 else _colored(sweep, look)
    return figures


def _plain(text: str) -> str:
    """Of bounded length, and without mathematics, which matplotlib sees between dollars."""
    short = text if len(text) <= 2 * HALF_TITLE else f"{text[:HALF_TITLE]}…{text[1 - HALF_TITLE :]}"
    return short.replace("$", r"\$")


def _metric(sweep: SweptMetric) -> str:
    return _plain(f"{sweep.metric} ({'lower' if sweep.sign == 1 else 'higher'} is better)")


def _figure(sweep: SweptMetric, shown: str, look: Look) -> tuple[Drawing, dict[str, Axes]]:
    """The figure and the axes of its panels by title; ``shown`` says what of the repetitions is drawn."""
    panels, count = sweep.best_few("panel", MOST_PANELS), sweep.points["panel"].n_unique()
    columns = len(panels) if len(panels) < 4 else 2 if len(panels) == 4 else 3
    rows = math.ceil(len(panels) / columns)
    on_page = look is Look.PAGE
    size = HALF if on_page else (6.0, 4.5)
    if len(panels) > 1:
        size = max(10.5 if on_page else 0.0, 4.0 * columns), 3.2 * rows + 0.8
    figure = new_figure(size)
    repetitions = max(sweep.points["repetitions"])
    title = [_plain(f"{sweep.metric} by {' and '.join(sweep.numeric)}")]
    title += [f"{shown} of {repetitions} repetitions"] if repetitions > 1 else []
    title += [f"the best {len(panels)} of {count} panels"] if len(panels) < count else []
    if not on_page:
        figure.suptitle("\n".join(title))
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.remove()
    x_label, y_label = _plain(sweep.numeric[0]), (_plain(sweep.numeric[1]) if sweep.numeric[1:] else _metric(sweep))
    for index, (ax, panel) in enumerate(zip(axes, panels, strict=False)):
        ax.set(xlabel=x_label, ylabel=y_label if index % columns == 0 else "")
        ax.set_title(_plain(panel), fontsize=9)
    return Drawing(figure, ", ".join(title).replace(r"\$", "$")), dict(zip(panels, axes, strict=False))


def _label_ticks(axis: Axis, places: Sequence[float] | np.ndarray, values: Sequence[float]) -> None:
    """The swept values as labels at their places on the axis, as far as there is room."""
    at = axis.get_transform().transform(np.asarray(places, dtype=float))
    labelled = [0]
    for index in range(1, len(values)):
        if at[index] - at[labelled[-1]] >= 0.999 * (at[-1] - at[0]) / MOST_TICKS:
            labelled.append(index)
    labels = [f"{values[index]:g}" for index in labelled]
    steep = axis is axis.axes.xaxis and len(labels) * (2 + max(map(len, labels))) > 60
    turned: dict[str, Any] = {"rotation": 45, "ha": "right"} if steep else {}
    axis.set_ticks([places[index] for index in labelled], labels, **turned)
    axis.set_ticks([], minor=True)


def _legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One for all panels, below them; equal labels appear once."""
    handles = {str(handle.get_label()): handle for ax in axes for handle in ax.get_legend_handles_labels()[0]}
    columns = max(1, int(figure.get_figwidth() * 12 / (max(map(len, handles)) + 8)))
    ncols = min(columns, len(handles))
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=ncols, frameon=False)


def _curves(sweep: SweptMetric, look: Look) -> Drawing:
    """The mean over repetitions as a line, their range as a band; crosses at the bad end where some have no result."""
    drawing, axes = _figure(sweep, "mean and range", look)
    lines, failing = sweep.best_few("line", MOST_LINES), set(_incomplete(sweep.points)["line"])
    failing_lines = [line for line in lines if line in failing]
    for panel, ax in axes.items():
        _scale(ax, sweep)
        points = sweep.points.filter(pl.col("panel") == panel)
        for index, line in enumerate(lines):
            of_line = points.filter(pl.col("line") == line).sort("x")
            x, mean, low, high = (of_line[name].to_numpy() for name in ("x", "mean", "low", "high"))
            color, label = CATEGORIES[index], _plain(line or "mean")
            ax.plot(x, mean, color=color, marker=MARKERS[index], markersize=5, label=label)
            ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
            failed = _incomplete(of_line)["x"].to_numpy()
            height = 0.5 + sweep.sign * (0.47 - 0.04 * failing_lines.index(line)) if line in failing else 0
            ax.plot(failed, np.full(len(failed), height), "x", color=color, transform=ax.get_xaxis_transform())
        for x, mean in sweep.best_of(points)["x", "mean"].iter_rows():
            ax.plot(x, mean, "o", color="black", fillstyle="none", markersize=13, label="best")
        if failing_lines:
            ax.margins(y=0.05 + 0.04 * len(failing_lines))
            ax.plot([], [], "x", color="0.4", label="without a result")
    _legend(drawing.figure, axes.values())
    return drawing


def _incomplete(points: pl.DataFrame) -> pl.DataFrame:
    """Those of which a repetition has no result."""
    return points.filter(pl.col("results") < pl.col("repetitions"))


def _scale(ax: Axes, sweep: SweptMetric) -> None:
    """Logarithmic where values span much; a swept 0 stands beside the logarithmic part."""
    swept = sweep.swept("x")
    scale, further = _swept_scale(swept)
    ax.set_xscale(scale, **further)
    _label_ticks(ax.xaxis, swept, swept)
    results = sweep.scores["score"].drop_nulls().to_numpy()
    low, high = results.min(), results.max()
    if low > 0 and high > LOG_AXIS * low:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < LOG_COLORS * low else (1,)))
        ax.yaxis.set_major_formatter("{x:g}")


def _swept_scale(swept: Sequence[float]) -> tuple[str, dict[str, float]]:
    """The name of the scale that suits rising values, and what it needs."""
    least = min((x for x in swept if x > 0), default=math.inf)
    if swept[0] < 0 or swept[-1] <= LOG_AXIS * least:
        return "linear", {}
    return ("log", {}) if swept[0] > 0 else ("symlog", {"linthresh": least})


def _colored(sweep: SweptMetric, look: Look) -> Drawing:
    """The mean over repetitions as a colour over both numbers, bright is good."""
    different = sweep.points["x", "y"].n_unique()
    cells, count = len(sweep.swept("x")) * len(sweep.swept("y")), sweep.points["panel"].n_unique()
    draw = _heat_map
    if cells > max(FULL_GRID, SPARSE * different):  # a grid would be mostly empty
        draw = _scatter
        if count > MOST_PANELS and len(sweep.points) < 2 * count:  # a name for each job: no panel would say anything
            sweep = replace(sweep, scores=sweep.scores.with_columns(panel=pl.lit("")))
    drawing, axes = _figure(sweep, "mean", look)
    panels = {panel: sweep.points.filter(pl.col("panel") == panel) for panel in axes}
    means = pl.concat(points["mean"] for points in panels.values()).drop_nulls().to_numpy()
    norm, extend = _color_scale(means, sweep.sign)
    colors = ScalarMappable(norm, "viridis_r" if sweep.sign == 1 else "viridis")
    for panel, ax in axes.items():
        draw(ax, sweep, panels[panel], colors)
    drawing.figure.colorbar(colors, ax=list(axes.values()), label=_metric(sweep), extend=extend, format="{x:g}")
    _legend(drawing.figure, axes.values())
    return drawing


def _heat_map(ax: Axes, sweep: SweptMetric, points: pl.DataFrame, colors: ScalarMappable) -> None:
    """A cell for each pair of values; hatched where no repetition has a result."""
    grids = [sweep.swept(axis) for axis in ("x", "y")]
    columns, rows = (
        np.searchsorted(grid, points[axis].to_numpy()) for grid, axis in zip(grids, ("x", "y"), strict=True)
    )
    values = np.full((len(grids[1]), len(grids[0])), np.nan)
    values[rows, columns] = points["mean"].to_numpy()
    style: dict[str, Any] = {"norm": colors.norm, "cmap": colors.cmap, "edgecolor": "white", "linewidth": 0.5}
    ax.pcolormesh(np.ma.masked_invalid(values), **style)
    labelled = max(map(len, grids)) <= MOST_LABELLED
    counts = points["mean", "results", "repetitions"].iter_rows()
    for column, row, (mean, results, repetitions) in zip(columns.tolist(), rows.tolist(), counts, strict=True):
        if not results:
            hatched: dict[str, Any] = {"fc": "0.93", "ec": "0.55", "hatch": "xxx", "lw": 0}
            ax.add_patch(Rectangle((column, row), 1, 1, label="without a result", **hatched))
            continue
        lines = [f"{mean:.3g}"] if labelled else []
        lines += [f"{results} of {repetitions}"] if results < repetitions else []
        if lines:  # an empty text takes as long as another one
            red, green, blue, _ = colors.to_rgba(np.array(mean))
            color = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
            at: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": color}
            ax.text(column + 0.5, row + 0.5, "\n".join(lines), at)
    for x, y in sweep.best_of(points)["x", "y"].iter_rows():
        corner = grids[0].index(x) + 0.03, grids[1].index(y) + 0.03
        ax.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, lw=2.5, label="best"))
    for axis, grid in zip((ax.xaxis, ax.yaxis), grids, strict=True):
        _label_ticks(axis, np.arange(len(grid)) + 0.5, grid)


def _scatter(ax: Axes, sweep: SweptMetric, points: pl.DataFrame, colors: ScalarMappable) -> None:
    """A dot a point; crosses where a repetition has no result.

    Both axes are logarithmic where values span much, with numbers of their own: the swept ones are too many.
    """
    for name, axis, rescale in (("x", ax.xaxis, ax.set_xscale), ("y", ax.yaxis, ax.set_yscale)):
        scale, further = _swept_scale(sweep.swept(name))
        rescale(scale, **further)
        if scale != "linear":
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
    measured = points.drop_nulls("mean").sort("loss", descending=True, maintain_order=True)  # the best on top
    style: dict[str, Any] = {"norm": colors.norm, "cmap": colors.cmap, "edgecolors": "0.35", "linewidths": 0.25}
    size = max(8, min(36, 20_000 / max(1, len(measured))))
    x, y, mean = (measured[name].to_numpy() for name in ("x", "y", "mean"))
    ax.scatter(x, y, size, mean, rasterized=True, **style)
    failed = _incomplete(points)
    if len(failed):
        ax.plot(failed["x"], failed["y"], "x", color="0.5", ms=3, mew=0.7, label="without a result", zorder=1.5)
    for point in sweep.best_of(points)["x", "y"].iter_rows():
        ax.plot(*point, "o", color="black", fillstyle="none", markersize=11, mew=2, label="best")


def _color_scale(means: np.ndarray, direction: int) -> tuple[Normalize, str]:
    """Logarithmic beyond `LOG_COLORS`; what is far worse than the others has the last colour."""
    log = means.min() > 0 and means.max() / LOG_COLORS > means.min()
    losses = direction * (np.log10(means) if log else means)
    within = means[losses <= outer_fence(losses)]
    extend = "neither" if len(within) == len(means) else "max" if direction == 1 else "min"
    return (LogNorm if log else Normalize)(within.min(), within.max()), extend
