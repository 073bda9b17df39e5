"""The charts of a sweep: the curves of all jobs, the swept keys, and how scores are spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from logreg.core.numbers import is_number
from logreg.records.comparison import Setting, compared_keys
from logreg.records.jobs import Job, by_monitor
from logreg.records.selection import read_choice
from logreg.report.figures.theme import BLUE, GREY, HALF, OF_RANK, RED, Look, logarithmic, new_chart, page_colors
from logreg.report.page.charts import Chart, chart
from logreg.report.page.histories import Curve, read_curves, shortened, spans_much
from logreg.report.page.parallel import parallel_coordinates
from logreg.report.page.tables import bounded

MOST_METRICS = 3  # monitored ones, a chart each
MOST_VECTORS = 60  # curves that are drawn as lines; more of them are one picture
MOST_BYTES = 60_000_000  # of metrics.csv files, beyond which a part of the jobs is read
FALLBACK = "train/loss"
STRETCHES, FEW_STRETCHES, MANY = 100, 30, 1_000  # of a curve, and of one among many


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
    best = [pair for pair in known if pair[0].is_ranked][: len(OF_RANK)]
    others = [curve for job, curve in known if all(job is not each for each, _ in best)]
    many = len(others) > MOST_VECTORS
    stretches = STRETCHES if len(others) < MANY else FEW_STRETCHES
    lines = [np.column_stack(shortened(curve, stretches)) for curve in others]
    alpha = max(0.012, min(0.6, 25 / max(1, len(lines))))
    axes.add_collection(LineCollection(lines, colors=GREY, linewidths=0.8, alpha=alpha, rasterized=many))
    for (job, curve), color in zip(reversed(best), reversed(OF_RANK[: len(best)]), strict=True):
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
    total = sum(_size(job.directory / "metrics.csv") for job in jobs)
    if total > MOST_BYTES:
        places = np.unique(np.linspace(0, len(jobs) - 1, max(100, int(len(jobs) * MOST_BYTES / total))).astype(int))
        best = range(min(len(jobs), len(OF_RANK)))
        jobs = [jobs[i] for i in sorted({*best, *places.tolist()})]
    return jobs, {job.directory: read_curves(job.directory / "metrics.csv", metrics) for job in jobs}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


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
        logarithmic(axes.yaxis)
    else:
        axes.set_ylim(low - margin, high + margin)
    outside = int(((values < low) | (values > high)).sum())
    return f" {outside:,} of {len(values):,} values lie outside the picture." if outside else ""


def swept_charts(directory: Path, jobs: Sequence[Job], compared: dict[str, list[Setting]]) -> list[Chart]:
    """How the monitored metric depends on what was swept."""
    keys = compared_keys(jobs)
    numeric = [key for key in keys if all(is_number(job.settings.get(key, "")) for job in jobs if job.settings)]
    charts = _path_chart(directory, compared)
    if len(numeric) in (1, 2):
        charts += _curves_and_maps(jobs)
    if len(keys) > 2 or (keys and len(numeric) < len(keys)):
        charts += parallel_coordinates(jobs, keys)
    if not keys:
        charts += spread(jobs)
    return charts


def _curves_and_maps(jobs: Sequence[Job]) -> list[Chart]:
    """Curves over one swept number, heat maps over two."""
    from logreg.report.figures.sweep import sweep_figures

    with page_colors(parse_math=True):  # these figures escape their texts themselves
        return [
            chart(each.figure, f"swept{i}", each.title, is_wide=each.figure.get_figwidth() > HALF[0])
            for i, each in enumerate(sweep_figures(jobs, Look.PAGE).values())
        ]


def _path_chart(directory: Path, compared: dict[str, list[Setting]]) -> list[Chart]:
    """The coefficients over the penalty, where a cross-validation chose one."""
    from logreg.report.figures.path import path_figure

    choice = read_choice(directory)
    if choice is None or choice.metric not in compared:
        return []
    if not set(choice.penalty) <= set(compared[choice.metric][0].settings):  # of an earlier state of the sweep
        return []
    with page_colors():
        figure = path_figure(compared[choice.metric], choice, Look.PAGE)
        return [] if figure is None else [chart(figure, "path", "Coefficients over the penalty")]


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
            axes.hist(scores, bins=min(40, 2 + math.isqrt(len(scores))), color=BLUE)
            axes.axvline(scores.mean(), color=RED, linewidth=1, label=f"mean {scores.mean():.4g}")
            axes.set(xlabel=bounded(metric, 40), ylabel="jobs")
            axes.legend()
            charts.append(chart(figure, f"spread{i}", f"{metric} of {len(scores):,} repetitions"))
    return charts
