"""From the pixels of photos to features: normalised by the statistics of the training photos."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from logreg.core.errors import UserError
from logreg.data.features import PHOTOS, FittedPreprocessor
from logreg.data.images.decoding import CHANNELS, BadPhoto, pixels_of
from logreg.data.labels import Target

LARGEST = 255  # of a pixel
# Numbers of the photos that a network looks at together: what it makes of them takes many times as much.
ELEMENTS = 2**20


@dataclass(frozen=True)
class ImagePreprocessor(FittedPreprocessor):
    """The fitted preprocessing of a run on photos.

    A feature is a pixel of one channel, ``(pixel / 255 - mean) / std``, channel by channel and row by row.

    Attributes:
        size: side of a photo, in pixels.
        mean, std: by channel, of pixels from 0 to 1.
    """

    size: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    target: Target = field(default_factory=Target)

    sparse = False

    @classmethod
    def fit(cls, size: int, sums: np.ndarray, target: Target, standardize: bool = True) -> ImagePreprocessor:
        """From the sums of pixels, and of their squares, of the training photos, (photos, 2, 3) of whole numbers."""
        if not standardize:
            return cls(size, target=target)
        count = len(sums) * size * size
        total, squares = (part.tolist() for part in sums.sum(axis=0))
        means = [a / count for a in total]
        # of whole numbers, so that nothing is lost where the variance is small
        variances = [(count * b - a * a) / count**2 for a, b in zip(total, squares, strict=True)]
        std = [v**0.5 if v > 0 else float(LARGEST) for v in variances]
        r, g, b = (m / LARGEST for m in means)
        sr, sg, sb = (s / LARGEST for s in std)
        return cls(size, (r, g, b), (sr, sg, sb), target)

    # --- names --------------------------------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        return len(CHANNELS) * self.size**2

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a photo."""
        return len(CHANNELS), self.size, self.size

    @property
    def raw_columns(self) -> list[str]:
        """What a row is made from."""
        return ["path"]

    @cached_property
    def features(self) -> list[tuple[str, str]]:
        """Channel and place, ``row,column``, of every feature."""
        side = range(self.size)
        return [(channel, f"{row},{column}") for channel in CHANNELS for row in side for column in side]

    # --- applying it --------------------------------------------------------------------------------------------------

    def normalised(
        self, pixels: UInt8[Tensor, "photos 3 size size"], dtype: torch.dtype
    ) -> Float[Tensor, "photos features"]:
        """The features of photos."""
        x = pixels.to(dtype)
        scale = _of_channels([1 / (LARGEST * std) for std in self.std], x)
        shift = _of_channels([-mean / std for mean, std in zip(self.mean, self.std, strict=True)], x)
        return x.mul_(scale).add_(shift).flatten(1)

    def intensities(self, x: Float[Tensor, "photos features"]) -> Float[Tensor, "photos 3 size size"]:
        """Features turned back into pixels from 0 to 1."""
        return x.unflatten(1, self.shape) * _of_channels(self.std, x) + _of_channels(self.mean, x)

    def from_intensities(self, pixels: Float[Tensor, "photos 3 size size"]) -> Float[Tensor, "photos features"]:
        """The inverse of `intensities`."""
        return ((pixels - _of_channels(self.mean, pixels)) / _of_channels(self.std, pixels)).flatten(1)

    def blocks(self, photos: object, dtype: torch.dtype = torch.float64) -> Iterator[Tensor]:
        """The features of photos, in blocks of (photos, features).

        Args:
            photos: a path, a Pillow image, an array (height, width, 3) of uint8, or several of them, also as an array
                (photos, height, width, 3).

        Raises:
            UserError: it is something else, or cannot be read.
        """
        several = _listed(photos)
        step = max(1, ELEMENTS // self.width)
        for first in range(0, len(several), step):
            pixels = [self._pixels(photo) for photo in several[first : first + step]]
            yield self.normalised(torch.from_numpy(np.stack(pixels)), dtype)

    def _pixels(self, photo: object) -> np.ndarray:
        try:
            return pixels_of(photo, self.size)
        except BadPhoto as reason:
            raise UserError(f"{photo} {reason}.") from None
        except TypeError as error:
            raise UserError(
                f"predict_proba got {error}; a path, a Pillow image, or uint8 of shape (height, width, 3) is needed."
            ) from None

    @cached_property
    def raw_units(self) -> tuple[np.ndarray, np.ndarray]:
        """Of pixels from 0 to 255."""
        scale, mean = (np.repeat(np.array(part) * LARGEST, self.size**2) for part in (self.std, self.mean))
        return scale, mean

    # --- the file -----------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        return json.dumps({"kind": PHOTOS, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> ImagePreprocessor:
        """From the content of the file."""
        target = content["target"]
        mean, std = tuple(content["mean"]), tuple(content["std"])
        return cls(content["size"], mean, std, Target(target["column"], tuple(target["labels"])))


def _of_channels(values: Sequence[float], like: Tensor) -> Tensor:
    """A number for each channel, (3, 1, 1), of the type and on the device of photos."""
    return like.new_tensor(values).view(-1, 1, 1)


def _listed(photos: object) -> list[object]:
    if isinstance(photos, np.ndarray | Tensor):
        array = np.asarray(photos)
        return [array] if array.ndim == 3 else list(array)
    if isinstance(photos, Iterable) and not isinstance(photos, str):
        return list(photos)
    return [photos]  # a path, a Pillow image, or what `pixels_of` refuses
