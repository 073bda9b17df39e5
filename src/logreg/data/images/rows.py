"""The rows of a split of photos."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from logreg.data.images.preprocessor import ELEMENTS, ImagePreprocessor
from logreg.data.rows import Batch, LargeBatch, Rows, TensorRows


class PhotosInMemory(TensorRows):
    """Photos as normalised features in memory."""

    elements = ELEMENTS

    def everything(self) -> Batch | LargeBatch:  # type: ignore[override]
        return LargeBatch(self) if len(self) > self.at_once else super().everything()


class MappedPhotos(Rows):
    """Some photos of a mapped file of pixels, normalised when they are served.

    Args:
        pixels: (all photos, 3, size, size) uint8.
        rows: which of them these are, ascending, (rows,) int64.
        y: of these rows, of any type.
        weight: of these rows.
        dtype: what x and y are served as.
    """

    elements = ELEMENTS

    def __init__(
        self,
        pixels: np.ndarray,
        rows: np.ndarray,
        y: Tensor,
        weight: Tensor | None,
        preprocessor: ImagePreprocessor,
        dtype: torch.dtype,
    ) -> None:
        self.pixels, self.rows = torch.from_numpy(pixels), torch.from_numpy(rows)
        self.y, self.weight, self.preprocessor, self.dtype = y, weight, preprocessor, dtype
        self.width = preprocessor.width
        self.device = torch.device("cpu")

    def take(self, positions: Tensor) -> Batch:
        return self._batch(self.pixels.index_select(0, self.rows[positions]), positions, self.dtype)

    def cut(self, first: int, end: int, dtype: torch.dtype | None = None) -> Batch:
        return self._batch(self.pixels.index_select(0, self.rows[first:end]), slice(first, end), dtype or self.dtype)

    def _batch(self, pixels: Tensor, positions: Tensor | slice, dtype: torch.dtype) -> Batch:
        x = self.preprocessor.normalised(pixels.to(self.device), dtype)  # bytes travel faster
        y = self.y[positions].to(self.device, dtype)
        return (x, y) if self.weight is None else (x, y, self.weight[positions].to(self.device))

    @property
    def stored(self) -> torch.dtype:
        return self.dtype

    def everything(self) -> Batch | LargeBatch:
        return LargeBatch(self) if len(self) > self.at_once else self.cut(0, len(self))

    def to(self, device: torch.device) -> None:
        self.device = device
