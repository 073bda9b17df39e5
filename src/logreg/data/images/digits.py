"""scikit-learn's handwritten digits, one of them against the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from logreg.core.options.photos import DIGITS, DigitOptions, PhotoOptions
from logreg.core.options.rows import ALL_FOR_TRAINING, ServingOptions, SplitOptions
from logreg.data.images.data import ImageData
from logreg.data.images.decoding import pixels_of
from logreg.data.images.pixel_store import channel_sums

WHITEST = 16  # of the source


class DigitsData(ImageData):
    """1,797 grey pictures of 8 by 8 pixels, enlarged; label 1 is one digit, 0 every other.

    Args:
        serving: name, seed, batch size (by default 32) and standardisation; see `logreg.data.ServingOptions`.
        split: fractions of train, val and test, or folds; see `logreg.data.SplitOptions`. All are for training by
            default.
        photos: the size that the pictures are enlarged to, and random changes; see `logreg.data.PhotoOptions`.
        digit: the one that is label 1; see `logreg.data.DigitOptions`.
    """

    def __init__(
        self,
        serving: ServingOptions = DIGITS,
        split: SplitOptions = SplitOptions(ALL_FOR_TRAINING),
        photos: PhotoOptions = PhotoOptions(),
        digit: DigitOptions = DigitOptions(),
    ) -> None:
        super().__init__(serving, split, photos)
        self.positive = digit.positive
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
