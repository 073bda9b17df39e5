"""Photos are decoded once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from logreg.data.images import pixel_store
from tests.data.images.photos import images, written


def entries(folder: Path) -> list[Path]:
    """What is in the cache of a folder of photos, without locks."""
    return sorted(path for path in (folder.parent / "cache").iterdir() if path.suffix != ".lock")


def pixels_by_pillow(folder: Path, size: int = 8) -> dict[str, np.ndarray]:
    by_path = {}
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as image:
            by_path[str(path)] = np.asarray(image.resize((size, size), Image.Resampling.BOX)).transpose(2, 0, 1)
    return by_path


def test_threads_and_processes_decode_the_same_as_pillow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cats" / "005.png").write_bytes(b"no photo")
    expected = pixels_by_pillow_but(folder, "005.png")
    monkeypatch.setattr(pixel_store, "TOGETHER", 3)
    caches = []
    for few in (128, 1):
        monkeypatch.setattr(pixel_store, "FEW", few)
        data = images(folder, skip_bad=True, cache_dir=str(folder.parent / f"cache{few}"))
        assert [str(path) for path in data.photos.files] == list(expected)
        assert np.array_equal(data.pixels, np.stack(list(expected.values())))
        caches.append((data.fingerprint, data.cached.files, data.cached.bad, data.cached.sums.tolist()))
    assert caches[0] == caches[1]


def pixels_by_pillow_but(folder: Path, bad: str) -> dict[str, np.ndarray]:
    """With zeros in the place of the first photo of this name."""
    path = next(iter(sorted(folder.rglob(bad))))
    content = path.read_bytes()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    by_path = pixels_by_pillow(folder)
    path.write_bytes(content)
    return by_path


def test_photos_are_decoded_once_whatever_seed_split_class_and_normalisation(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = images(folder)
    assert len(entries(folder)) == 1

    def never(*_: Any) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patched:
        patched.setattr(pixel_store, "write_pixels", never)
        others = [
            images(folder),
            images(folder, seed=2),
            images(folder, split={"train": 0.5, "val": 0.5}),
            images(folder, positive="cats"),
            images(folder, folds=5, fold=2),
            images(folder, standardize=False, augment={"flip": True}, batch_size=2),
        ]
    assert len(entries(folder)) == 1
    assert others[0].fingerprint == first.fingerprint == others[1].fingerprint
    assert others[3].fingerprint != first.fingerprint
    images(folder, size=9)
    assert len(entries(folder)) == 2


def test_another_photo_in_the_place_of_one_is_seen(folder: Path) -> None:
    first = images(folder)
    path = folder / "dogs" / "004.png"
    before = path.stat()
    written(path, seed=999)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    second = images(folder)
    assert second.fingerprint != first.fingerprint
    (changed,) = np.flatnonzero((second.pixels != first.pixels).any((1, 2, 3)))
    assert second.photos.files[changed] == path
    written(folder / "dogs" / "new.png", seed=1000)
    assert len(images(folder).y) == 21


def test_a_cache_that_was_cut_short_is_made_anew(folder: Path) -> None:
    first = images(folder)
    pixels = np.array(first.pixels)
    file = entries(folder)[0] / pixel_store.PIXELS
    file.write_bytes(file.read_bytes()[:-1])
    assert np.array_equal(images(folder).pixels, pixels)


def test_what_file_managers_leave_behind_is_no_photo(folder: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / "cats" / name).write_bytes(b"junk")
    (folder / ".hidden").mkdir()
    written(folder / "cats" / "below" / "deep.png", seed=77)
    (folder / "notes.txt").write_text("not in a class")
    data = images(folder)
    assert len(data.y) == 21
    assert data.labels == ("cats", "dogs")
