"""Training photos changed at random, a batch at a time, by tensor operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from logreg.core.options.photos import AugmentOptions
from logreg.core.seeds import generator
from logreg.data.images.preprocessor import ImagePreprocessor
from logreg.data.rows import Batch

GREY = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)


@dataclass(frozen=True)
class Augmentation:
    """Every photo of a batch is changed by draws of its own.

    Attributes:
        options: what is changed.
        preprocessor: the photos are its features.
    """

    options: AugmentOptions
    preprocessor: ImagePreprocessor

    def start(self, seed: int, index: int) -> Callable[[Batch], Batch]:
        """The change of batch number ``index`` of a run, to be called with its parts in their order."""
        drawn = generator(seed, "augment", index)
        return lambda batch: (self.changed(batch[0], drawn), *batch[1:])

    def changed(self, x: Float[Tensor, "photos features"], drawn: torch.Generator) -> Float[Tensor, "photos features"]:
        """Draws are made on the CPU, so that they are the same on every device."""
        photos, size = len(x), self.preprocessor.size
        uniform = partial(torch.rand, photos, generator=drawn)
        mirrored = uniform() < 0.5 if self.options.flip else torch.zeros(photos, dtype=torch.bool)
        most = round(self.options.crop * size)
        down, right = (torch.randint(-most, most + 1, (photos,), generator=drawn) for _ in range(2))
        factors = [1 + self.options.jitter * (2 * uniform() - 1) for _ in range(3)]
        if self.options.flip or most:
            y = x.unflatten(1, self.preprocessor.shape)
            side = torch.arange(size)
            across = torch.where(mirrored[:, None], size - 1 - side, side) + right[:, None]
            along = side + down[:, None]
            x = _taken(_taken(y, 2, along.clamp(0, size - 1)), 3, across.clamp(0, size - 1)).flatten(1)
        return self._jittered(x, *(f.to(x).view(-1, 1, 1, 1) for f in factors)) if self.options.jitter else x

    def _jittered(self, x: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
        pixels = self.preprocessor.intensities(x) * brightness
        weights = pixels.new_tensor(GREY).view(-1, 1, 1)
        grey = (pixels * weights).sum(1, keepdim=True)
        pixels = grey + (pixels - grey) * saturation
        mean = grey.mean((2, 3), keepdim=True)
        pixels = (mean + (pixels - mean) * contrast).clamp(0, 1)
        return self.preprocessor.from_intensities(pixels)


def _taken(photos: Tensor, dimension: int, places: Tensor) -> Tensor:
    """Rows (2) or columns (3) of each photo at these places, (photos, size) int64."""
    shape = [len(photos), 1, 1, 1]
    shape[dimension] = places.shape[1]
    return photos.gather(dimension, places.to(photos.device).view(shape).expand_as(photos))
