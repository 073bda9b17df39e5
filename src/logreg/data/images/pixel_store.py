"""Photos decoded once, by all processors, into a mapped file; see `logreg.data.cache`.

What is kept does not depend on the split, the positive class or the normalisation, so that a sweep over them decodes
nothing again. Sums of pixels, and of their squares, are kept of each photo: they are whole numbers, and give the
statistics of any choice of photos exactly.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import PIL

from logreg.core.errors import UserError
from logreg.data.cache import CacheEntry, Manifest, key_of
from logreg.data.images.decoding import CHANNELS, write_pixels
from logreg.data.images.streaming import Bad, in_parallel, refusal, warn_of_bad

log = logging.getLogger(__name__)

VERSION = ("images", 1)
PIXELS, SUMS, DIGESTS = "x", "sums", "digests"
SUMMED_TOGETHER = 2**12


@dataclass(frozen=True)
class PhotoManifest(Manifest):
    """What decoded photos are.

    Attributes:
        total: photos, with those that could not be read.
        size: their side in pixels.
        fingerprint: of the pixels.
        bad: number and reason of each photo that could not be read; its pixels are all 0.
    """

    total: int
    size: int
    fingerprint: str
    bad: list[tuple[int, str]]


@dataclass(frozen=True)
class CachedPhotos(CacheEntry[PhotoManifest]):
    """Photos of a folder, in the order of their files."""

    manifest_type: ClassVar[type[Manifest]] = PhotoManifest
    what: ClassVar[str] = "photos"

    @property
    def pixels(self) -> np.ndarray:
        """(photos, 3, size, size) uint8."""
        m = self.manifest
        return self.array(PIXELS, np.uint8, m.total, len(CHANNELS), m.size, m.size)

    @property
    def sums(self) -> np.ndarray:
        """Of each photo's pixels by channel, and of their squares, (photos, 2, 3) int64."""
        return self.array(SUMS, np.int64, self.manifest.total, 2, len(CHANNELS))

    @property
    def digests(self) -> np.ndarray:
        """Equal for photos of equal pixels, (photos,) uint64."""
        return self.array(DIGESTS, np.uint64, self.manifest.total)

    @property
    def good(self) -> np.ndarray:
        """Whether each photo could be read, (photos,)."""
        readable = np.ones(self.manifest.total, dtype=bool)
        readable[[number for number, _ in self.manifest.bad]] = False
        return readable


def cached_photos(
    files: Sequence[Path], size: int, skip_bad: bool, cache_dir: Path, key: str = "data.path"
) -> CachedPhotos:
    """Decode photos, unless that has been done.

    Args:
        skip_bad: go on without those that cannot be read.

    Raises:
        UserError: a file cannot be read as a photo, or the cache cannot be written.
    """
    state = _state(files)
    name = key_of((*VERSION, PIL.__version__), {"files": state, "size": size})  # versions decode otherwise

    def make(folder: Path) -> PhotoManifest:
        manifest = _decoded(files, size, skip_bad, folder, key)
        if _state(files) != state:
            raise UserError(f"{key}: a photo was changed while it was being read; start again.")
        return manifest

    photos, made = CachedPhotos.opened_or_made(cache_dir, name, make)
    if photos.manifest.bad and not skip_bad:
        raise refusal(files, photos.manifest.bad[0], key)
    warn_of_bad(files, photos.manifest.bad, key)
    log.info("%s %s", "prepared" if made else "found prepared", photos.folder)
    return photos


def _state(files: Sequence[Path]) -> list[list[str | int]]:
    """What shows on disk that a file is another one; one that cannot be read is refused later, with its reason."""
    states: list[list[str | int]] = []
    for path in files:
        states.append([str(path.absolute())])
        with contextlib.suppress(OSError):
            s = path.stat()
            states[-1] += [s.st_size, s.st_mtime_ns, s.st_ctime_ns]  # ctime tells of permissions, too
    return states


def _decoded(files: Sequence[Path], size: int, skip_bad: bool, folder: Path, key: str) -> PhotoManifest:
    total, target = len(files), folder / PIXELS
    with target.open("wb") as file:
        file.truncate(total * len(CHANNELS) * size * size)
    bad: list[Bad] = []
    with closing(in_parallel(write_pixels, files, size, str(target))) as written:  # before the folder goes away
        for _, unreadable in written:
            bad += unreadable
            if bad and not skip_bad:
                raise refusal(files, bad[0], key)
    return _summed(total, size, folder, bad)


def _summed(total: int, size: int, folder: Path, bad: list[tuple[int, str]]) -> PhotoManifest:
    pixels = np.memmap(folder / PIXELS, dtype=np.uint8, mode="r", shape=(total, len(CHANNELS), size * size))
    fingerprint = hashlib.sha256(f"{size} {[number for number, _ in bad]}".encode())
    with (folder / SUMS).open("wb") as sums, (folder / DIGESTS).open("wb") as digests:
        for first in range(0, total, SUMMED_TOGETHER):
            x = np.asarray(pixels[first : first + SUMMED_TOGETHER])
            sums.write(channel_sums(x).tobytes())
            of_photos = b"".join(hashlib.blake2b(photo, digest_size=8).digest() for photo in x)
            digests.write(of_photos)
            fingerprint.update(of_photos)
    return PhotoManifest(total, size, f"sha256:{fingerprint.hexdigest()[:32]}", bad)


def channel_sums(x: np.ndarray) -> np.ndarray:
    """Of the pixels (photos, 3, pixels) uint8 of each photo, and of their squares, (photos, 2, 3) int64."""
    wide = x.astype(np.int64)
    return np.stack([wide.sum(2), np.square(wide).sum(2)], axis=1)
