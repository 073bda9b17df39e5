"""Folders of photos that are refused."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

from logreg.data.images import decoding
from tests.data.images.photos import images, refusal

HALVES = {"train": 0.5, "val": 0.5}


UNREADABLE = PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # root may read everything


def refusal_of(folder: Path, **settings: Any) -> str:
    """The refusal of a folder, which leaves nothing behind; paths are shown from the folder's parent on."""
    text = refusal(lambda: images(folder, **settings))
    assert left_over(folder) == []
    return text.replace(f"{folder.parent}{os.sep}", "")


def left_over(folder: Path) -> list[Path]:
    """Everything in the cache but locks, which are empty."""
    cache = folder.parent / "cache"
    files = list(cache.iterdir()) if cache.exists() else []
    assert all(path.stat().st_size == 0 for path in files if path.suffix == ".lock")
    return [path for path in files if path.suffix != ".lock"]


def lingers(paths: list[str], size: int, target: str, first: int) -> list[tuple[int, str]]:
    """`write_pixels`, slowly."""
    time.sleep(1)
    return decoding.write_pixels(paths, size, target, first)
