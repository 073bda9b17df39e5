"""Means over rows as torchmetrics metrics, in float64: the Brier score and the losses."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from logreg.optim.losses import LOG_LOSS, Loss


class _MeanOverRows(Metric):
    """A sum over rows, and their number: torchmetrics' own mean keeps float32."""

    is_differentiable = True
    higher_is_better = False
    total: Tensor
    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        return self.total / self.rows


class BrierScore(_MeanOverRows):
    """The mean of ``(p - y)^2``.

    Args:
        n_bins: bins of its decomposition, which final results have beside it; see `logreg.evaluation.reliability`.
    """

    def __init__(self, n_bins: int = 15) -> None:
        super().__init__()
        if n_bins < 1:
            raise ValueError(f"n_bins={n_bins}: 1 or more is needed")
        self.n_bins = n_bins

    def update(self, p: Float[Tensor, " rows"], y: Tensor) -> None:
        self.total += (p.double() - y).square().sum()
        self.rows += len(y)


class MeanLoss(_MeanOverRows):
    """The mean of a loss, updated with logits: the log loss is exact where p rounds to 0 or 1."""

    def __init__(self, loss: Loss = LOG_LOSS) -> None:
        super().__init__()
        self.loss = loss

    def update(self, logits: Float[Tensor, " rows"], y: Float[Tensor, " rows"]) -> None:
        self.total += self.loss.total(logits, y)
        self.rows += len(y)


class BinaryLogLoss(MeanLoss):
    """The mean log loss, by a name that a configuration can give."""

    def __init__(self) -> None:
        super().__init__(LOG_LOSS)
