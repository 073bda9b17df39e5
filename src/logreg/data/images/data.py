"""The DataModule of photos, wherever they come from, and the rows of its splits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from logreg.core.errors import UserError, plural
from logreg.core.options.photos import PhotoOptions
from logreg.core.options.rows import ServingOptions, SplitOptions
from logreg.data.datamodule import IN_MEMORY_BYTES, BlockData
from logreg.data.images.augmentation import Augmentation
from logreg.data.images.decoding import CHANNELS
from logreg.data.images.preprocessor import ELEMENTS, ImagePreprocessor
from logreg.data.labels import Target
from logreg.data.rows import Batch, LargeBatch, Rows, StoredRows, TensorRows
from logreg.data.splits import dealt


class ImageData(BlockData):
    """Photos of two classes, as rows of 3 * size * size normalised pixels; subclasses say where they come from.

    Attributes:
        pixels: (photos, 3, size, size) uint8.
        y: (photos,) 0 or 1.
        labels: what 0 and 1 stand for.
        sums: of each photo's pixels, see `logreg.data.images.pixel_store.channel_sums`.
    """

    preprocessor: ImagePreprocessor
    pixels: np.ndarray
    y: np.ndarray
    labels: tuple[str, str]
    sums: np.ndarray

    def __init__(self, serving: ServingOptions, split: SplitOptions, photos: PhotoOptions) -> None:
        super().__init__(serving, split)
        self.size, self.augment = photos.size, photos.augment
        self._is_set_up = False

    # --- what a subclass says -----------------------------------------------------------------------------------------

    @abstractmethod
    def load(self) -> None:
        """Set ``pixels``, ``y``, ``labels`` and ``sums``."""

    @abstractmethod
    def originals(self, numbers: Sequence[int]) -> Sequence[Path | np.ndarray]:
        """Some photos as they were before they were shrunk, as `ImagePreprocessor.blocks` takes them."""

    def candidates(self) -> np.ndarray:
        """The photos that are used, by their number, ascending."""
        return np.arange(len(self.y))

    # ------------------------------------------------------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        if self._is_set_up:
            return
        self.load()
        self.rows = self.split_rows()
        self._check_splits()
        sums = self.sums[self.rows["train"]]
        self.preprocessor = ImagePreprocessor.fit(self.size, sums, Target("", self.labels), self.standardize)
        self.augmentation = Augmentation(self.augment, self.preprocessor) if self.augment.changes else None
        self._is_set_up = True

    def split_rows(self) -> dict[str, np.ndarray]:
        """The photos of each split, by their number, ascending."""
        return self.dealt(self.candidates(), self.fractions)

    def dealt(self, numbers: np.ndarray, fractions: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Photos dealt out to the splits."""
        y = self.y[numbers].astype(np.int64)
        rows_of = dealt(y, fractions, self.folds, self.fold, self.seed)
        return {split: numbers[rows] for split, rows in rows_of.items()}

    def _check_splits(self) -> None:
        for split, counts in self.label_counts.items():
            if sum(counts) and not all(counts):
                present, absent = self.labels[int(counts[0] == 0)], self.labels[int(counts[0] != 0)]
                raise UserError(
                    f"data: {split} has {plural(sum(counts), 'photo')} of {present} and none of {absent} that can be "
                    f"used; add some, or change what goes to {split}."
                )
        if not len(self.rows["train"]):
            raise UserError("data: no photo is left for training.")

    def labels_of(self, split: str) -> np.ndarray:
        return np.asarray(self.y[self.rows[split]])

    def is_large(self, split: str) -> bool:
        return len(self.rows[split]) * len(CHANNELS) * self.size**2 * self.dtype.itemsize > IN_MEMORY_BYTES

    def served(self, split: str) -> Rows:
        rows, weight = self.rows[split], self.weights(split)
        y = torch.as_tensor(self.labels_of(split), dtype=self.dtype)
        if self.is_large(split):
            return MappedPhotos(self.pixels, rows, y, weight, self.preprocessor, self.dtype)
        pixels = torch.from_numpy(np.ascontiguousarray(self.pixels[rows]))
        return PhotosInMemory(self.preprocessor.normalised(pixels, self.dtype), y, weight)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"augment": asdict(self.augment)}

    def check_state(self, state: Mapping[str, Any] | None) -> None:
        super().check_state(state)
        if state is not None and state["batches"] and state["augment"] != asdict(self.augment):
            raise UserError(
                f"resume: the checkpoint stops inside a pass with data.augment={state['augment']}; go on with the same."
            )

    def describe(self) -> dict[str, Any]:
        return super().describe() | {
            "labels": {label: value for value, label in enumerate(self.labels)},
            "size": self.size,
            "augment": asdict(self.augment) if self.augmentation else None,
        }


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
