"""Photos decoded by all processors: a few at a time and in order, or once into a mapped file; see `logreg.data.cache`.

What is kept does not depend on the split, the positive class or the normalisation, so that a sweep over them decodes
nothing again. Sums of pixels, and of their squares, are kept of each photo: they are whole numbers, and give the
statistics of any choice of photos exactly.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import PIL
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from tqdm import tqdm

from logreg.core.errors import UserError, plural
from logreg.data.cache import CacheEntry, key_of
from logreg.data.images.decoding import CHANNELS, read_pixels, write_pixels

log = logging.getLogger(__name__)

VERSION = ("images", 1)
PIXELS, SUMS, DIGESTS = "x", "sums", "digests"
SUMMED_TOGETHER = 2**12
TOGETHER = 16  # photos of a task
FEW = 128  # photos for which it takes longer to start processes than to decode them in threads
MOST_NAMED = 5

# What joblib says where it is stopped at the first file that cannot be read.
warnings.filterwarnings("ignore", message=r"\d+ tasks (have been successfully executed|which were still being)")

Result = TypeVar("Result")
Bad = tuple[int, str]  # number of a photo, and why it cannot be read


@dataclass(frozen=True, kw_only=True)
class CachedPhotos(CacheEntry):
    """Photos of a folder, in the order of their files.

    Attributes:
        total: photos, with those that could not be read.
        size: their side in pixels.
        fingerprint: of the pixels.
        bad: number and reason of each photo that could not be read; its pixels are all 0.
    """

    total: int
    size: int
    fingerprint: str
    bad: list[Bad]
    what: ClassVar[str] = "photos"

    @property
    def pixels(self) -> np.ndarray:
        """(photos, 3, size, size) uint8."""
        return self.array(PIXELS, np.uint8, self.total, len(CHANNELS), self.size, self.size)

    @property
    def sums(self) -> np.ndarray:
        """Of each photo's pixels by channel, and of their squares, (photos, 2, 3) int64."""
        return self.array(SUMS, np.int64, self.total, 2, len(CHANNELS))

    @property
    def digests(self) -> np.ndarray:
        """Equal for photos of equal pixels, (photos,) uint64."""
        return self.array(DIGESTS, np.uint64, self.total)

    @property
    def good(self) -> np.ndarray:
        """Whether each photo could be read, (photos,)."""
        readable = np.ones(self.total, dtype=bool)
        readable[[number for number, _ in self.bad]] = False
        return readable


def cached_photos(files: Sequence[Path], size: int, skip_bad: bool, cache_dir: Path) -> CachedPhotos:
    """Decode photos, unless that has been done.

    Args:
        skip_bad: go on without those that cannot be read.

    Raises:
        UserError: a file cannot be read as a photo, or the cache cannot be written.
    """
    state = _state(files)
    name = key_of((*VERSION, PIL.__version__), {"files": state, "size": size})  # versions decode otherwise

    def make(folder: Path) -> CachedPhotos:
        photos = _decoded(files, size, skip_bad, folder)
        if _state(files) != state:
            raise UserError("data.path: a photo was changed while it was being read; start again.")
        return photos

    photos, is_new = CachedPhotos.opened_or_written(cache_dir, name, make)
    if photos.bad and not skip_bad:
        raise _refusal(files, photos.bad[0])
    _warn_of_bad(files, photos.bad)
    log.info("%s %s", "prepared" if is_new else "found prepared", photos.folder)
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


def _decoded(files: Sequence[Path], size: int, skip_bad: bool, folder: Path) -> CachedPhotos:
    total, target = len(files), folder / PIXELS
    with target.open("wb") as file:
        file.truncate(total * len(CHANNELS) * size * size)
    bad: list[Bad] = []
    with closing(in_parallel(write_pixels, files, size, str(target))) as written:  # before the folder goes away
        for _, unreadable in written:
            bad += unreadable
            if bad and not skip_bad:
                raise _refusal(files, bad[0])
    return _summed(total, size, folder, bad)


def _summed(total: int, size: int, folder: Path, bad: list[Bad]) -> CachedPhotos:
    pixels = np.memmap(folder / PIXELS, dtype=np.uint8, mode="r", shape=(total, len(CHANNELS), size * size))
    fingerprint = hashlib.sha256(f"{size} {[number for number, _ in bad]}".encode())
    with (folder / SUMS).open("wb") as sums, (folder / DIGESTS).open("wb") as digests:
        for first in range(0, total, SUMMED_TOGETHER):
            x = np.asarray(pixels[first : first + SUMMED_TOGETHER])
            sums.write(channel_sums(x).tobytes())
            of_photos = b"".join(hashlib.blake2b(photo, digest_size=8).digest() for photo in x)
            digests.write(of_photos)
            fingerprint.update(of_photos)
    digest = f"sha256:{fingerprint.hexdigest()[:32]}"
    return CachedPhotos(folder=folder, total=total, size=size, fingerprint=digest, bad=bad)


def channel_sums(x: np.ndarray) -> np.ndarray:
    """Of the pixels (photos, 3, pixels) uint8 of each photo, and of their squares, (photos, 2, 3) int64."""
    wide = x.astype(np.int64)
    return np.stack([wide.sum(2), np.square(wide).sum(2)], axis=1)


def in_parallel(
    task: Callable[..., Result], files: Sequence[Path], *settings: int | str
) -> Generator[tuple[range, Result]]:
    """What ``task(paths, *settings, first number)`` returns for a few files at a time, in their order.

    Args:
        task: is sent to other processes, where there are many files.

    Raises:
        UserError: one of the processes was killed.
    """
    total = len(files)
    firsts = [range(i, min(total, i + TOGETHER)) for i in range(0, total, TOGETHER)]
    tasks = (delayed(task)([str(files[i]) for i in numbers], *settings, numbers.start) for numbers in firsts)
    backend = "threading" if total <= FEW else "loky"
    bar = tqdm(total=total, unit=" photos", desc="decoding", disable=not sys.stderr.isatty(), leave=False)
    with bar, Parallel(n_jobs=-1, backend=backend, return_as="generator") as parallel:
        results = parallel(tasks)
        try:
            for numbers, result in zip(firsts, results, strict=True):
                bar.update(len(numbers))
                yield numbers, result
        except BrokenProcessPool as error:
            raise UserError("data: a process that decodes photos was killed, perhaps as memory is short.") from error
        finally:
            results.close()
            if backend == "loky":  # whose processes would stay, beside the training
                get_reusable_executor().shutdown()


def streamed(files: Sequence[Path], size: int, skip_bad: bool) -> Iterator[tuple[list[int], np.ndarray]]:
    """Numbers of files, and their pixels (photos, 3, size, size) uint8.

    Args:
        skip_bad: go on without those that cannot be read.

    Raises:
        UserError: a file cannot be read as a photo, or none can.
    """
    bad: list[Bad] = []
    with closing(in_parallel(read_pixels, files, size)) as decoded:
        for numbers, (pixels, unreadable) in decoded:
            bad += unreadable
            if bad and not skip_bad:
                raise _refusal(files, bad[0])
            reasons = dict(unreadable)
            good = [i for i in numbers if i not in reasons]
            if good:
                yield good, pixels[[i - numbers.start for i in good]]
    _warn_of_bad(files, bad)
    if len(bad) == len(files):
        raise UserError(f"data.path: none of the {len(files)} files can be read as a photo.")


def _refusal(files: Sequence[Path], bad: Bad) -> UserError:
    number, reason = bad
    others = "; data.skip_bad=true leaves such files out" if len(files) > 1 else ""
    return UserError(f"data.path: {files[number]} {reason}{others}.")


def _warn_of_bad(files: Sequence[Path], bad: Sequence[Bad]) -> None:
    if not bad:
        return
    named = "; ".join(f"{files[number]} {reason}" for number, reason in bad[:MOST_NAMED])
    more = f"; and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
    left_out = (
        f"{plural(len(bad), 'file')} of {len(files)} cannot be read and {'is' if len(bad) == 1 else 'are'} left out"
    )
    log.warning("warning: data.path: %s: %s%s", left_out, named, more)
