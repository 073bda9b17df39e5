"""`ImageFolderData`: photos in folders, one folder for each class."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from logreg.core.errors import UserError, plural
from logreg.core.options.photos import IMAGES, FolderOptions, PhotoOptions
from logreg.core.options.rows import SPLITS, ServingOptions, SplitOptions
from logreg.data.images.data import ImageData
from logreg.data.images.discover import Photos, find_photos
from logreg.data.images.pixel_store import CachedPhotos, cached_photos

log = logging.getLogger(__name__)


class ImageFolderData(ImageData):
    """Photos in folders, decoded once into a mapped file.

    Args:
        folder: where they are, which class is label 1, and where decoded photos are kept; see
            `logreg.data.FolderOptions`.
        serving: name, seed, batch size (by default 32) and standardisation; see `logreg.data.ServingOptions`.
        split: fractions of train, val and test, or folds; see `logreg.data.SplitOptions`.
        photos: the size that they are shrunk to, and random changes; see `logreg.data.PhotoOptions`.
    """

    def __init__(
        self,
        folder: FolderOptions,
        serving: ServingOptions = IMAGES,
        split: SplitOptions = SplitOptions(),
        photos: PhotoOptions = PhotoOptions(),
    ) -> None:
        super().__init__(serving, split, photos)
        self.folder = folder

    @cached_property
    def photos(self) -> Photos:
        """The files of the folder."""
        return find_photos(self.folder.path, self.folder.positive, self.folds)

    @cached_property
    def cached(self) -> CachedPhotos:
        """What the photos were decoded into, unless that had been done."""
        return cached_photos(self.photos.files, self.size, self.folder.skip_bad, Path(self.folder.cache_dir))

    def prepare_data(self) -> None:
        """Decode the photos into the cache, unless they are there; called once per machine by Lightning."""
        _ = self.cached

    def load(self) -> None:
        self.pixels, self.sums = self.cached.pixels, self.cached.sums
        self.y, self.labels = self.photos.y, self.photos.labels
        good = self.candidates()
        counts = np.bincount(self.y[good], minlength=2)
        for label, count in zip(self.labels, counts, strict=True):
            if not count:
                raise UserError(f"data.path={self.folder.path}: no file of the class {label} can be read as a photo.")
        zero, one = (f"{label} ({plural(int(n), 'photo')})" for label, n in zip(self.labels, counts, strict=True))
        log.info("1 is %s, 0 is %s", one, zero)

    def candidates(self) -> np.ndarray:
        return np.flatnonzero(self.cached.good)

    def split_rows(self) -> dict[str, np.ndarray]:
        numbers, splits = self.candidates(), self.photos.splits
        if splits is None:
            rows = super().split_rows()
        else:
            rows = {split: numbers[splits[numbers] == i] for i, split in enumerate(SPLITS)}
            if (splits != SPLITS.index("val")).all() and self.fractions["val"]:
                share = self.fractions["val"] / (self.fractions["train"] + self.fractions["val"])
                rows |= self.dealt(rows["train"], {"train": 1 - share, "val": share}) | {"test": rows["test"]}
        self._warn_of_copies(rows)
        return rows

    def _warn_of_copies(self, rows: Mapping[str, np.ndarray]) -> None:
        """Say which held-out photos training has seen: what is measured on them says little."""
        digests = np.asarray(self.cached.digests)
        for split in SPLITS[1:]:
            known = int(np.isin(digests[rows[split]], digests[rows["train"]]).sum())
            if known:
                log.warning(
                    "warning: data.path=%s: %s of %s also %s among the training photos, so that what is measured on %s "
                    "says less of photos that are new",
                    self.folder.path,
                    plural(known, "photo"),
                    split,
                    "is" if known == 1 else "are",
                    split,
                )

    @property
    def fingerprint(self) -> str:
        """Of pixels, classes and folders of splits."""
        digest = hashlib.sha256(self.cached.fingerprint.encode())
        digest.update(self.photos.y.tobytes())
        digest.update(b"" if self.photos.splits is None else self.photos.splits.tobytes())
        return f"sha256:{digest.hexdigest()[:32]}"

    def originals(self, numbers: Sequence[int]) -> list[Path]:
        return [self.photos.files[i] for i in numbers]

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"path": self.folder.path, "skipped": len(self.cached.bad)}
