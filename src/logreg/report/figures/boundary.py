"""The decision boundary on its way: pictures after a handful of updates, for the slider in TensorBoard's Images tab.

While training, weights are copied, which takes microseconds; the pictures are drawn from the copies when all is over.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from logreg.core.errors import Interrupted, plural
from logreg.data.adapter import AnyData, adapted
from logreg.data.blocks import Block
from logreg.data.datamodule import BlockData
from logreg.report.tensorboard.events import EventFile
from logreg.training.classifier import BinaryClassifier

MOST = 10  # pictures; TensorBoard drops some at random where a series has more, see its --samples_per_plugin
MOST_POINTS = 2_000  # that are drawn of the rows
SIZE = (400, 300)  # of a picture, in pixels
TAG = "decision_boundary/while_training"


def moments(updates: int, most: int = MOST) -> list[int]:
    """After which updates to draw: 0, 1, 2, 5, 10, … and the last, evenly thinned to ``most`` of them."""
    nice = [factor * 10**power for power in range(len(str(updates))) for factor in (1, 2, 5)]
    between = [number for number in nice if number <= 0.8 * updates]  # closer to the last it would look the same
    if len(between) > most - 2:
        chosen = np.linspace(0, len(between) - 1, most - 2).round().astype(int)
        between = [between[i] for i in chosen]
    return sorted({0, *between, updates})


def is_plane(data: AnyData) -> bool:
    """Whether the rows are points in a plane, and few enough to draw."""
    table = data.blocks
    if table is None or table.preprocessor.sparse or table.num_features != 2:
        return False
    return not any(table.is_large(name) for name in table.rows)


def points_of(data: BlockData, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """All rows, (rows, 2), their labels, (rows,), and what the two features are called."""
    with data.serving(dtype):
        parts = [tuple(part.numpy() for part in data.tensors(name)) for name in data.rows]
    x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return x, y, [f"{name} (standardised)" if data.standardize else name for name in data.preprocessor.feature_names]


class BoundarySeries(Callback):
    """Copies the weights at a handful of logarithmically spaced updates, counted from where this run began.

    It does nothing where rows have another number of features than two, or are sparse or too many to draw.

    Attributes:
        states: of the network, by the number of updates made.
    """

    def __init__(self) -> None:
        self.states: dict[int, dict[str, Tensor]] = {}
        self._due: set[int] = set()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states, first, last = {}, trainer.global_step, trainer.max_steps
        drawn = is_plane(adapted(trainer.datamodule)) and last > first  # type: ignore[attr-defined]
        self._due = {first + number for number in moments(last - first)} if drawn else set()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        first = trainer.global_step
        if isinstance(batch, Block) and any(first <= update < first + len(batch) for update in self._due):
            batch.watch(partial(self._look, pl_module, first))

    def _look(self, classifier: LightningModule, first: int, number: int) -> None:
        if first + number in self._due:
            self._keep(classifier, first + number)

    def _keep(self, classifier: LightningModule, update: int) -> None:
        assert isinstance(classifier, BinaryClassifier)
        state = classifier.network.state_dict()
        self.states[update] = {name: value.detach().to("cpu", copy=True) for name, value in state.items()}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._due:
            self.states = {update: state for update, state in self.states.items() if update <= trainer.global_step}
            self._keep(pl_module, trainer.global_step)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, (Interrupted, SIGTERMException)):
            self.on_train_end(trainer, pl_module)
        else:  # a divergence is found after the block that it happened in
            self.states = {update: state for update, state in self.states.items() if update <= trainer.global_step}


def write_series(
    events: EventFile, classifier: BinaryClassifier, states: Mapping[int, Mapping[str, Tensor]], data: BlockData
) -> None:
    """The pictures of some states of a classifier's network in an event file."""
    if not states:
        return
    network = copy.deepcopy(classifier.network).cpu().eval()
    # a calibration belongs to the final state alone, and so does a threshold on calibrated probabilities
    threshold = classifier.threshold if classifier.calibration is None else 0.5
    for update, png in pictures(network, states, data, threshold):
        events.image(TAG, png, update)


def pictures(
    network: nn.Module,
    states: Mapping[int, Mapping[str, Tensor]],
    data: BlockData,
    threshold: float,
    translate: Callable[[str], str] = str,
) -> Iterator[tuple[int, bytes]]:
    """The updates and the PNG files that show the boundary after them.

    The parts of one figure that move are drawn for each: making another figure takes several times as long.

    Args:
        translate: the words of the pictures into another language.
    """
    from logreg.report.figures.moving import STEPS, MovingBoundary

    dtype = next(value.dtype for value in next(iter(states.values())).values() if value.is_floating_point())
    network = network.to(dtype)  # which a calibration may have changed
    x, y, names = points_of(data, dtype)
    if len(x) > MOST_POINTS:
        chosen = np.linspace(0, len(x) - 1, MOST_POINTS).astype(np.int64)
        x, y = x[chosen], y[chosen]
    figure = MovingBoundary(x, y, names, threshold, SIZE, translate)
    grid = torch.as_tensor(figure.grid, dtype=dtype)
    for update, state in sorted(states.items()):
        network.load_state_dict(state, strict=False)  # what a fused fit keeps of a job has no buffers
        with torch.no_grad():
            p = network(grid).reshape(STEPS, STEPS).double().numpy()
        if np.isfinite(p).all():
            yield update, figure.png(p, translate(f"after {plural(update, 'update')}"))
