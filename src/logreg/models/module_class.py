"""The classifier as a module class: attributes for the layers, ``forward`` composes them."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class LogisticRegression(nn.Module):
    """A `Linear` and a `Sigmoid` attribute.

    Args:
        in_features: columns of a row.
        draws_before: how many equal linear layers are drawn from the random state before this one. The notebook builds
            its Sequential first and this class second after the same seed, so its numbers need one draw before.
    """

    def __init__(self, in_features: int, draws_before: int = 0) -> None:
        super().__init__()
        for _ in range(draws_before):
            nn.Linear(in_features, 1)
        self.linear = nn.Linear(in_features, 1)
        self.sigmoid = nn.Sigmoid()

    def logits(self, x: Float[Tensor, "rows features"]) -> Float[Tensor, "rows 1"]:
        return self.linear(x)

    def forward(self, x: Float[Tensor, "rows features"]) -> Float[Tensor, "rows 1"]:
        return self.sigmoid(self.linear(x))

    def coefficients(self) -> tuple[Tensor, Tensor]:
        return self.linear.weight, self.linear.bias
