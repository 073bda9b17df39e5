"""The Brier score as a torchmetrics metric, in float64."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from logreg.optim.losses import LOG_LOSS, Loss


class BrierScore(Metric):
    """The mean of ``(p - y)^2``.

    Args:
        n_bins: bins of its decomposition, which final results have beside it; see `logreg.evaluation.reliability`.
    """

    is_differentiable = True
    higher_is_better = False
    total: Tensor
    rows: Tensor

    def __init__(self, n_bins: int = 15) -> None:
        super().__init__()
        if n_bins < 1:
            raise ValueError(f"n_bins={n_bins}: 1 or more is needed")
        self.n_bins = n_bins
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, p: Float[Tensor, " rows"], y: Tensor) -> None:
        self.total += (p.double() - y).square().sum()
        self.rows += len(y)

    def compute(self) -> Tensor:
        return self.total / self.rows


class MeanLoss(Metric):
    """The mean of a loss, updated with logits: the log loss is exact where p rounds to 0 or 1."""

    is_differentiable = True
    higher_is_better = False
    total: Tensor
    rows: Tensor

    def __init__(self, loss: Loss = LOG_LOSS) -> None:
        super().__init__()
        self.loss = loss
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Float[Tensor, " rows"], y: Float[Tensor, " rows"]) -> None:
        self.total += self.loss.total(logits, y)
        self.rows += len(y)

    def compute(self) -> Tensor:
        return self.total / self.rows


class BinaryLogLoss(MeanLoss):
    """The mean log loss, by a name that a configuration can give."""

    def __init__(self) -> None:
        super().__init__(LOG_LOSS)
