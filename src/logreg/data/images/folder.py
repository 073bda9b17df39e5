"""`ImageFolderData`: photos in folders, one folder for each class."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from logreg.core.errors import UserError, plural
from logreg.data.images.data import ImageData
from logreg.data.images.discover import Photos, find_photos
from logreg.data.images.pixel_store import PreparedPhotos, prepare_photos
from logreg.data.labels import label_text
from logreg.data.splits import SPLITS

log = logging.getLogger(__name__)

DEFAULT_SPLIT = {"train": 0.8, "val": 0.1, "test": 0.1}


class ImageFolderData(ImageData):
    """Photos in folders, decoded once into a mapped file.

    Args:
        path: a folder with a folder for each of two classes; or with folders ``train``, ``val`` and ``test`` that have
            them. Where there is ``train`` and no ``val``, validation photos are taken from those of ``train``.
        positive: the class that is label 1; by default the obvious one, else the later in order.
        skip_bad: leave out files that cannot be read as photos, instead of refusing them.
        cache_dir: where prepared photos are kept.
    """

    def __init__(
        self,
        name: str = "images",
        seed: int = 0,
        batch_size: int | None = 32,
        split: Mapping[str, float] | None = None,
        standardize: bool = True,
        size: int = 32,
        augment: Mapping[str, Any] | None = None,
        folds: int | None = None,
        fold: int | None = None,
        *,
        path: str,
        positive: str | int | float | bool | None = None,
        skip_bad: bool = False,
        cache_dir: str = "outputs/cache",
    ) -> None:
        super().__init__(name, seed, batch_size, split or DEFAULT_SPLIT, standardize, size, augment, folds, fold)
        self.path, self.positive, self.skip_bad = path, label_text(positive), skip_bad
        self.cache_dir = Path(cache_dir)
        self.photos: Photos | None = None
        self.prepared: PreparedPhotos | None = None

    def prepare_data(self) -> None:
        """Decode the photos into the cache, unless they are there; called once per machine by Lightning."""
        if self.prepared is not None:
            return
        self.photos = find_photos(self.path, self.positive)
        if self.photos.splits is not None and self.folds is not None:
            raise UserError(f"data.folds: {self.path} has folders for its splits; leave data.folds out.")
        self.prepared = prepare_photos(self.photos.files, self.size, self.skip_bad, self.cache_dir)

    @property
    def found(self) -> tuple[Photos, PreparedPhotos]:
        """The files, and what they were decoded into."""
        self.prepare_data()
        assert self.photos is not None
        assert self.prepared is not None
        return self.photos, self.prepared

    def load(self) -> None:
        photos, prepared = self.found
        self.pixels, self.sums = prepared.pixels, prepared.sums
        self.y, self.labels = photos.y, photos.labels
        good = self.candidates()
        counts = np.bincount(self.y[good], minlength=2)
        for label, count in zip(self.labels, counts, strict=True):
            if not count:
                raise UserError(f"data.path={self.path}: no file of the class {label} can be read as a photo.")
        zero, one = (f"{label} ({plural(int(n), 'photo')})" for label, n in zip(self.labels, counts, strict=True))
        log.info("1 is %s, 0 is %s", one, zero)

    def candidates(self) -> np.ndarray:
        return np.flatnonzero(self.found[1].good)

    def split_rows(self) -> dict[str, np.ndarray]:
        numbers, splits = self.candidates(), self.found[0].splits
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
        digests = np.asarray(self.found[1].digests)
        for split in SPLITS[1:]:
            known = int(np.isin(digests[rows[split]], digests[rows["train"]]).sum())
            if known:
                log.warning(
                    "warning: data.path=%s: %s of %s also %s among the training photos, so that what is measured on %s "
                    "says less of photos that are new",
                    self.path,
                    plural(known, "photo"),
                    split,
                    "is" if known == 1 else "are",
                    split,
                )

    @property
    def fingerprint(self) -> str:
        """Of pixels, classes and folders of splits."""
        photos, prepared = self.found
        digest = hashlib.sha256(prepared.manifest.fingerprint.encode())
        digest.update(photos.y.tobytes())
        digest.update(b"" if photos.splits is None else photos.splits.tobytes())
        return f"sha256:{digest.hexdigest()[:32]}"

    def originals(self, numbers: Sequence[int]) -> list[Path]:
        return [self.found[0].files[i] for i in numbers]

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"path": self.path, "skipped": len(self.found[1].manifest.bad)}
