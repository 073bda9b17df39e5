"""Photos that tests write, and what Pillow alone makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from logreg.core.errors import UserError
from logreg.data import ImageFolderData
from tests.helpers import image_folder


def picture(seed: int, height: int = 24, width: int = 36) -> np.ndarray:
    """A photo that nobody took, (height, width, 3) uint8: noise on a slope, so that no two corners are alike."""
    random = np.random.default_rng(seed)
    slope = np.linspace(0, 150, height)[:, None, None] + np.linspace(0, 60, width)[:, None] + np.array([0, 15, 30])
    return (slope + random.integers(0, 16, (height, width, 3))).astype(np.uint8)


def written(path: Path, seed: int = 0, **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, **settings)).save(path)
    return path


def class_folders(folder: Path, each: int = 10, classes: tuple[str, ...] = ("cats", "dogs"), first: int = 0) -> Path:
    """A folder for each class with as many photos, all of them different."""
    for number, name in enumerate(classes):
        for i in range(each):
            written(folder / name / f"{i:03}.png", seed=first + number * each + i)
    return folder


def images(path: Path, **settings: Any) -> ImageFolderData:
    """The data of a folder, prepared, with a cache beside the folder."""
    settings = {"size": 8, "seed": 1, "batch_size": 4, "cache_dir": str(path.parent / "cache")} | settings
    data = image_folder(path=str(path), **settings)
    data.prepare_data()
    data.setup()
    return data


def refusal(act: Callable[[], Any]) -> str:
    """The one sentence by which something is refused."""
    with pytest.raises(UserError) as refused:
        act()
    text = str(refused.value)
    assert len(text.splitlines()) == 1
    assert text.endswith(".")
    assert not text.endswith("..")
    return text
