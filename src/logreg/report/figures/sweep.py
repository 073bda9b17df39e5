"""Figures of a sweep: the monitored metric over one swept number as curves, over two as heat maps.

Two numbers that a search drew make no grid; their points are scattered, the metric is their colour. Repetitions of a
setting (seeds, folds) are averaged. Keys whose values are not all numbers become lines and panels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
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
Cells = dict[tuple[float, ...], list[float | None]]  # scores by the values of the numeric keys; None without a result


@dataclass(frozen=True)
class SweptMetric:
    """What the figure of one metric shows: its panels, and their lines, by title."""

    metric: str
    sign: int  # 1 where less of the metric is better, -1 where more is
    numeric: list[str]
    panels: dict[str, dict[str, Cells]] = field(default_factory=dict)

    def best(self, cells: Iterable[Cells]) -> float:
        """The best mean, times ``sign``; infinite where there is none."""
        losses = (self.sign * _mean(scores) for each in cells for scores in each.values())
        return min((loss for loss in losses if not math.isnan(loss)), default=math.inf)

    def best_few(self, groups: Mapping[str, Iterable[Cells]], most: int) -> list[str]:
        """The ``most`` groups with the best results, in their order."""
        chosen = sorted(groups, key=lambda name: self.best(groups[name]))[:most]
        return [name for name in groups if name in chosen]

    def cells(self) -> list[Cells]:
        return [cells for panel in self.panels.values() for cells in panel.values()]

    def swept(self, axis: int) -> list[float]:
        return sorted({point[axis] for cells in self.cells() for point in cells})

    def is_sparse(self) -> bool:
        """Whether a grid of two numbers would have far more cells than points."""
        cells = len(self.swept(0)) * len(self.swept(1))
        return cells > max(FULL_GRID, SPARSE * len({point for cells in self.cells() for point in cells}))


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
    figures = {}
    for first in {job.monitor: job for job in known if job.is_ranked}.values():
        sweep = SweptMetric(first.monitor, first.sign, numeric)
        for job in known:
            if job.monitor in (sweep.metric, ""):
                panel = sweep.panels.setdefault(_title(job, panel_keys), {})
                point = tuple(float(job.settings[key]) for key in numeric)
                scores = panel.setdefault(_title(job, line_keys), {}).setdefault(point, [])
                scores.append(job.score if job.is_ranked else None)
        name = re.sub(r"[^\w-]+", "_", f"{sweep.metric}_by_{'_'.join(numeric)}")
        figures[name] = _curves(sweep, look) if len(numeric) == 1 else _colored(sweep, look)
    return figures


def _title(job: Job, keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={job.settings.get(key, '')}" for key in keys)


def _results(scores: Sequence[float | None]) -> list[float]:
    return [score for score in scores if score is not None]


def _mean(scores: Sequence[float | None]) -> float:
    return fmean(_results(scores) or [math.nan])


def _plain(text: str) -> str:
    """Of bounded length, and without mathematics, which matplotlib sees between dollars."""
    short = text if len(text) <= 2 * HALF_TITLE else f"{text[:HALF_TITLE]}…{text[1 - HALF_TITLE :]}"
    return short.replace("$", r"\$")


def _metric(sweep: SweptMetric) -> str:
    return _plain(f"{sweep.metric} ({'lower' if sweep.sign == 1 else 'higher'} is better)")


def _figure(sweep: SweptMetric, shown: str, look: Look) -> tuple[Drawing, dict[str, Axes]]:
    """The figure and the axes of its panels by title; ``shown`` says what of the repetitions is drawn."""
    panels = sweep.best_few({title: panel.values() for title, panel in sweep.panels.items()}, MOST_PANELS)
    columns = len(panels) if len(panels) < 4 else 2 if len(panels) == 4 else 3
    rows = math.ceil(len(panels) / columns)
    on_page = look is Look.PAGE
    single = HALF if on_page else (6.0, 4.5)
    figure = new_figure(
        single if len(panels) == 1 else (max(10.5 if on_page else 0.0, 4.0 * columns), 3.2 * rows + 0.8)
    )
    repetitions = max(len(scores) for cells in sweep.cells() for scores in cells.values())
    title = [_plain(f"{sweep.metric} by {' and '.join(sweep.numeric)}")]
    title += [f"{shown} of {repetitions} repetitions"] if repetitions > 1 else []
    title += [f"the best {len(panels)} of {len(sweep.panels)} panels"] if len(panels) < len(sweep.panels) else []
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
    panels, best = sweep.panels.values(), sweep.best(sweep.cells())
    lines = {line: [each[line] for each in panels if line in each] for panel in panels for line in panel}
    best_lines = sweep.best_few(lines, MOST_LINES)
    failing = [line for line in best_lines if any(None in scores for each in lines[line] for scores in each.values())]
    for panel, ax in axes.items():
        _scale(ax, sweep)
        for index, line in enumerate(best_lines):
            height = 0.5 + sweep.sign * (0.47 - 0.04 * failing.index(line)) if line in failing else 0
            _curve(ax, sweep.panels[panel].get(line, {}), _plain(line or "mean"), index, height)
        for (x,), scores in (point for cells in sweep.panels[panel].values() for point in cells.items()):
            if sweep.sign * _mean(scores) == best:
                ax.plot(x, _mean(scores), "o", color="black", fillstyle="none", markersize=13, label="best")
        if failing:
            ax.margins(y=0.05 + 0.04 * len(failing))
            ax.plot([], [], "x", color="0.4", label="without a result")
    _legend(drawing.figure, axes.values())
    return drawing


def _scale(ax: Axes, sweep: SweptMetric) -> None:
    """Logarithmic where values span much; a swept 0 stands beside the logarithmic part."""
    swept = sweep.swept(0)
    scale, further = _swept_scale(swept)
    ax.set_xscale(scale, **further)
    _label_ticks(ax.xaxis, swept, swept)
    results = [score for cells in sweep.cells() for scores in cells.values() for score in _results(scores)]
    if min(results) > 0 and max(results) > LOG_AXIS * min(results):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(results) < LOG_COLORS * min(results) else (1,)))
        ax.yaxis.set_major_formatter("{x:g}")


def _swept_scale(swept: Sequence[float]) -> tuple[str, dict[str, float]]:
    """The name of the scale that suits rising values, and what it needs."""
    least = min((x for x in swept if x > 0), default=math.inf)
    if swept[0] < 0 or swept[-1] <= LOG_AXIS * least:
        return "linear", {}
    return ("log", {}) if swept[0] > 0 else ("symlog", {"linthresh": least})


def _curve(ax: Axes, cells: Cells, label: str, index: int, height: float) -> None:
    color, x, scores = CATEGORIES[index], [at for (at,) in sorted(cells)], [cells[point] for point in sorted(cells)]
    ax.plot(x, [_mean(each) for each in scores], color=color, marker=MARKERS[index], markersize=5, label=label)
    low, high = ([end(_results(each), default=math.nan) for each in scores] for end in (min, max))
    ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    failed = [at for at, each in zip(x, scores, strict=True) if None in each]
    ax.plot(failed, [height] * len(failed), "x", color=color, transform=ax.get_xaxis_transform())


def _colored(sweep: SweptMetric, look: Look) -> Drawing:
    """The mean over repetitions as a colour over both numbers, bright is good."""
    draw = _scatter if sweep.is_sparse() else _heat_map
    points_of_panel = fmean(len(cells) for cells in sweep.cells())
    if draw is _scatter and len(sweep.panels) > MOST_PANELS and points_of_panel < 2:
        sweep = _pooled(sweep)  # a name for each job: no panel would say anything
    drawing, axes = _figure(sweep, "mean", look)
    panels, best = {panel: sweep.panels[panel][""] for panel in axes}, sweep.best(sweep.cells())
    means = [_mean(scores) for cells in panels.values() for scores in cells.values() if _results(scores)]
    norm, extend = _color_scale(np.array(means), sweep.sign)
    colors = ScalarMappable(norm, "viridis_r" if sweep.sign == 1 else "viridis")
    for panel, ax in axes.items():
        draw(ax, sweep, panels[panel], colors, best)
    drawing.figure.colorbar(colors, ax=list(axes.values()), label=_metric(sweep), extend=extend, format="{x:g}")
    _legend(drawing.figure, axes.values())
    return drawing


def _heat_map(ax: Axes, sweep: SweptMetric, cells: Cells, colors: ScalarMappable, best: float) -> None:
    """A cell for each pair of values; hatched where no repetition has a result."""
    grids = [sweep.swept(axis) for axis in (0, 1)]
    values = [[_mean(cells.get((x, y), [])) for x in grids[0]] for y in grids[1]]
    style: dict[str, Any] = {"norm": colors.norm, "cmap": colors.cmap, "edgecolor": "white", "linewidth": 0.5}
    ax.pcolormesh(np.ma.masked_invalid(values), **style)
    for (x, y), scores in cells.items():
        at = grids[0].index(x), grids[1].index(y)
        _mark(ax, scores, at, colors, labelled=max(map(len, grids)) <= MOST_LABELLED)
        if sweep.sign * _mean(scores) == best:
            ax.add_patch(Rectangle((at[0] + 0.03, at[1] + 0.03), 0.94, 0.94, fill=False, lw=2.5, label="best"))
    for axis, grid in zip((ax.xaxis, ax.yaxis), grids, strict=True):
        _label_ticks(axis, np.arange(len(grid)) + 0.5, grid)


def _scatter(ax: Axes, sweep: SweptMetric, cells: Cells, colors: ScalarMappable, best: float) -> None:
    """A dot a point; crosses where a repetition has no result.

    Both axes are logarithmic where values span much, with numbers of their own: the swept ones are too many.
    """
    for place, (axis, rescale) in enumerate(((ax.xaxis, ax.set_xscale), (ax.yaxis, ax.set_yscale))):
        scale, further = _swept_scale(sweep.swept(place))
        rescale(scale, **further)
        if scale != "linear":
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
    means = {point: _mean(scores) for point, scores in cells.items() if _results(scores)}
    points = sorted(means, key=lambda point: -sweep.sign * means[point])  # the best on top
    x, y = ([point[axis] for point in points] for axis in (0, 1))
    style: dict[str, Any] = {"norm": colors.norm, "cmap": colors.cmap, "edgecolors": "0.35", "linewidths": 0.25}
    size = max(8, min(36, 20_000 / max(1, len(points))))
    ax.scatter(x, y, size, [means[point] for point in points], rasterized=True, **style)
    failed = [point for point, scores in cells.items() if None in scores]
    if failed:
        ax.plot(*zip(*failed, strict=True), "x", color="0.5", ms=3, mew=0.7, label="without a result", zorder=1.5)
    for point in points:
        if sweep.sign * means[point] == best:
            ax.plot(*point, "o", color="black", fillstyle="none", markersize=11, mew=2, label="best")


def _pooled(sweep: SweptMetric) -> SweptMetric:
    """The points of all panels in one."""
    pooled: Cells = {}
    for cells in sweep.cells():
        for point, scores in cells.items():
            pooled.setdefault(point, []).extend(scores)
    return SweptMetric(sweep.metric, sweep.sign, sweep.numeric, {"": {"": pooled}})


def _mark(
    ax: Axes, scores: Sequence[float | None], at: tuple[int, int], colors: ScalarMappable, labelled: bool
) -> None:
    """The mean as text, and how many repetitions have a result where not all do."""
    results = _results(scores)
    if not results:
        ax.add_patch(Rectangle(at, 1, 1, fc="0.93", ec="0.55", hatch="xxx", lw=0, label="without a result"))
        return
    lines = [f"{fmean(results):.3g}"] if labelled else []
    lines += [f"{len(results)} of {len(scores)}"] if len(results) < len(scores) else []
    if not lines:  # an empty text takes as long as another one
        return
    red, green, blue, _ = colors.to_rgba(np.array(fmean(results)))
    color = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
    ax.text(at[0] + 0.5, at[1] + 0.5, "\n".join(lines), ha="center", va="center", fontsize=8, color=color)


def _color_scale(means: np.ndarray, direction: int) -> tuple[Normalize, str]:
    """Logarithmic beyond `LOG_COLORS`; what is far worse than the others has the last colour."""
    log = means.min() > 0 and means.max() / LOG_COLORS > means.min()
    losses = direction * (np.log10(means) if log else means)
    within = means[losses <= outer_fence(losses)]
    extend = "neither" if len(within) == len(means) else "max" if direction == 1 else "min"
    return (LogNorm if log else Normalize)(within.min(), within.max()), extend
