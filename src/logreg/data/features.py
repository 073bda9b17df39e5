"""From raw rows to features, whatever the data is: what ``preprocessing.json`` of a run holds.

Nothing heavy is imported here; `Preprocessor` is that of tables, `ImagePreprocessor` that of photos.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from logreg.data.labels import Target

if TYPE_CHECKING:
    import numpy as np

PHOTOS = "images"  # the ``kind`` in the file of a run on photos; that of a table has none


class FittedPreprocessor(ABC):
    """Features of rows, and how coefficients of features become those of raw columns.

    Attributes:
        sparse: rows are sparse and used as they are.
    """

    target: Target
    sparse: bool

    @property
    @abstractmethod
    def width(self) -> int:
        """The number of features."""

    @property
    @abstractmethod
    def raw_columns(self) -> list[str]:
        """The columns that a frame must have."""

    @property
    @abstractmethod
    def features(self) -> Sequence[tuple[str, str]]:
        """Column and level of every feature; the level of a number is empty."""

    @property
    @abstractmethod
    def raw_units(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and mean of every feature, (features,) each: features are ``(raw - mean) / scale``."""

    @abstractmethod
    def to_json(self) -> str:
        """The content of ``preprocessing.json``."""

    def feature(self, i: int) -> tuple[str, str]:
        """One of `features`."""
        return self.features[i]

    def flags(self) -> Iterator[tuple[int, int]]:
        """First feature and width of what is 0 or 1: the levels of a column, an indicator of missing values."""
        return iter(())

    @cached_property
    def feature_names(self) -> list[str]:
        return [f"{column}={level}" if level else column for column, level in self.features]

    def raw_coefficients(self, weight: np.ndarray, bias: float) -> tuple[np.ndarray, float]:
        """Coefficients (features,) and intercept in the units of the raw columns."""
        scale, mean = self.raw_units
        raw = weight.astype(float) / scale
        return raw, float(bias - raw @ mean)


def is_of_photos(file: Path) -> bool:
    """Whether a run's ``preprocessing.json`` is of photos; False where there is none."""
    try:
        return json.loads(file.read_text(encoding="utf-8")).get("kind") == PHOTOS
    except (OSError, ValueError, AttributeError):
        return False
