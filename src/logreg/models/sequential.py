"""The classifier as `torch.nn.Sequential`: layers that run in their order."""

from __future__ import annotations

from torch import nn


class SequentialRegression(nn.Sequential):
    """``nn.Sequential(nn.Linear(in_features, 1), nn.Sigmoid())``."""

    def __init__(self, in_features: int) -> None:
        super().__init__(nn.Linear(in_features, 1), nn.Sigmoid())
