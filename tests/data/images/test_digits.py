"""Digits are scikit-learn's."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from logreg.data.images.decoding import pixels_of
from tests.helpers import digits_data


def test_digits_are_scikit_learns() -> None:
    data = digits_data(positive="3", size=16, split={"train": 0.6, "val": 0.2, "test": 0.2})
    data.setup()
    source = load_digits()
    assert np.array_equal(data.y, source.target == 3)
    assert data.labels == ("not 3", "3")
    grey = np.round(np.kron(source.images, np.ones((1, 2, 2))) / 16 * 255)
    assert np.array_equal(data.pixels, np.repeat(grey[:, None], 3, axis=1))
    sums = np.stack([data.pixels.sum((2, 3), dtype=int), (data.pixels.astype(int) ** 2).sum((2, 3))], axis=1)
    assert np.array_equal(data.sums, sums)
    assert np.array_equal(pixels_of(data.originals([5])[0], 16), data.pixels[5])
