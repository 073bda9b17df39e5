"""The honest baseline of a network on photos: the plain classifier over all pixels."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class LinearOnPixels(nn.Module):
    """Flatten, Linear, Sigmoid: rows may be flat, or photos (rows, 3, size, size)."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(in_features, 1)
        self.sigmoid = nn.Sigmoid()

    def logits(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows 1"]:
        return self.linear(self.flatten(x))

    def forward(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows 1"]:
        return self.sigmoid(self.logits(x))

    def coefficients(self) -> tuple[Tensor, Tensor]:
        return self.linear.weight, self.linear.bias
