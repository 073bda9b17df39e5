"""The charts of a sweep: the curves of all jobs, the swept keys, and how scores are spread.

Parallel coordinates have an axis for each swept key and one for the metric, a line for each setting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from logreg.core.numbers import is_number
from logreg.records.comparison import Setting, compared_keys
from logreg.records.jobs import Job, by_monitor
from logreg.records.selection import read_choice
from logreg.report.figures import theme
from logreg.report.figures.theme import HALF, MUTED, RED, new_chart, page_colors
from logreg.report.page.charts import Chart, chart
from logreg.report.page.histories import Curve, read_curves, shortened, spans_much
from logreg.report.page.tables import bounded

MOST_METRICS = 3  # monitored ones, a chart each
MOST_VECTORS = 60  # curves that are drawn as lines; more of them are one picture
MOST_BYTES = 60_000_000  # of metrics.csv files, beyond which a part of the jobs is read
FALLBACK = "train/loss"
STRETCHES, FEW_STRETCHES, MANY = 100, 30, 1_000  # of a curve, and of one among many
MOST_AXES, MOST_TICKS = 8, 9  # of parallel coordinates
MOST_SETTINGS, MOST_LINES = 80, 1_500  # that are drawn as lines, and at all
LOG_RATIO = 20
BEST_WIDTHS = (2.2, 1.3, 0.9)  # of the lines of the best three


def curve_charts(jobs: Sequence[Job]) -> list[Chart]:
    """For each monitored metric the curves of all jobs over updates, the best ones in colour."""
    groups = by_monitor([job for job in jobs if job.monitor])
    with page_colors():
        charts = [_curves(f"curves{i}", *group) for i, group in enumerate(list(groups.items())[:MOST_METRICS])]
    return [each for each in charts if each is not None]


def _curves(name: str, metric: str, jobs: Sequence[Job]) -> Chart | None:
    read, curves_of = _read(jobs, [metric, FALLBACK])
    if not any(len(curves[metric][0]) > 1 for curves in curves_of.values() if metric in curves):
        metric = FALLBACK  # a solver validates at its end only
    known = [(job, curves_of[job.directory][metric]) for job in read if metric in curves_of.get(job.directory, {})]
    known = [(job, curve) for job, curve in known if len(curve[0]) > 1]
    if not known:
        return None
    figure, axes = new_chart(HALF)
    best = [pair for pair in known if pair[0].is_ranked][: len(theme.OF_RANK)]
    others = [curve for job, curve in known if all(job is not each for each, _ in best)]
    many = len(others) > MOST_VECTORS
    stretches = STRETCHES if len(others) < MANY else FEW_STRETCHES
    lines = [np.column_stack(shortened(curve, stretches)) for curve in others]
    alpha = max(0.012, min(0.6, 25 / max(1, len(lines))))
    axes.add_collection(LineCollection(lines, colors=theme.GREY, linewidths=0.8, alpha=alpha, rasterized=many))
    for (job, curve), color in zip(reversed(best), reversed(theme.OF_RANK[: len(best)]), strict=True):
        axes.plot(*shortened(curve, STRETCHES), color=color, label=f"job {job.number}", linewidth=1.6)
    remark = _limits(axes, [curve for _, curve in known], read[0].sign)
    axes.set(xlabel="updates", ylabel=metric)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    handles, labels = axes.get_legend_handles_labels()
    if best:
        axes.legend(handles[::-1], labels[::-1], loc="upper right" if read[0].sign == 1 else "lower right")
    caption = f"{len(known):,} of {len(jobs):,} jobs" if len(known) < len(jobs) else f"All {len(jobs):,} jobs"
    caption += ", evenly spread over the ranks" if len(read) < len(jobs) else ""
    caption += f", the best {len(best)} in colour." if len(best) > 1 else "."
    losses = {job.settings.get("loss", "log_loss") for job, _ in known}
    if metric.endswith("/loss") and len(losses) > 1:
        remark += f" The losses of {' and '.join(sorted(losses))} do not compare."
    return chart(figure, name, f"{metric} over updates", caption + remark)


def _read(jobs: Sequence[Job], metrics: Sequence[str]) -> tuple[Sequence[Job], dict[Path, dict[str, Curve]]]:
    """The jobs that are read, all but where that would take long, and the curves of some metrics by job directory."""
    files = [job.directory / "metrics.csv" for job in jobs]
    total = sum(path.stat().st_size for path in files if path.is_file())
    if total > MOST_BYTES:
        places = np.unique(np.linspace(0, len(jobs) - 1, max(100, int(len(jobs) * MOST_BYTES / total))).astype(int))
        best = range(min(len(jobs), len(theme.OF_RANK)))
        jobs = [jobs[i] for i in sorted({*best, *places.tolist()})]
    return jobs, {job.directory: read_curves(job.directory / "metrics.csv", metrics) for job in jobs}


def _limits(axes: Axes, curves: Sequence[Curve], direction: int) -> str:
    """Show where nearly all values are; returns a sentence where some are outside."""
    values = np.concatenate([y for _, y in curves])
    values = values[np.isfinite(values)]
    ends = np.array([x.max() for x, _ in curves])
    axes.set_xlim(0, ends.max() * 1.01 or 1)
    if not len(values):
        return ""
    low, high = values.min(), values.max()
    far = np.quantile(values, 0.98 if direction == 1 else 0.02)
    log = False
    if direction == 1 and spans_much(values[values <= far]):
        log, high = True, min(high, far * 3)
    elif direction == 1:
        high = min(high, far + 0.5 * (far - low)) if far > low else high
    elif far < high:
        low = max(low, far - 0.5 * (high - far))
    margin = 0.03 * (high - low) or 0.05 * abs(high) or 1.0
    if log:
        axes.set_ylim(low / 1.15, high * 1.15)
        theme.logarithmic(axes.yaxis)
    else:
        axes.set_ylim(low - margin, high + margin)
    outside = int(((values < low) | (values > high)).sum())
    return f" {outside:,} of {len(values):,} values lie outside the picture." if outside else ""


def swept_charts(directory: Path, jobs: Sequence[Job], compared: dict[str, list[Setting]]) -> list[Chart]:
    """How the monitored metric depends on what was swept."""
    from logreg.report.figures.path import path_figure
    from logreg.report.figures.sweep import sweep_figures

    keys, charts, choice = compared_keys(jobs), [], read_choice(directory)
    if choice is not None and choice.metric in compared:
        settings = compared[choice.metric]
        if set(choice.penalty) <= set(settings[0].settings):  # else it is of an earlier state of the sweep
            with page_colors():
                figure = path_figure(settings, choice, theme.Look.PAGE)
                charts += [] if figure is None else [chart(figure, "path", "Coefficients over the penalty")]
    numeric = [key for key in keys if all(is_number(job.settings.get(key, "")) for job in jobs if job.settings)]
    if len(numeric) in (1, 2):
        with page_colors(parse_math=True):  # these figures escape their texts themselves
            charts += [
                chart(each.figure, f"swept{i}", each.title, is_wide=each.figure.get_figwidth() > HALF[0])
                for i, each in enumerate(sweep_figures(jobs, theme.Look.PAGE).values())
            ]
    if len(keys) > 2 or (keys and len(numeric) < len(keys)):
        charts += parallel_coordinates(jobs, keys)
    return charts if keys else [*charts, *spread(jobs)]


def spread(jobs: Sequence[Job]) -> list[Chart]:
    """How the scores of equal settings are spread over seeds and folds."""
    charts = []
    groups = by_monitor([job for job in jobs if job.is_ranked])
    for i, (metric, group) in enumerate(list(groups.items())[:MOST_METRICS]):
        scores = np.array([float(job.score or 0.0) for job in group])
        if len(scores) < 2:
            continue
        with page_colors():
            figure, axes = new_chart(HALF)
            axes.hist(scores, bins=min(40, 2 + math.isqrt(len(scores))), color=theme.BLUE)
            axes.axvline(scores.mean(), color=RED, linewidth=1, label=f"mean {scores.mean():.4g}")
            axes.set(xlabel=bounded(metric, 40), ylabel="jobs")
            axes.legend()
            charts.append(chart(figure, f"spread{i}", f"{metric} of {len(scores):,} repetitions"))
    return charts


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
        repeated = ", the mean of its repetitions" if any(len(each) > 1 for each in by_values.values()) else ""
        left_out = len(keys) - len(drawn)
        with page_colors():
            red = min(len(BEST_WIDTHS), len(means))
            caption = f"A line is a setting{repeated}; dark is good, the best {red} are red."
            if len(means) > MOST_LINES:
                caption += f" {MOST_LINES:,} of the {len(means):,} settings are drawn, evenly spread over the ranks."
            caption += f" The {left_out} keys with the fewest values have no axis." if left_out else ""
            figure = _draw(metric, drawn, points, means, group[0].sign)
            charts.append(chart(figure, f"parallel{i}", f"{metric} by {', '.join(drawn)}", caption, is_wide=True))
    return charts


def _draw(metric: str, keys: Sequence[str], points: list[tuple[str, ...]], means: np.ndarray, direction: int) -> Figure:
    figure, axes = new_chart(theme.WIDE)
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
    many = len(order) > MOST_SETTINGS
    axes.add_collection(LineCollection(segments, colors=colors, linewidths=1.0, alpha=alpha, rasterized=many))
    for i, width in zip(order[::-1], BEST_WIDTHS, strict=False):
        axes.plot(columns, places[i], color=RED, linewidth=width)
    for x, axis in enumerate(lines):
        axes.plot([x, x], [0, 1], color=MUTED, linewidth=0.8)
        outside = 1 if x == len(lines) - 1 else -1  # the last axis has its labels on the right
        for place, label in axis.ticks:
            axes.plot([x, x + 0.012 * outside], [place, place], color=MUTED, linewidth=0.8)
            behind = {"facecolor": theme.PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
            side = "left" if outside == 1 else "right"
            style = {"ha": side, "va": "center", "fontsize": 8, "color": MUTED, "bbox": behind}
            axes.text(x + 0.025 * outside, place, label, style)
        axes.text(x, 1.06, axis.title, ha="center", va="bottom", fontsize=8.5, color=theme.INK)
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
    places, ticks = _scaled(direction * np.minimum(losses, theme.outer_fence(losses)), None)
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
