"""What is measured at each update of a block, kept until the block ends, and written into the loggers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from lightning.fabric.loggers import Logger
from torch import Tensor

from logreg.data.rows import Batch, LargeBatch
from logreg.evaluation.metrics import accuracies, batch_losses
from logreg.optim.losses import Loss

Measured = Tensor | tuple[float, float]  # the logits of a batch, or loss and accuracy of a large one


class History:
    """The measurements of a block's updates.

    They stay tensors until the block ends: a number asked of a GPU makes the CPU wait for it.

    Args:
        start: updates made before the block.
        loss: that logits are to be measured with.
    """

    def __init__(self, start: int, loss: Loss) -> None:
        self.start, self.loss = start, loss
        self.rows: list[list[Tensor]] = []  # of each update: logits, labels and, where there are any, weights
        self.penalties: list[Tensor] = []
        self.of_large: list[tuple[float, float]] = []  # loss and accuracy; a block has either these or logits
        self.further: list[dict[str, float]] = []
        self.certificates: dict[int, dict[str, float]] = {}  # by the update that they come after

    def add(self, measured: list[Measured], batches: list[Batch | LargeBatch], penalty: Tensor | None) -> None:
        """What the batches of one update gave before it, and the penalty then."""
        if penalty is not None:
            self.penalties.append(penalty)
        if isinstance(measured[0], tuple):
            self.of_large.append(measured[0])
            return
        small = [batch for batch in batches if not isinstance(batch, LargeBatch)]
        columns = measured, *zip(*(batch[1:] for batch in small), strict=True)
        self.rows.append([_joined([part for part in column if isinstance(part, Tensor)]) for column in columns])

    def add_iteration(self, value: float, accuracy: float, further: dict[str, float]) -> None:
        """The objective with its penalty, the accuracy, and what else a solver knows."""
        self.of_large.append((value, accuracy))
        self.further.append(further)

    def further_of(self, update: int) -> dict[str, float]:
        return self.further[update] if self.further else {}

    def losses(self) -> list[float]:
        """The objective at each update."""
        losses = [loss for loss, _ in self.of_large] or batch_losses(self.rows, self.loss)
        if not self.penalties:
            return losses
        return [loss + penalty for loss, penalty in zip(losses, torch.stack(self.penalties).tolist(), strict=True)]

    def accuracies(self, of: list[int], threshold: float) -> list[float]:
        if self.of_large:
            return [self.of_large[i][1] for i in of]
        return accuracies([self.rows[i] for i in of], threshold)


class TrainingLog:
    """Writes the measurements of blocks into the loggers, each at its own step.

    They go straight to the loggers: Lightning's ``self.log`` costs more than an update and knows one step per block.

    Args:
        log_every: updates between two rows.
        first_update: of this run, which is always logged.
    """

    def __init__(self, loggers: Sequence[Logger], log_every: int, first_update: int) -> None:
        self.loggers, self.log_every, self.first_update = loggers, log_every, first_update
        self.latest: dict[str, float] = {}

    def write(self, values: Mapping[str, float], step: int) -> None:
        for logger in self.loggers:
            logger.log_metrics(dict(values), step)

    def write_block(self, history: History, losses: list[float], epoch: Callable[[int], int], threshold: float) -> None:
        """The updates of a block whose losses are finite.

        Args:
            epoch: of an update of the block.
        """
        start = history.start
        due = [i for i in range(len(losses)) if (start + i) % self.log_every == 0 or start + i == self.first_update]
        for i, accuracy in zip(due, history.accuracies(due, threshold), strict=True):
            self.latest = {"train/loss": losses[i], "train/accuracy": accuracy}
            self.write({"epoch": epoch(i), **self.latest, **history.further_of(i)}, start + i)
        for i, certificate in history.certificates.items():
            if i < len(losses):
                self.write({"epoch": epoch(i), **certificate}, start + i + 1)  # of the state after the update
        for logger in self.loggers:
            logger.save()


def finite_part(losses: list[float]) -> list[float]:
    """The losses before the first that is not finite."""
    return losses[: next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
