"""scikit-learn's handwritten digits, one of them against the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from logreg.core.errors import UserError
from logreg.core.options.photos import PhotoOptions
from logreg.core.options.rows import ALL_FOR_TRAINING, ServingOptions, SplitOptions
from logreg.data.images.data import ImageData
from logreg.data.images.decoding import pixels_of
from logreg.data.images.pixel_store import channel_sums

WHITEST = 16  # of the source


class DigitsData(ImageData):
    """1,797 grey pictures of 8 by 8 pixels, enlarged; label 1 is one digit, 0 every other.

    Args:
        positive: the digit that is label 1.
    """

    def __init__(
        self,
        serving: ServingOptions = ServingOptions("digits", batch_size=32),
        split: SplitOptions = SplitOptions(ALL_FOR_TRAINING),
        photos: PhotoOptions = PhotoOptions(),
        *,
        positive: int | str = 8,
    ) -> None:
        super().__init__(serving, split, photos)
        if str(positive) not in map(str, range(10)):
            raise UserError(f"data.positive={positive}: a digit from 0 to 9 is needed.")
        self.positive = int(positive)
        self._originals: np.ndarray

    def load(self) -> None:
        from sklearn.datasets import load_digits

        source = load_digits()
        grey = np.round(source.images * (255 / WHITEST)).astype(np.uint8)
        self._originals = np.repeat(grey[..., None], 3, axis=3)
        self.pixels = np.stack([pixels_of(digit, self.size) for digit in self._originals])
        self.y = (source.target == self.positive).astype(np.int8)
        self.labels = (f"not {self.positive}", str(self.positive))
        self.sums = channel_sums(self.pixels.reshape(len(self.y), 3, -1))

    def originals(self, numbers: Sequence[int]) -> list[np.ndarray]:
        return [self._originals[i] for i in numbers]

    @property
    def fingerprint(self) -> str:
        self.setup()
        digest = hashlib.sha256(self.pixels.tobytes())
        digest.update(self.y.tobytes())
        return f"sha256:{digest.hexdigest()[:32]}"
