"""The pictures of a classifier of photos: which photos they show, and what becomes of them in TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from logreg import BinaryClassifier
from logreg.models import ConvByHand, LinearOnPixels, SequentialRegression
from logreg.report.figures.photos import ACROSS, PhotoGrids, first_layer, photo_grid
from logreg.report.tensorboard.events import TensorBoardLogger
from tests.commands import Command
from tests.helpers import breast_cancer, digits, fit


def pictures(figure: Figure) -> list[list[tuple[str, np.ndarray]]]:
    """Title and pixels of each picture, row by row."""
    return [
        [(axes.get_title(), axes.images[0].get_array()) for axes in row.axes if axes.images] for row in figure.subfigs
    ]


def test_the_grid_shows_the_surest_photos_of_each_kind_in_their_order() -> None:
    data = digits()
    data.setup()
    y = data.labels_of("val")
    p = np.random.default_rng(0).uniform(size=len(y))
    right, wrong = pictures(photo_grid(data, "val", p, 0.4, "title"))
    predicted = p >= 0.4
    sure = np.where(predicted, p, 1 - p)
    for shown, is_kind in ((right, predicted == y), (wrong, predicted != y)):
        expected = sorted(np.flatnonzero(is_kind), key=lambda i: -sure[i])[:ACROSS]
        assert len(shown) == len(expected)
        for (title, pixels), i in zip(shown, expected, strict=True):
            assert title == f"{data.labels[int(predicted[i])]} {sure[i]:.3f}"
            assert np.array_equal(pixels, data.pixels[data.rows["val"][i]].transpose(1, 2, 0))


def test_a_classifier_that_is_never_wrong_has_no_wrong_photos() -> None:
    data = digits()
    data.setup()
    figure = photo_grid(data, "val", data.labels_of("val").astype(float), 0.5, "title")
    right, wrong = pictures(figure)
    assert (len(right), len(wrong)) == (ACROSS, 0)
    assert figure.subfigs[1].get_suptitle() == "none is wrong"


def test_the_first_layer_is_shown_of_convolutions_and_of_linear_models() -> None:
    network = ConvByHand(3 * 16 * 16)
    figure = first_layer(network, 16)
    assert figure is not None
    picture = figure.axes[0].images[0].get_array()
    weight = network.conv1.weight.detach()[9].permute(1, 2, 0).numpy()  # the second one of the second row
    shown = picture[6:11, 6:11]
    assert np.corrcoef(shown.ravel(), weight.ravel())[0, 1] == pytest.approx(1, abs=1e-6)
    assert (shown.min(), shown.max()) == (0.0, 1.0)
    linear = LinearOnPixels(3 * 8 * 8)
    figure = first_layer(linear, 8)
    assert figure is not None
    maps = [axes.images[0].get_array() for axes in figure.axes[:3]]
    assert np.allclose(np.stack(maps), linear.linear.weight.detach().view(3, 8, 8).numpy())
    assert first_layer(nn.Sequential(nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid()), 8) is None


class Grey(nn.Module):
    """A convolution of another number of colours."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)


def test_a_layer_that_sees_no_colours_is_not_shown() -> None:
    assert first_layer(Grey(), 8) is None


def tags(directory: Path) -> dict[str, list[int]]:
    events = EventAccumulator(str(directory), size_guidance={"images": 0})
    events.Reload()
    return {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}


@pytest.mark.parametrize("data", [digits(), breast_cancer()], ids=["photos", "table"])
def test_grids_are_written_every_few_passes(tmp_path: Path, data: Any) -> None:
    data.setup()
    network = SequentialRegression(data.num_features)
    logger = TensorBoardLogger(str(tmp_path))
    fit(tmp_path, data, 5, network=network, callbacks=[PhotoGrids(every_n_epochs=2)], logger=[logger])
    logger.events.close()
    steps = [2 * data.batches_per_pass, 4 * data.batches_per_pass]
    expected = {"photos/while_training": steps, "filters/while_training": steps} if data.name == "digits" else {}
    assert tags(tmp_path) == expected


@pytest.mark.slow
def test_jobs_that_are_trained_together_have_the_grids_of_runs_alone(command: Command, tmp_path: Path) -> None:
    every = "callbacks.photos.every_n_epochs=2"
    settings = ("data=digits", "model=conv_sequential", "optimizer=adam", "epochs=5", every)
    process = command("train.py", "-m", *settings, "lr=0.001,0.002", "hydra.sweep.dir=sweep")
    assert process.returncode == 0, process.stderr
    assert "training 2 jobs" in process.stdout + process.stderr
    process = command("train.py", *settings, "lr=0.001", "hydra.run.dir=alone")
    assert process.returncode == 0, process.stderr
    (job,) = (tmp_path / "sweep").glob("0_*/")
    ours, theirs = (tags(directory) for directory in (job, tmp_path / "alone"))
    assert ours == theirs
    assert len(ours["photos/while_training"]) == 2


def test_it_changes_nothing_of_the_training(tmp_path: Path) -> None:
    plain, _, history = fit(tmp_path / "a", digits(augment={"flip": True}), 2)
    logger, csv = TensorBoardLogger(str(tmp_path / "b")), CSVLogger(tmp_path / "b", name="", version="")
    record, classifier, drawn = fit(
        tmp_path / "b", digits(augment={"flip": True}), 2, callbacks=[PhotoGrids(1)], logger=[logger, csv]
    )
    logger.events.close()
    assert record.metrics == plain.metrics
    assert isinstance(classifier, BinaryClassifier)
    assert drawn == history
    assert torch.is_grad_enabled()
