"""The classifier from a start anywhere in a cube."""

from __future__ import annotations

import torch
from torch import nn

from logreg.models.sequential import SequentialRegression


class RandomStart(SequentialRegression):
    """`SequentialRegression` whose weights and intercept start uniformly between ``-spread`` and ``spread``.

    PyTorch's own start has a spread of ``1 / sqrt(in_features)``, so near to 0 that no classifier is confident yet.
    """

    def __init__(self, in_features: int, spread: float = 5.0) -> None:
        super().__init__(in_features)
        with torch.no_grad():
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -spread, spread)
