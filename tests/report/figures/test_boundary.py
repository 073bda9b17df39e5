"""The pictures of the decision boundary on its way: after which updates, of which weights, and at no cost to a run."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_breast_cancer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from logreg.models import SequentialRegression
from logreg.optim.newton import Newton
from logreg.records.record import read_record
from logreg.report.figures import boundary
from logreg.report.figures.boundary import MOST, TAG, BoundarySeries, moments, pictures
from tests.commands import Command
from tests.helpers import breast_cancer, fit, toy

SGD = functools.partial(torch.optim.SGD, lr=1.0)
LEFT_OUT = {
    "started",
    "seconds",
    "overrides",
    "hyperparameters",
    "git",
}  # of a record: what differs between two equal runs

WAYS: dict[str, dict[str, Any]] = {
    "full batch": {},
    "mini-batches": {"batch_size": 2},
    "l1, whose weights are held at 0 after the step": {"l1": 0.1, "optimizer": functools.partial(torch.optim.Adam)},
    "weights that change in place twice an update": {"optimizer": functools.partial(torch.optim.LBFGS, max_iter=3)},
    "a solver that ends early": {"optimizer": Newton, "l2": 0.1, "precision": "64-true"},
}


def series(directory: Path, epochs: int, **settings: Any) -> tuple[BoundarySeries, Any, list[dict[str, float]]]:
    """Train on the six points with the callback."""
    callback = BoundarySeries()
    data = toy(**{key: settings.pop(key) for key in ("batch_size",) if key in settings})
    record, _, history = fit(directory, data, epochs, settings.pop("optimizer", SGD), callbacks=[callback], **settings)
    return callback, record, history


def weights(state: dict[str, torch.Tensor]) -> list[float]:
    return torch.cat([value.flatten() for value in state.values()]).tolist()


@given(updates=st.integers(1, 10**9))
def test_pictures_are_few_and_from_the_first_update_to_the_last(updates: int) -> None:
    """TensorBoard keeps ten of a series, and drops others at random."""
    chosen = moments(updates)
    assert len(chosen) <= MOST == 10
    assert (chosen[0], chosen[-1]) == (0, updates)
    assert sorted(set(chosen)) == chosen


def test_the_moments_of_the_notebooks_run() -> None:
    assert moments(1001) == [0, 1, 2, 5, 10, 50, 100, 200, 500, 1001]
    assert moments(40) == [0, 1, 2, 5, 10, 20, 40]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_results_are_equal_to_the_bit_with_and_without(way: dict[str, Any], tmp_path: Path) -> None:
    settings = dict(way)
    callback, record, history = series(tmp_path / "with", 60, **settings)
    data = toy(**{key: settings.pop(key) for key in ("batch_size",) if key in settings})
    alone, _, expected = fit(tmp_path / "without", data, 60, settings.pop("optimizer", SGD), **settings)
    assert len(callback.states) >= 3
    assert (record.metrics, record.updates, history) == (alone.metrics, alone.updates, expected)
    states = [torch.load(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("with", "without")]
    assert weights(states[0]["state_dict"]) == weights(states[1]["state_dict"])


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_weights_of_a_picture_are_those_of_a_run_that_ends_there(way: dict[str, Any], tmp_path: Path) -> None:
    per_pass = 3 if "batch_size" in way else 1
    callback, record, _ = series(tmp_path / "long", 40, **way)
    assert max(callback.states) == record.updates
    for update in (u for u in callback.states if u and u % per_pass == 0 and u < record.updates):
        short, _, _ = series(tmp_path / f"{update}", update // per_pass, **way)
        assert weights(callback.states[update]) == weights(short.states[update])
    torch.manual_seed(1)
    untrained = SequentialRegression(2).to(next(iter(callback.states[0].values())).dtype)
    assert weights(callback.states[0]) == weights(untrained.state_dict())


def test_a_resumed_run_begins_where_the_other_ended_and_passes_through_the_same_weights(tmp_path: Path) -> None:
    first, _, _ = series(tmp_path / "first", 30)
    rest, _, _ = series(tmp_path / "rest", 100, resume=tmp_path / "first")
    assert sorted(rest.states) == [30 + number for number in moments(70)]
    whole, _, _ = series(tmp_path / "whole", 100)
    assert weights(rest.states[30]) == weights(first.states[30])
    assert weights(rest.states[50]) == weights(whole.states[50])
    assert weights(rest.states[100]) == weights(whole.states[100])


def test_of_a_run_that_diverges_only_what_came_before(tmp_path: Path) -> None:
    steep = functools.partial(torch.optim.SGD, lr=1e38)
    callback, record, _ = series(tmp_path, 500, optimizer=steep)
    assert record.status == "diverged"
    assert callback.states
    assert max(callback.states) <= record.updates


def test_an_interrupted_run_shows_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = BoundarySeries._look

    def stop_at_20(self: BoundarySeries, classifier: Any, first: int, number: int) -> None:
        look(self, classifier, first, number)
        if first + number == 20:
            classifier.stop()

    monkeypatch.setattr(BoundarySeries, "_look", stop_at_20)
    callback, record, _ = series(tmp_path, 500)
    assert (record.status, record.updates) == ("interrupted", 20)
    assert sorted(callback.states) == [0, 1, 2, 5, 10, 20]


def test_other_data_has_no_series(tmp_path: Path) -> None:
    callback = BoundarySeries()
    fit(tmp_path, breast_cancer(), 2, callbacks=[callback])
    assert callback.states == {}


def test_the_line_lies_where_the_probability_reaches_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle is the closed form: x1 = 3 for w = (2, 0), b = -6, and right of it the model says label 1."""
    monkeypatch.setattr("logreg.report.figures.moving.LABELS", ("#00ff00", "#00ff00"))
    network = SequentialRegression(2)
    state = dict(zip(network.state_dict(), (torch.tensor([[2.0, 0.0]]), torch.tensor([-6.0])), strict=True))
    data = toy()
    data.setup()
    ((update, png),) = pictures(network, {7: state}, data, 0.5)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    assert (update, pixels.shape) == (7, (300, 400, 3))
    row = pixels[140, 70:380]  # inside the axes, which reach from 64 to 388 and from x1 = 0.25 to 6.75
    dark = np.flatnonzero(row.sum(axis=1) < 150) + 70
    at = 64 + (3 - 0.25) / 6.5 * 324
    assert len(dark)
    assert np.abs(dark - at).max() <= 3
    assert row[20, 0] > row[20, 2]  # red left, blue right
    assert row[-20, 0] < row[-20, 2]


@pytest.mark.slow
def test_the_series_in_the_event_file_of_a_run_and_what_switches_it_off(command: Command, tmp_path: Path) -> None:
    alone = ("callbacks.boundary=null", "figures=false", "callbacks=none")
    for name, *setting in (("on",), *((off, off) for off in alone)):
        process = command("train.py", "epochs=60", f"hydra.run.dir='{name}'", *setting)
        assert process.returncode == 0, process.stderr
        events = EventAccumulator(str(tmp_path / name), size_guidance={"images": 0})
        events.Reload()
        assert (TAG in events.Tags()["images"]) == (name == "on")
        if name == "on":
            assert [image.step for image in events.Images(TAG)] == moments(60)
            for image in events.Images(TAG):
                picture = Image.open(io.BytesIO(image.encoded_image_string))
                assert picture.size == (image.width, image.height) == boundary.SIZE
        records = [{k: v for k, v in read_record(tmp_path / n).items() if k not in LEFT_OUT} for n in ("on", name)]
        assert records[0] == records[1]
        assert (tmp_path / name / "metrics.csv").read_bytes() == (tmp_path / "on" / "metrics.csv").read_bytes()


def drawn(directory: Path) -> dict[int, np.ndarray]:
    """The pictures of a directory's event file, by update."""
    events = EventAccumulator(str(directory), size_guidance={"images": 0})
    events.Reload()
    images = events.Images(TAG) if TAG in events.Tags()["images"] else []
    return {each.step: np.asarray(Image.open(io.BytesIO(each.encoded_image_string)).convert("RGB")) for each in images}


@pytest.mark.slow
def test_a_job_of_a_fused_fit_has_the_series_of_a_run_alone(command: Command, tmp_path: Path) -> None:
    source = load_breast_cancer(as_frame=True)
    source.frame[["mean radius", "mean texture", "target"]].to_csv(tmp_path / "points.csv", index=False)
    data = ("data=table", "data.path=points.csv", "data.target=target", "optimizer=adam", "data.batch_size=100")
    process = command("train.py", "-m", *data, "lr=0.01,0.1", "epochs=4,7", "hydra.sweep.dir=sweep")
    assert process.returncode == 0, process.stderr
    assert "training 4 jobs" in process.stderr + process.stdout
    for job in sorted((tmp_path / "sweep").glob("*_*/")):
        record = read_record(job)
        alone = tmp_path / "alone" / job.name
        process = command("train.py", *record["overrides"], f"hydra.run.dir='{alone}'")
        assert process.returncode == 0, process.stderr
        ours, theirs = drawn(job), drawn(alone)
        assert list(ours) == list(theirs) == moments(record["updates"])
        for update, picture in ours.items():
            assert np.abs(picture.astype(int) - theirs[update]).mean() < 0.1, (job.name, update)


@pytest.mark.slow
def test_a_sweep_with_many_jobs_and_one_of_solvers_draw_no_series(command: Command, tmp_path: Path) -> None:
    for name, *swept in (("many", "seed=range(30)"), ("solved", "optimizer=newton", "penalty.l2=0.1,1")):
        process = command("train.py", "-m", *swept, "epochs=20", f"hydra.sweep.dir={name}")
        assert process.returncode == 0, process.stderr
        jobs = list((tmp_path / name).glob("*_*/"))
        assert len(jobs) == {"many": 30, "solved": 2}[name]
        assert not any(drawn(job) for job in jobs[:3])
