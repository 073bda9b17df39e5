"""The figures of a sweep, read back from what matplotlib was given to draw."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from logreg.records.jobs import Job
from logreg.records.record import Monitor, RunRecord
from logreg.report.figures.sweep import MARKERS, sweep_figures
from logreg.report.figures.theme import CATEGORIES, save_png

Score = Callable[..., float | None]


@pytest.fixture(autouse=True)
def no_warnings_and_no_trace_in_pyplot() -> Iterator[None]:
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert plt.get_fignums() == []


def sweep(grid: Mapping[str, Sequence], score: Score, mode: str = "min", metric: str = "val/loss") -> list[Job]:
    """A job per combination of the grid's values; one whose score is None diverged."""
    jobs = []
    for number, values in enumerate(itertools.product(*grid.values())):
        value = score(*values)
        record = RunRecord(
            status="diverged" if value is None else "completed",
            overrides=[f"{key}={each}" for key, each in zip(grid, values, strict=True)],
            metrics={} if value is None else {metric: value},
            monitor=Monitor(metric, mode),
        )
        jobs.append(Job(number, Path(str(number)), record))
    return jobs


def drawn(jobs: list[Job], tmp_path: Path) -> tuple[str, Figure]:
    """The only figure, after it went through the renderer."""
    ((name, drawing),) = sweep_figures(jobs).items()
    figure = drawing.figure
    png = save_png(figure, tmp_path / f"{name}.png")
    assert png.startswith(b"\x89PNG")
    with Image.open(tmp_path / f"{name}.png") as picture:
        assert min(picture.size) >= 300
    return name, figure


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def line(ax: Axes, label: str) -> Any:
    (labelled,) = [each for each in ax.lines if each.get_label() == label]
    return labelled


def crosses(ax: Axes) -> dict[Any, list[float]]:
    return {each.get_color(): list(each.get_xdata()) for each in ax.lines if each.get_marker() == "x" and each._x.size}


def x_ticks(ax: Axes) -> list[str]:
    return [tick.get_text() for tick in ax.get_xticklabels()]


def test_a_curve_is_the_mean_of_the_repetitions_in_a_band_of_their_range(tmp_path: Path) -> None:
    jobs = sweep({"lr": [1, 0.001, 0.1], "seed": [1, 2, 6]}, lambda lr, seed: lr + seed)
    random.Random(0).shuffle(jobs)
    name, figure = drawn(jobs, tmp_path)
    (ax,) = panels(figure)
    assert name == "val_loss_by_lr"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lr", "val/loss (lower is better)")
    np.testing.assert_allclose(line(ax, "mean").get_xydata(), [[0.001, 3.001], [0.1, 3.1], [1, 4]])
    band = ax.collections[0].get_paths()[0].vertices
    for lr in (0.001, 0.1, 1):
        at = band[np.isclose(band[:, 0], lr), 1]
        np.testing.assert_allclose([at.min(), at.max()], [lr + 1, lr + 6])
    np.testing.assert_allclose(line(ax, "best").get_xydata(), [[0.001, 3.001]])
    assert x_ticks(ax) == ["0.001", "0.1", "1"]
    assert "3 repetitions" in figure.get_suptitle()


def test_folds_are_repetitions_too_and_more_can_be_better(tmp_path: Path) -> None:
    jobs = sweep({"epochs": [5, 10], "data.fold": range(4)}, lambda epochs, fold: epochs + fold, "max", "val/auroc")
    name, figure = drawn(jobs, tmp_path)
    (ax,) = panels(figure)
    assert (name, ax.get_ylabel()) == ("val_auroc_by_epochs", "val/auroc (higher is better)")
    np.testing.assert_allclose(line(ax, "best").get_xydata(), [[10, 11.5]])


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1, 20], "linear"), ([1, 21], "log"), ([0, 1, 20], "linear"), ([0, 1, 21], "symlog"), ([-1, 1, 50], "linear")],
)
def test_the_axis_is_logarithmic_where_positive_values_span_much(values: list, scale: str, tmp_path: Path) -> None:
    _, figure = drawn(sweep({"lr": values}, lambda lr: 0.5), tmp_path)
    assert panels(figure)[0].get_xscale() == scale


def test_ticks_are_swept_values_as_far_as_their_labels_have_room(tmp_path: Path) -> None:
    _, figure = drawn(sweep({"lr": [0, 1, 10, 20]}, lambda lr: 0.5), tmp_path)
    assert x_ticks(panels(figure)[0]) == ["0", "10", "20"]
    for grid in ({"lr": np.geomspace(1e-4, 1, 40)}, {"lr": np.geomspace(1e-4, 1, 40), "l2": [0, 1]}):
        _, figure = drawn(sweep(grid, lambda *_: 0.5), tmp_path)
        ticks = panels(figure)[0].get_xticklabels()
        assert 6 <= len(ticks) <= 13
        assert {tick.get_rotation() for tick in ticks} == {45}
        ends = [tick.get_window_extent().x1 for tick in ticks]
        assert all(b - a > 20 for a, b in itertools.pairwise(ends))  # more than the height of a line


@pytest.mark.parametrize(("scores", "scale"), [([0.1, 2.5], "log"), ([0.2, 2.5], "linear"), ([0.0, 2.5], "linear")])
def test_so_is_the_axis_of_the_metric(scores: list, scale: str, tmp_path: Path) -> None:
    _, figure = drawn(sweep({"lr": [0, 1]}, lambda lr: scores[lr]), tmp_path)
    assert panels(figure)[0].get_yscale() == scale


def test_there_is_a_line_for_each_name_and_a_cross_for_each_failure(tmp_path: Path) -> None:
    def score(optimizer: str, lr: float, seed: int) -> float | None:
        return None if (optimizer, lr) == ("adam", 1) or (optimizer, lr, seed) == ("sgd", 0.1, 2) else lr + seed

    _, figure = drawn(sweep({"optimizer": ["sgd", "adam"], "lr": [0.1, 0.5, 1], "seed": [1, 2]}, score), tmp_path)
    (ax,) = panels(figure)
    sgd, adam = line(ax, "optimizer=sgd"), line(ax, "optimizer=adam")
    np.testing.assert_allclose(sgd.get_xydata(), [[0.1, 1.1], [0.5, 2], [1, 2.5]])  # of the seed that is left
    np.testing.assert_allclose(adam.get_ydata(), [1.6, 2, np.nan])
    assert (sgd.get_color(), sgd.get_marker()) != (adam.get_color(), adam.get_marker())
    assert crosses(ax) == {sgd.get_color(): [0.1], adam.get_color(): [1]}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["optimizer=sgd", "optimizer=adam", "best", "without a result"]


def test_lines_take_the_key_of_most_values_and_panels_the_others(tmp_path: Path) -> None:
    grid = {"scheduler": ["none", "cosine"], "optimizer": ["sgd", "adam", "rmsprop"], "lr": [1, 2]}
    _, figure = drawn(sweep(grid, lambda scheduler, optimizer, lr: len(scheduler) + len(optimizer) * lr), tmp_path)
    assert [ax.get_title() for ax in panels(figure)] == ["scheduler=none", "scheduler=cosine"]
    for ax, length in zip(panels(figure), (4, 6), strict=True):
        np.testing.assert_allclose(line(ax, "optimizer=rmsprop").get_ydata(), [length + 7, length + 14])
    assert panels(figure)[0].get_ylim() == panels(figure)[1].get_ylim()
    assert [["best" in [each.get_label() for each in ax.lines]] for ax in panels(figure)] == [[True], [False]]


def test_the_best_panels_and_lines_are_drawn_where_there_are_many(tmp_path: Path) -> None:
    _, figure = drawn(sweep({"m": "abcdefghijk", "lr": [1, 2]}, lambda m, lr: -ord(m) * lr), tmp_path)
    lines = [each.get_label() for each in panels(figure)[0].lines if str(each.get_label()).startswith("m=")]
    assert lines == [f"m={name}" for name in "defghijk"]
    assert len({*CATEGORIES}) == len({*MARKERS}) == len(lines)
    grid = {"m": "abcdefghi", "lr": [1, 2], "penalty.l2": [1, 2]}
    _, figure = drawn(sweep(grid, lambda m, lr, l2: -ord(m) * lr * l2), tmp_path)
    assert [ax.get_title() for ax in panels(figure)] == [f"m={name}" for name in "defghi"]
    assert "best 6 of 9" in figure.get_suptitle()


def test_a_heat_map_holds_the_means_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    grid = {"lr": [10, 0.1, 1], "penalty.l2": [0.01, 0], "seed": [1, 3]}
    name, figure = drawn(sweep(grid, lambda lr, l2, seed: lr + 100 * l2 + seed), tmp_path)
    (ax,) = panels(figure)
    assert name == "val_loss_by_lr_penalty_l2"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lr", "penalty.l2")
    np.testing.assert_allclose(ax.collections[0].get_array(), [[2.1, 3, 12], [3.1, 4, 13]])
    assert (x_ticks(ax), [tick.get_text() for tick in ax.get_yticklabels()]) == (["0.1", "1", "10"], ["0", "0.01"])
    assert sorted(text.get_text() for text in ax.texts) == sorted(["2.1", "3", "12", "3.1", "4", "13"])
    (best,) = ax.patches
    assert best.get_label() == "best"
    np.testing.assert_allclose(best.get_center(), [0.5, 0.5])
    assert figure.axes[-1].get_ylabel() == "val/loss (lower is better)"


def test_cells_without_a_result_are_hatched_and_incomplete_ones_say_so(tmp_path: Path) -> None:
    def score(lr: int, l2: int, seed: int) -> float | None:
        return None if lr == 3 or (lr, l2, seed) == (2, 1, 0) else lr + l2 + seed

    _, figure = drawn(sweep({"lr": [1, 2, 3], "l2": [0, 1], "seed": [0, 1, 2]}, score), tmp_path)
    (ax,) = panels(figure)
    np.testing.assert_array_equal(ax.collections[0].get_array().mask, [[False, False, True]] * 2)
    assert [patch.get_xy() for patch in ax.patches if patch.get_hatch()] == [(2, 0), (2, 1)]
    assert "4.5\n2 of 3" in [text.get_text() for text in ax.texts]


def test_panels_of_heat_maps_share_their_colours_and_bright_is_good(tmp_path: Path) -> None:
    grid = {"optimizer": ["sgd", "adam"], "lr": [1, 2], "epochs": [1, 2]}
    for mode, best in (("min", "sgd"), ("max", "adam")):
        _, figure = drawn(sweep(grid, lambda name, lr, epochs: len(name) + lr * epochs, mode), tmp_path)
        meshes = [ax.collections[0] for ax in panels(figure)]
        assert {(mesh.norm.vmin, mesh.norm.vmax) for mesh in meshes} == {(4, 8)}
        (marked,) = [ax for ax in panels(figure) if ax.patches]
        assert marked.get_title() == f"optimizer={best}"
        light = {value: sum(to_rgb(meshes[0].cmap(meshes[0].norm(value)))) for value in (4, 8)}
        assert (light[4] > light[8]) == (mode == "min")


def test_the_colours_stand_outliers_and_wide_ranges(tmp_path: Path) -> None:
    def norm(score: Score, mode: str = "min") -> Any:
        _, figure = drawn(sweep({"lr": range(1, 5), "l2": range(5)}, score, mode), tmp_path)
        return panels(figure)[0].collections[0].norm

    one_far = norm(lambda lr, l2: 300.0 if (lr, l2) == (1, 0) else lr + l2)
    assert (type(one_far).__name__, one_far.vmin, one_far.vmax) == ("Normalize", 2, 8)
    far_below = norm(lambda lr, l2: -300.0 if (lr, l2) == (1, 0) else lr + l2, "max")
    assert (far_below.vmin, far_below.vmax) == (2, 8)
    far_ahead = norm(lambda lr, l2: -300.0 if (lr, l2) == (1, 0) else lr + l2)
    assert (far_ahead.vmin, far_ahead.vmax) == (-300, 8)
    wide = norm(lambda lr, l2: 10.0 ** (lr + l2))
    assert isinstance(wide, LogNorm)
    assert (wide.vmin, wide.vmax) == pytest.approx((10, 1e8))


def searched(count: int) -> list[Job]:
    """Jobs of a search that draws both numbers again for each; every hundredth diverged."""
    draws = np.random.default_rng(0)
    points = [(10 ** float(draws.uniform(-5, 0)), float(draws.uniform(1, 9))) for _ in range(count)]
    jobs = []
    for number, (lr, momentum) in enumerate(points):
        score = None if number % 100 == 0 else abs(math.log10(lr) + 2) + momentum
        (job,) = sweep({"lr": [lr], "momentum": [momentum]}, lambda *_, score=score: score)
        jobs.append(Job(number, job.directory, job.record))
    return jobs


def test_two_numbers_that_a_search_drew_are_scattered_not_gridded(tmp_path: Path) -> None:
    jobs = searched(3_000)  # a grid of them would have nine million cells
    name, figure = drawn(jobs, tmp_path)
    (ax,) = panels(figure)
    assert name == "val_loss_by_lr_momentum"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    (dots,) = ax.collections
    assert len(dots.get_offsets()) == 2_970
    assert len(ax.texts) + len(ax.patches) == 0
    best = min((job for job in jobs if job.score is not None), key=lambda job: job.score)
    np.testing.assert_allclose(line(ax, "best").get_xydata(), [[float(best.settings[k]) for k in ("lr", "momentum")]])
    assert len(line(ax, "without a result").get_xdata()) == 30
    assert len(ax.lines) == 2
    light = {each: sum(to_rgb(dots.cmap(dots.norm(each)))) for each in (dots.norm.vmin, dots.norm.vmax)}
    assert light[dots.norm.vmin] > light[dots.norm.vmax]  # bright is good


def test_a_name_for_each_job_makes_no_panels_of_one_point() -> None:
    named = searched(200)
    for i, job in enumerate(named):
        job.record.overrides.append(f"x=t{i}")
    (ax,) = panels(*(each.figure for each in sweep_figures(named).values()))
    assert len(ax.collections[0].get_offsets()) == 198


@pytest.mark.parametrize(("side", "count", "is_grid"), [(50, 2_500, True), (50, 600, False), (44, 44, True)])
def test_a_grid_is_a_heat_map_as_long_as_it_is_not_mostly_empty(side: int, count: int, is_grid: bool) -> None:
    jobs = sweep({"lr": range(1, side + 1), "l2": range(side)}, lambda lr, l2: lr + l2)
    diagonal = [job for job in jobs if int(job.settings["lr"]) == int(job.settings["l2"]) + 1]
    chosen = [*diagonal, *(job for job in jobs if job not in diagonal)][:count]
    ((_, drawing),) = sweep_figures(chosen).items()
    (drawn_as,) = panels(drawing.figure)[0].collections
    assert isinstance(drawn_as, QuadMesh) == is_grid


@pytest.mark.parametrize(
    "grid",
    [
        {"seed": [1, 2, 3]},
        {"optimizer": ["sgd", "adam"], "data.fold": [0, 1]},
        {"penalty.l2": ["auto", 0, 1]},
        {"flag": ["true", "false"]},
        {"lr": [1, 2], "epochs": [1, 2], "penalty.l2": [0, 1]},
    ],
)
def test_there_is_no_figure_without_one_or_two_numbers(grid: dict) -> None:
    assert sweep_figures(sweep(grid, lambda *_: 0.5)) == {}
    assert sweep_figures([]) == {}


def test_there_is_no_figure_without_a_result() -> None:
    assert sweep_figures(sweep({"lr": [1, 2]}, lambda _: None)) == {}


def test_each_monitor_has_a_figure_and_broken_records_have_no_part_in_it() -> None:
    loss = sweep({"monitor": ["val/loss"], "mode": ["min"], "lr": [1, 2]}, lambda *_: 0.5)
    area = sweep({"monitor": ["val/auroc"], "mode": ["max"], "lr": [1, 2]}, lambda *_: 0.9, "max", "val/auroc")
    broken = Job(-1, Path("x"), RunRecord(status="failed", error="cannot be read"))
    figures = sweep_figures([broken, *loss, *area])
    assert set(figures) == {"val_loss_by_lr", "val_auroc_by_lr"}
    assert list(line(panels(figures["val_auroc_by_lr"].figure)[0], "mean").get_ydata()) == [0.9, 0.9]


def test_any_name_can_be_drawn(tmp_path: Path) -> None:
    grid = {"data.path": ["$a_{1$", "x" * 90 + "1", "x" * 90 + "2"], "lr": [1, 2], "l2": [0, 1]}
    name, figure = drawn(sweep(grid, lambda *_: 0.5, metric="val/präzision@5"), tmp_path)
    assert name == "val_präzision_5_by_lr_l2"
    assert len({ax.get_title() for ax in panels(figure)}) == 3
