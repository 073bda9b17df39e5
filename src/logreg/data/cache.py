"""What is prepared from files: made once, found again by what it was made from, mapped into memory by training.

It is written into a folder that is renamed when it is complete, so that one that is found is whole; a lock lets one run
prepare it while others wait.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from logreg.core.errors import UserError

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Prepared:
    """A folder of arrays, mapped when they are asked for.

    Attributes:
        manifest: what is in it, one of ``Manifest``; its ``files`` are sizes in bytes.
        what: the word for it in messages.
    """

    folder: Path
    manifest: Any

    Manifest: ClassVar[type]
    what: ClassVar[str]

    def array(self, name: str, dtype: Any, *shape: int) -> np.ndarray:
        """Mapped privately: a page that is only read stays the file's."""
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(self.folder / name, dtype=dtype, mode="c", shape=shape)


P = TypeVar("P", bound=Prepared)


def key_of(version: Any, settings: Any) -> str:
    """The name of the folder for what is prepared from these settings by this version of the code."""
    text = json.dumps([version, settings], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)


def find(folder: Path, kind: type[P]) -> P | None:
    """What is in a folder, if it is there and whole."""
    try:
        manifest = kind.Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        whole = all((folder / name).stat().st_size == size for name, size in manifest.files.items())
    except (OSError, ValueError, TypeError):
        return None
    return kind(folder, manifest) if whole else None


def prepared(cache: Path, key: str, make: Callable[[Path], Any], kind: type[P]) -> tuple[P, bool]:
    """What has this key, made if need be, and whether it had to be made.

    Args:
        make: writes its arrays into the folder it is given; returns the manifest.

    Raises:
        UserError: the cache cannot be written, or what ``make`` raises; nothing is left of the attempt.
    """
    folder = cache / key
    if (found := find(folder, kind)) is not None:
        return found, False
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{key}.lock", kind.what):
            if (found := find(folder, kind)) is not None:
                return found, False
            _sweep(cache)
            return _made(cache, folder, make, kind), True
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f"data.cache_dir={cache}: no space is left for the prepared {kind.what} ({error.strerror}); free "
                "some or give another directory."
            ) from error
        what = error.strerror or str(error) or type(error).__name__
        if error.filename is not None and not Path(error.filename).absolute().is_relative_to(cache.absolute()):
            raise UserError(f"{error.filename}: the file cannot be read ({what}).") from error
        raise UserError(
            f"data.cache_dir={cache}: the prepared {kind.what} cannot be written there ({what})."
        ) from error


def _sweep(cache: Path) -> None:
    """Remove what runs left behind that were killed while they prepared others."""
    for part in cache.glob(".*.part"):
        lock = cache / f"{part.name[1:].removesuffix('.part')}.lock"
        with contextlib.suppress(OSError), lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody is at work there
            shutil.rmtree(part, ignore_errors=True)


def _made(cache: Path, folder: Path, make: Callable[[Path], Any], kind: type[P]) -> P:
    part = cache / f".{folder.name}.part"
    # What is there was left by a run that was killed: nobody else works on it while this run has the lock.
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    part.mkdir()
    try:
        manifest = make(part)
        files = {path.name: path.stat().st_size for path in part.iterdir()}
        text = json.dumps(asdict(manifest) | {"files": files}, indent=1, ensure_ascii=False)
        (part / MANIFEST).write_text(text + "\n", encoding="utf-8")
        os.rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    found = find(folder, kind)
    if found is None:
        raise UserError(f"data.cache_dir={cache}: the prepared {kind.what} was changed while it was being written.")
    return found


@contextlib.contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock that a crash gives back."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another run that prepares the same %s", what)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
