"""Arrays that are made from files once, found again by what they were made from, and mapped into memory by training.

They are written into a folder that gets its name when it is complete, so that a folder that exists is complete. A lock
lets one run make it while others wait.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from filelock import FileLock, Timeout

from logreg.core.errors import UserError

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)  # Windows has no quotas


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """A folder of arrays, mapped when they are asked for; one subclass for each kind of data.

    Its fields but the folder are the manifest, a file beside the arrays.

    Attributes:
        files: their sizes in bytes.
        what: the word for it in messages.
    """

    folder: Path
    files: dict[str, int] = field(default_factory=dict)
    what: ClassVar[str]

    @classmethod
    def opened(cls, folder: Path) -> Self | None:
        """The entry in a folder, if it is complete."""
        try:
            entry = cls(folder=folder, **json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
            complete = all((folder / name).stat().st_size == size for name, size in entry.files.items())
        except (OSError, ValueError, TypeError):
            return None
        return entry if complete else None

    @classmethod
    def opened_or_written(cls, cache: Path, key: str, make: Callable[[Path], Self]) -> tuple[Self, bool]:
        """The entry of a key, and whether it had to be made.

        Args:
            make: writes the arrays into the folder it is given.

        Raises:
            UserError: the cache cannot be written, or what ``make`` raises; nothing is left of the attempt.
        """
        folder = cache / key
        if (entry := cls.opened(folder)) is not None:
            return entry, False
        try:
            cache.mkdir(parents=True, exist_ok=True)
            lock = FileLock(cache / f"{key}.lock")  # which a crash gives back
            try:
                acquired = lock.acquire(blocking=False)
            except Timeout:
                log.info("waiting for another run that prepares the same %s", cls.what)
                acquired = lock.acquire()
            with acquired:
                if (entry := cls.opened(folder)) is not None:  # another run has made it meanwhile
                    return entry, False
                _remove_abandoned(cache)
                return cls._written(folder, make), True
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            if error.errno in NO_SPACE:
                raise UserError(
                    f"data.cache_dir={cache}: no space is left for the prepared {cls.what} ({reason}); free some or "
                    "give another directory."
                ) from error
            if error.filename is not None and not Path(error.filename).absolute().is_relative_to(cache.absolute()):
                raise UserError(f"{error.filename}: the file cannot be read ({reason}).") from error
            raise UserError(
                f"data.cache_dir={cache}: the prepared {cls.what} cannot be written there ({reason})."
            ) from error

    @classmethod
    def _written(cls, folder: Path, make: Callable[[Path], Self]) -> Self:
        part = folder.with_name(f".{folder.name}.part")
        # Whatever is there was left by a run that was killed: this run has the lock.
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        part.mkdir()
        try:
            manifest = asdict(make(part))
            del manifest["folder"]
            manifest["files"] = {path.name: path.stat().st_size for path in part.iterdir()}
            text = json.dumps(manifest, indent=1, ensure_ascii=False)
            (part / MANIFEST).write_text(text + "\n", encoding="utf-8")
            os.rename(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        if (entry := cls.opened(folder)) is None:
            raise UserError(
                f"data.cache_dir={folder.parent}: the prepared {cls.what} was changed while it was being written."
            )
        return entry

    def array(self, name: str, dtype: np.typing.DTypeLike, *shape: int) -> np.ndarray:
        """Mapped privately: a page that is only read stays the file's."""
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(self.folder / name, dtype=dtype, mode="c", shape=shape)


def key_of(*settings: object) -> str:
    """The name of the folder for what is made from these settings."""
    text = json.dumps(settings, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: object) -> object:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)  # type: ignore[call-overload]


def _remove_abandoned(cache: Path) -> None:
    """Remove what runs left behind that were killed while they made other entries."""
    for part in cache.glob(".*.part"):
        key = part.name[1:].removesuffix(".part")
        with contextlib.suppress(OSError), FileLock(cache / f"{key}.lock", timeout=0):  # nobody is at work there
            shutil.rmtree(part, ignore_errors=True)
