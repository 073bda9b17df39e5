"""The rows of a split of photos."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from logreg.data.images.preprocessor import ELEMENTS, ImagePreprocessor
from logreg.data.rows import Batch, LargeBatch, StoredRows, TensorRows


class PhotosInMemory(TensorRows):
    """Photos as normalised features in memory."""

    elements = ELEMENTS

    def everything(self) -> Batch | LargeBatch:  # type: ignore[override]
        return LargeBatch(self) if len(self) > self.at_once else super().everything()


class MappedPhotos(StoredRows):
    """Some photos of a mapped file of pixels, normalised when they are served.

    Args:
        pixels: (all photos, 3, size, size) uint8.
        rows, y, weight, dtype: see `StoredRows`.
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
        super().__init__(rows, y, weight, dtype, preprocessor.width)
        self.pixels, self.preprocessor = torch.from_numpy(pixels), preprocessor

    @property
    def stored(self) -> torch.dtype:
        return self.dtype

    def features(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        pixels = self.pixels.index_select(0, rows).to(self.device)  # bytes travel faster
        return self.preprocessor.normalised(pixels, dtype)
