"""Pictures of a classifier of photos: those it is surest of, right and wrong, and what its first layer looks for."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import nn

from logreg.data.images.data import ImageData
from logreg.data.images.decoding import CHANNELS
from logreg.optim.objective import linear_coefficients
from logreg.report.figures.theme import LABELS, Drawing, new_figure, png_of
from logreg.report.tensorboard.events import EventFile, TensorBoardLogger
from logreg.training.classifier import BinaryClassifier
from logreg.training.measure import held_out

ACROSS = 8  # photos in a row of the grid
MOST = 10  # grids of a job among others, whose weights are kept until all is over


def photo_grid(data: ImageData, split: str, p: Float[np.ndarray, " photos"], threshold: float, title: str) -> Figure:
    """The photos of a split that were predicted right with the most confidence, and those that were predicted wrong.

    Args:
        p: probability of label 1 of each photo.
    """
    y, predicted = data.labels_of(split) == 1, p >= threshold
    sureness = np.where(predicted, p, 1 - p)
    figure = Figure(figsize=(9, 3.6))  # constrained layout would take longer than all else
    halves = figure.subfigures(2, 1, squeeze=False)[:, 0]
    for word, matches, below in zip(("right", "wrong"), (predicted == y, predicted != y), halves, strict=True):
        numbers = np.flatnonzero(matches)
        shown = numbers[np.argsort(-sureness[numbers], kind="stable")][:ACROSS]
        most = f"most confidently {word}, of {len(numbers):,}" if len(numbers) else f"none is {word}"
        below.suptitle(f"{title}: {most}" if word == "right" else most, fontsize=10)
        below.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.76, wspace=0.08)
        for place, axes in enumerate(below.subplots(1, ACROSS)):
            axes.set_axis_off()
            if place < len(shown):
                number = shown[place]
                axes.imshow(data.pixels[data.rows[split][number]].transpose(1, 2, 0))
                name = data.labels[int(predicted[number])]
                axes.set_title(f"{name} {sureness[number]:.3f}", fontsize=8, color=LABELS[int(predicted[number])])
    return figure


def first_layer(network: nn.Module, size: int) -> Figure | None:
    """The filters of the first convolution over photos, or the weights of a linear model, a picture for each colour."""
    pair = linear_coefficients(network)
    if pair is not None:
        return _weights(pair[0].detach().double().cpu().reshape(len(CHANNELS), size, size).numpy())
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            return _filters(layer.weight.detach().double().cpu().numpy()) if layer.in_channels == 3 else None
    return None


def _filters(weight: Float[np.ndarray, "filters 3 height width"]) -> Figure:
    """Each filter in its own colours, from its least weight to its largest."""
    count, _, height, width = weight.shape
    across = int(np.ceil(np.sqrt(count)))
    low, high = (f(weight, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    pictures = ((weight - low) / np.maximum(high - low, 1e-12)).transpose(0, 2, 3, 1)
    picture = np.ones((-(-count // across) * (height + 1), across * (width + 1), 3))
    for i, one in enumerate(pictures):
        row, column = divmod(i, across)
        picture[row * (height + 1) :, column * (width + 1) :][:height, :width] = one
    figure = new_figure((4.5, 4.5))
    axes = figure.subplots()
    axes.imshow(picture)
    axes.set_axis_off()
    axes.set_title(f"the first layer's {count} filters", fontsize=10)
    return figure


def _weights(weight: Float[np.ndarray, "3 size size"]) -> Figure:
    figure = new_figure((9.0, 3.2))
    largest = float(np.abs(weight).max()) or 1.0
    for channel, one, axes in zip(CHANNELS, weight, figure.subplots(1, len(CHANNELS)), strict=True):
        shades = axes.imshow(one, cmap="RdBu", vmin=-largest, vmax=largest)
        axes.set_axis_off()
        axes.set_title(f"weights of {channel}", fontsize=10)
    figure.colorbar(shades, ax=figure.axes, label="change of the logit per standard deviation", shrink=0.9)
    return figure


def photo_figures(
    classifier: BinaryClassifier, data: ImageData, split: str, p: Float[np.ndarray, " photos"], title: str
) -> dict[str, Drawing]:
    """The photos of a split, and the first layer where it can be drawn, by name."""
    filters = first_layer(classifier.network, data.size)
    drawn = {"photos": Drawing(photo_grid(data, split, p, classifier.threshold, title))}
    return drawn if filters is None else drawn | {"filters": Drawing(filters)}


class PhotoGrids(Callback):
    """Writes the grid of validation photos and the first layer into TensorBoard every few passes over the rows.

    It does nothing where rows are no photos, or where none are held out to validate on.
    """

    def __init__(self, every_n_epochs: int = 5) -> None:
        self.every_n_epochs = every_n_epochs
        self._drawn = 0  # passes at the last time

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        self._drawn = data.position["passes"] if isinstance(data, ImageData) else 0  # of a run that goes on

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        events = next((logger.events for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)
        if events is None or not isinstance(data, ImageData) or trainer.sanity_checking:
            return
        passes = data.position["passes"]
        if passes // self.every_n_epochs <= self._drawn // self.every_n_epochs:
            return
        self._drawn = passes
        assert isinstance(pl_module, BinaryClassifier)
        write_grids(events, pl_module, data, trainer.global_step)


def write_grids(events: EventFile, classifier: BinaryClassifier, data: ImageData, step: int) -> None:
    """What a classifier makes of the validation photos after ``step`` updates."""
    p, _, _ = held_out(classifier, data.batches("val"))
    for name, drawing in photo_figures(classifier, data, "val", p, f"{data.name}, val photos").items():
        events.image(f"{name}/while_training", png_of(drawing.figure), step)


def moments(epochs: int, every: int, validate_every: int, most: int = MOST) -> list[int]:
    """After which passes `PhotoGrids` draws, the last ``most`` of them.

    Validated every ``validate_every`` passes and after the last.
    """
    drawn = [0]
    for passes in sorted({*range(validate_every, epochs + 1, validate_every), epochs}):
        if passes // every > drawn[-1] // every:
            drawn.append(passes)
    return drawn[1:][-most:]
