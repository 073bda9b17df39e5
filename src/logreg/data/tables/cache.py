"""The prepared table on disk: made once, found again by what it was made from, mapped into memory by training.

A table is written into a folder that is renamed when it is complete, so that one that is found is whole; a lock lets
one run prepare it while others wait.
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
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from logreg.data.preprocessing import Preprocessor
from logreg.errors import UserError

log = logging.getLogger(__name__)

# Part of every key: a table prepared by another version of this room is not read.
VERSION = 5
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a prepared table is.

    Attributes:
        rows: in each split.
        labels: rows of label 0 and 1 in each split.
        total: rows of the matrix, whatever split they are in.
        width: features.
        values: stored values of a sparse matrix.
        dtype: of the matrix.
        fingerprint: of the sources' content.
        files: their sizes in bytes.
    """

    rows: dict[str, int]
    labels: dict[str, list[int]]
    total: int
    width: int
    dtype: str
    sparse: bool
    weighted: bool
    preprocessing: str
    fingerprint: str
    values: int = 0
    grouped: bool = False
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PreparedTable:
    """A prepared table, its arrays mapped when they are asked for."""

    folder: Path
    manifest: Manifest

    @cached_property
    def preprocessor(self) -> Preprocessor:
        return Preprocessor.from_json(self.manifest.preprocessing)

    def array(self, name: str, dtype: Any, *shape: int) -> np.ndarray:
        """Mapped privately: a page that is only read stays the file's."""
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(self.folder / name, dtype=dtype, mode="c", shape=shape)

    @property
    def x(self) -> np.ndarray:
        return self.array("x", self.manifest.dtype, self.manifest.total, self.manifest.width)

    @property
    def y(self) -> np.ndarray:
        return self.array("y", np.int8, self.manifest.total)

    @property
    def weight(self) -> np.ndarray | None:
        return self.array("weight", np.float64, self.manifest.total) if self.manifest.weighted else None

    @property
    def group(self) -> np.ndarray | None:
        """A hash of each row's group."""
        return self.array("group", np.uint64, self.manifest.total) if self.manifest.grouped else None

    def rows(self, split: str) -> np.ndarray:
        """The row numbers of a split, ascending."""
        return self.array(f"rows_{split}", np.int64, self.manifest.rows[split])

    @property
    def csr(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where each row begins, and the columns and values of the entries."""
        m = self.manifest
        return (
            self.array("indptr", np.int64, m.total + 1),
            self.array("indices", np.int32, m.values),
            self.array("values", m.dtype, m.values),
        )


def key_of(settings: Any) -> str:
    """The name of the folder for tables prepared from these settings."""
    text = json.dumps([VERSION, settings], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)


def find(folder: Path) -> PreparedTable | None:
    """The table in a folder, if it is there and whole."""
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        whole = all((folder / name).stat().st_size == size for name, size in manifest.files.items())
    except (OSError, ValueError, TypeError):
        return None
    return PreparedTable(folder, manifest) if whole else None


def prepared(cache: Path, key: str, make: Callable[[Path], Manifest]) -> tuple[PreparedTable, bool]:
    """The table of this key, made if need be, and whether it had to be made.

    Args:
        make: writes its arrays into the folder it is given.

    Raises:
        UserError: the cache cannot be written, or what ``make`` raises; nothing is left of the attempt.
    """
    folder = cache / key
    if (table := find(folder)) is not None:
        return table, False
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{key}.lock"):
            if (table := find(folder)) is not None:
                return table, False
            _sweep(cache)
            return _made(cache, folder, make), True
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f"data.cache_dir={cache}: no space is left for the prepared table ({error.strerror}); free some or "
                "give another directory."
            ) from error
        what = error.strerror or str(error) or type(error).__name__
        if error.filename is not None and not Path(error.filename).absolute().is_relative_to(cache.absolute()):
            raise UserError(f"{error.filename}: the file cannot be read ({what}).") from error
        raise UserError(f"data.cache_dir={cache}: the prepared table cannot be written there ({what}).") from error


def _sweep(cache: Path) -> None:
    """Remove what runs left behind that were killed while they prepared other tables."""
    for part in cache.glob(".*.part"):
        lock = cache / f"{part.name[1:].removesuffix('.part')}.lock"
        with contextlib.suppress(OSError), lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody is at work there
            shutil.rmtree(part, ignore_errors=True)


def _made(cache: Path, folder: Path, make: Callable[[Path], Manifest]) -> PreparedTable:
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
    table = find(folder)
    if table is None:
        raise UserError(f"data.cache_dir={cache}: the prepared table was changed while it was being written.")
    return table


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that a crash gives back."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another run that prepares the same table")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
