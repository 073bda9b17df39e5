"""The photos of a run, decoded again, to compare an export on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule

from logreg.build import build
from logreg.data.image_data import ImageData
from logreg.data.images.decoding import BadPhoto, read_rgb
from logreg.data.images.folders import photos_below
from logreg.errors import UserError
from logreg.runs import Run

MOST_PHOTOS = 200
TOGETHER = 8  # photos of one size
TOGETHER_BYTES = 2**24
OTHER = "Give data.path=<photo or folder of photos> to compare the export on others."


class ComparedPhotos:
    """Photos spread evenly over all, those of one size that follow each other together; can be iterated over again.

    Args:
        photos: paths, or arrays (height, width, 3) of uint8.
        total: how many there are, of which these were chosen.
        key: where they come from, for errors.

    Attributes:
        count: photos of all batches together.
    """

    def __init__(self, photos: Sequence[Any], total: int, key: str) -> None:
        self.photos, self.total, self.key, self.count = photos, total, key, len(photos)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Batches of (photos, height, width, 3) uint8."""
        for shape, several in groupby(map(self._decoded, self.photos), key=np.shape):
            most = max(1, min(TOGETHER, TOGETHER_BYTES // int(np.prod(shape))))
            batch: list[np.ndarray] = []
            for photo in several:
                batch.append(photo)
                if len(batch) == most:
                    yield np.stack(batch)
                    batch = []
            if batch:
                yield np.stack(batch)

    def _decoded(self, photo: Any) -> np.ndarray:
        if isinstance(photo, np.ndarray):
            return photo
        try:
            return np.asarray(read_rgb(photo))
        except BadPhoto as reason:
            raise UserError(f"{self.key}: {photo} {reason}.{'' if self.key == 'data.path' else f' {OTHER}'}") from None


def spread(total: int) -> range:
    """Numbers of photos to compare on, evenly spread over so many."""
    return range(0, total, max(1, -(-total // MOST_PHOTOS)))


def photos_of(run: Run, data_path: str | None = None, trusted: Sequence[str] = ()) -> ComparedPhotos:
    """The run's own photos as they were before they were shrunk; or a photo, or those of a folder.

    Raises:
        UserError: there are none, or they are not there any more.
    """
    if data_path is not None:
        files: list[Path] = photos_below(data_path)
        return ComparedPhotos([files[i] for i in spread(len(files))], len(files), "data.path")
    data = build(run.config["data"], LightningDataModule, "data", trusted)
    if not isinstance(data, ImageData):
        raise UserError(f"run={run.directory}: the photos of {type(data).__name__} cannot be read again. {OTHER}")
    try:
        data.prepare_data()
        data.load()
    except UserError as error:
        raise UserError(f"{error} {OTHER}") from error
    numbers = data.candidates()
    chosen = [int(numbers[i]) for i in spread(len(numbers))]
    return ComparedPhotos(data.originals(chosen), len(numbers), f"run={run.directory}")
