"""Pillow's ``Image.resize((size, size), Image.Resampling.BOX)`` in tensor operations, to the last bit.

Pillow shrinks one direction after the other, and rounds to bytes in between. A pixel of the result is the mean of the
pixels in its window, a sum times a coefficient of 22 bits behind the point. A pixel of an enlarged direction is a copy,
so that a pass over a direction that has its size already changes nothing.
"""

from __future__ import annotations

import PIL
import torch
from torch import Tensor, nn

BITS = 22  # behind the point of a coefficient: Pillow's PRECISION_BITS
WHITE = 255
# Since then Pillow begins with the vertical pass where that takes away more than twice as many rows as there are
# columns to take away (https://github.com/python-pillow/Pillow/pull/9549). Rounding makes a difference of 1 of it.
TALL_FIRST = int(PIL.__version__.partition(".")[0]) >= 13


class BoxResize(nn.Module):
    """Photos (photos, height, width, 3) uint8 to (photos, 3, size, size) of whole numbers from 0 to 255, float32.

    float32 holds the sum of a window of up to 65,793 pixels, in each direction, exactly. Both orders are computed where
    the shape decides: a graph of one path is traced in a tenth of the time, and runs everywhere.
    """

    centres: Tensor

    def __init__(self, size: int, tall_first: bool = TALL_FIRST) -> None:
        super().__init__()
        self.size, self.tall_first = size, tall_first
        self.register_buffer("centres", torch.arange(size, dtype=torch.float64) + 0.5, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        photos = image.permute(0, 3, 1, 2).float()
        (down, height), (across, width) = self.windows(image.shape[1]), self.windows(image.shape[2])
        across_first = _pass_down(down, _pass_across(photos, across))
        if not self.tall_first:
            return across_first
        is_tall = height - self.size > 2 * (width - self.size)
        return torch.where(is_tall, _pass_across(_pass_down(down, photos), across), across_first)

    def windows(self, length: int) -> tuple[Tensor, Tensor]:
        """Whether each pixel of a direction counts for one of the result, (size, length) of 0 or 1; and the length.

        What is computed here, and in which order, is Pillow's ``precompute_coeffs``: windows end where it rounds. All
        of it is float64.
        """
        at = torch.arange(length, dtype=torch.float64, device=self.centres.device)
        measured = at[-1] + 1  # as a tensor: exporters make float32 of other numbers
        scale = measured / self.size
        width = scale.clamp(min=1.0)
        centre = (self.centres * scale).unsqueeze(1)
        first, end = torch.floor(centre - 0.5 * width + 0.5), torch.floor(centre + 0.5 * width + 0.5)
        place = (at - centre + 0.5) * (1.0 / width)
        inside = (place > -0.5) & (place <= 0.5) & (at >= first) & (at < end)
        return inside.double(), measured


def _pass_across(x: Tensor, inside: Tensor) -> Tensor:
    """x (…, rows, length) to (…, rows, size)."""
    return _bytes(torch.matmul(x, inside.float().t()), _coefficients(inside))


def _pass_down(inside: Tensor, x: Tensor) -> Tensor:
    """x (…, length, columns) to (…, size, columns)."""
    return _bytes(torch.matmul(inside.float(), x), _coefficients(inside).unsqueeze(1))


def _coefficients(inside: Tensor) -> Tensor:
    """What a pixel of each window is multiplied by, as a whole number, (size,)."""
    return torch.floor(0.5 + (1.0 / inside.sum(1).clamp(min=1.0)) * 2**BITS)


def _bytes(sums: Tensor, coefficients: Tensor) -> Tensor:
    return torch.floor((sums.double() * coefficients + 2 ** (BITS - 1)) * 2.0**-BITS).clamp(0, WHITE).float()
