"""Few small photos of digits, for the tests of fused fits."""

from __future__ import annotations

from typing import Any

import numpy as np

from logreg.core.build import build_data
from logreg.core.options.data import DataSettings
from logreg.data import DigitsData

SIZE, PHOTOS = 16, 120
CHANGES = {"flip": True, "crop": 0.2, "jitter": 0.3}


class FewDigits(DigitsData):
    """The first of the digits, of all ten kinds."""

    def candidates(self) -> np.ndarray:
        return super().candidates()[:PHOTOS]


def few(**settings: Any) -> FewDigits:
    class_weight = settings.pop("class_weight", None)
    node = {"seed": 1, "size": SIZE, "batch_size": 32, "split": {"train": 0.6, "val": 0.2, "test": 0.2}, **settings}
    data = build_data(DataSettings.of({"_target_": "tests.sweeps.fused.photos.FewDigits", **node}), ("tests",))
    assert isinstance(data, FewDigits)
    data.weigh_labels(class_weight)
    return data
