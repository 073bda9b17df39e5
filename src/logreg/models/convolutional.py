"""The notebook's convolutional network, twice: every layer wired by hand, and built of `nn.Sequential` blocks.

Photos of 3 x size x size (3x32x32 in the notebook); convolution to 64 channels with kernel 5, ReLU, max-pooling by 2;
convolution to 30 channels with kernel 5, ReLU, max-pooling by 2; flatten; linear to 128, ReLU; linear to one logit,
whose sigmoid is the probability. The notebook's own last layer has ten outputs and a ReLU: ``num_outputs=10``.

Rows may be flat, (rows, 3 * size * size), as every DataModule here serves them, or photos (rows, 3, size, size).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from logreg.core.errors import UserError

COLOURS, FIRST, SECOND, HIDDEN = 3, 64, 30, 128
KERNEL, POOL = 5, 2
SMALLEST = 16  # side of a photo of which something is left after two convolutions and poolings


def side_of(in_features: int) -> int:
    """The side of a square photo in three colours of ``in_features`` numbers.

    Raises:
        UserError: there is no such photo, or it is too small for two convolutions.
    """
    side = math.isqrt(in_features // COLOURS)
    if COLOURS * side * side != in_features:
        raise UserError(
            f"model: a convolutional network takes square photos in three colours, and a row has {in_features} "
            "numbers; use data=images or data=digits, or another model."
        )
    if side < SMALLEST:
        raise UserError(
            f"model: photos of data.size={side} are too small for this network; {SMALLEST} or more is needed."
        )
    return side


def flat_features(side: int) -> int:
    """The numbers that are left of a photo before the linear layers."""
    for _ in range(2):
        side = (side - KERNEL + 1) // POOL
    return SECOND * side * side


def as_photos(x: Tensor, side: int) -> Float[Tensor, "rows 3 side side"]:
    """Rows as photos, whether they are flat or not."""
    return x if x.ndim == 4 else x.unflatten(1, (COLOURS, side, side))


class ConvByHand(nn.Module):
    """Every layer is an attribute, and ``logits`` wires them.

    Args:
        in_features: 3 * size * size.
        num_outputs: 1, or as many as the notebook's last layer has.
    """

    def __init__(self, in_features: int, num_outputs: int = 1) -> None:
        super().__init__()
        self.side, self.num_outputs = side_of(in_features), num_outputs
        self.conv1 = nn.Conv2d(COLOURS, FIRST, KERNEL)
        self.conv2 = nn.Conv2d(FIRST, SECOND, KERNEL)
        self.linear1 = nn.Linear(flat_features(self.side), HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, num_outputs)

    def logits(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows outputs"]:
        x = as_photos(x, self.side)
        x = F.max_pool2d(F.relu(self.conv1(x)), POOL)
        x = F.max_pool2d(F.relu(self.conv2(x)), POOL)
        x = torch.flatten(x, 1)
        x = F.relu(self.linear1(x))
        return self.linear2(x)

    def forward(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows outputs"]:
        z = self.logits(x)
        return torch.sigmoid(z) if self.num_outputs == 1 else F.relu(z)


class ConvSequential(nn.Module):
    """Two blocks of `nn.Sequential`: the convolutions, and the linear layers.

    Args:
        in_features: 3 * size * size.
        num_outputs: 1, or as many as the notebook's last layer has.
    """

    def __init__(self, in_features: int, num_outputs: int = 1) -> None:
        super().__init__()
        self.side = side_of(in_features)
        self.features = nn.Sequential(
            nn.Conv2d(COLOURS, FIRST, KERNEL),
            nn.ReLU(),
            nn.MaxPool2d(POOL),
            nn.Conv2d(FIRST, SECOND, KERNEL),
            nn.ReLU(),
            nn.MaxPool2d(POOL),
            nn.Flatten(),
        )
        self.classifier = nn.Sequential(
            nn.Linear(flat_features(self.side), HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, num_outputs),
        )
        self.output = nn.Sigmoid() if num_outputs == 1 else nn.ReLU()

    def logits(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows outputs"]:
        return self.classifier(self.features(as_photos(x, self.side)))

    def forward(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows outputs"]:
        return self.output(self.logits(x))
