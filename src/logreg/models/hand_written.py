"""The classifier written by hand: two tensors and the sigmoid spelled out."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class HandWritten(nn.Module):
    """``1 / (1 + exp(-(x @ W + b)))`` with W and b starting at zero.

    Before training every probability is therefore 0.5, whatever the row.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(in_features, 1))
        self.b = nn.Parameter(torch.zeros(1))

    def logits(self, x: Float[Tensor, "rows features"]) -> Float[Tensor, "rows 1"]:
        return x @ self.W + self.b

    def forward(self, x: Float[Tensor, "rows features"]) -> Float[Tensor, "rows 1"]:
        return 1 / (1 + torch.exp(-self.logits(x)))

    def coefficients(self) -> tuple[nn.Parameter, nn.Parameter]:
        return self.W, self.b
