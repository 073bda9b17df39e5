"""What is measured at each update of a block, kept until the block is done."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from logreg.data.rows import Batch, LargeBatch
from logreg.evaluation.metrics import accuracies, batch_losses
from logreg.optim.losses import Loss

Measured = Tensor | tuple[float, float]  # the logits of a batch, or loss and accuracy of a large one


class History:
    """The measurements of a block's updates, kept as tensors until the block is done."""

    def __init__(self, start: int, loss: Loss) -> None:
        self.start, self.loss = start, loss
        self.logits: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.penalties: list[Tensor] = []
        self.of_large: list[tuple[float, float]] = []  # loss and accuracy; a block has either these or logits
        self.further: list[dict[str, float]] = []
        self.certificates: dict[int, dict[str, float]] = {}  # by the update that they come after

    def add(self, measured: list[Measured], batches: list[Batch | LargeBatch], penalty: Tensor | None) -> None:
        if penalty is not None:
            self.penalties.append(penalty)
        if isinstance(batches[0], LargeBatch):
            assert isinstance(measured[0], tuple)
            self.of_large.append(measured[0])
            return
        self.logits.append(_joined(measured))
        self.labels.append(_joined([batch[1] for batch in batches]))  # type: ignore[index]
        if len(batches[0]) > 2:
            self.weights.append(_joined([batch[2] for batch in batches]))  # type: ignore[index]

    def add_iteration(self, value: float, accuracy: float, further: dict[str, float]) -> None:
        """The objective with its penalty, the accuracy, and what else a solver knows."""
        self.of_large.append((value, accuracy))
        self.further.append(further)

    def further_of(self, update: int) -> dict[str, float]:
        return self.further[update] if self.further else {}

    def losses(self) -> list[float]:
        """The objective at each update."""
        losses = [loss for loss, _ in self.of_large]
        losses = losses or batch_losses(self.logits, self.labels, self.weights, self.loss)
        if not self.penalties:
            return losses
        return [loss + penalty for loss, penalty in zip(losses, torch.stack(self.penalties).tolist(), strict=True)]

    def accuracies(self, of: list[int], threshold: float) -> list[float]:
        if self.of_large:
            return [self.of_large[i][1] for i in of]
        logits, labels, weights = (
            [part[i] for i in of] if part else [] for part in (self.logits, self.labels, self.weights)
        )
        return accuracies(logits, labels, threshold, weights)


def _joined(parts: list[Any]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
