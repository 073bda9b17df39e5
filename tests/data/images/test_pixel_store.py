"""Photos are decoded once; files that are no photos are named, and nothing is left of attempts that fail."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from logreg.data.images import decoding, pixel_store
from logreg.data.images.decoding import BadPhoto, pixels_of, read_rgb
from logreg.data.images.discover import find_photos, photos_below
from logreg.data.images.pixel_store import streamed
from tests.data.images.photos import class_folders, images, refusal, written
from tests.data.images.refusals import HALVES, UNREADABLE, left_over, refusal_of
from tests.data.images.test_decoding import encoded
from tests.helpers import write_photos


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


def test_a_cache_that_was_cut_short_is_made_again(folder: Path) -> None:
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


@pytest.fixture
def twelve(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "photos", 6)


BAD: dict[str, tuple[bytes, str]] = {
    "empty.png": (b"", "is no JPEG, PNG, WebP, BMP or GIF photo, or its beginning is damaged"),
    "text.jpg": (b"<html>not found</html>" * 20, "is no JPEG, PNG, WebP, BMP or GIF photo"),
    "picture.tiff": (encoded("TIFF"), "is no JPEG, PNG, WebP, BMP or GIF photo"),
    "other.jpg": (encoded("PPM"), "is no JPEG, PNG, WebP, BMP or GIF photo"),
    "zeros.jpg": (bytes(5000), "is no JPEG, PNG, WebP, BMP or GIF photo"),
    **{
        f"half.{format.lower()}": (encoded(format)[: len(encoded(format)) // 2], "is truncated or damaged (")
        for format in ("JPEG", "PNG", "WEBP", "BMP", "GIF")
    },
    "header.png": (encoded("PNG")[:20], "is truncated or damaged ("),
    "checksum.png": (encoded("PNG").replace(b"IHDR", b"IHDR\0", 1), "is "),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_whole_photo_is_named(twelve: Path, name: str) -> None:
    content, reason = BAD[name]
    (twelve / "dogs" / name).write_bytes(content)
    text = refusal_of(twelve)
    assert text.startswith(f"data.path: photos{os.sep}dogs{os.sep}{name} {reason}")
    assert text.endswith("; data.skip_bad=true leaves such files out.")


def test_the_first_bad_file_is_named_whoever_is_first_to_decode_it(
    twelve: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cats/003.png", "dogs/001.png", "dogs/005.png"):
        (twelve / name).write_bytes(b"no photo")
    monkeypatch.setattr(pixel_store, "TOGETHER", 1)
    for few in (100, 0):
        monkeypatch.setattr(pixel_store, "FEW", few)
        assert refusal_of(twelve).startswith(f"data.path: photos{os.sep}cats{os.sep}003.png is no JPEG")


@pytest.mark.parametrize("times", [1.5, 3])
def test_a_decompression_bomb_is_named(twelve: Path, monkeypatch: pytest.MonkeyPatch, times: float) -> None:
    written(twelve / "cats" / "bomb.png", height=100, width=100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(10_000 / times))
    text = refusal_of(twelve)
    assert text.startswith(
        f"data.path: photos{os.sep}cats{os.sep}bomb.png has more than {int(10_000 / times):,} pixels, which may be a "
        "decompression bomb"
    )
    assert len(images(twelve, skip_bad=True).rows["train"]) > 0


def test_what_the_system_says_of_a_file_is_passed_on(twelve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Image.open

    def refuse(path: Any, **settings: Any) -> Any:
        if str(path).endswith("002.png"):
            raise UNREADABLE
        if str(path).endswith("004.png"):
            raise MemoryError
        return real(path, **settings)

    monkeypatch.setattr(decoding.Image, "open", refuse)
    assert refusal_of(twelve).startswith(
        f"data.path: photos{os.sep}cats{os.sep}002.png cannot be read (Permission denied);"
    )
    data = images(twelve, skip_bad=True, split=HALVES)
    reasons = {reason for _, reason in data.cached.bad}
    assert reasons == {"cannot be read (Permission denied)", "does not fit into memory"}


def test_a_file_that_goes_away_before_it_is_looked_at(twelve: Path) -> None:
    photos = find_photos(str(twelve), None)
    (twelve / "cats" / "002.png").unlink()
    cache = twelve.parent / "cache"
    text = refusal(lambda: pixel_store.cached_photos(photos.files, 8, False, cache))
    assert text.endswith(
        "002.png cannot be read (No such file or directory); data.skip_bad=true leaves such files out."
    )
    with pytest.raises(BadPhoto, match=r"^cannot be read \(No such file"):
        read_rgb(twelve / "cats" / "002.png")


def test_skip_bad_leaves_files_out_and_counts_them(twelve: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("cats/001.png", "dogs/001.png", "dogs/002.png"):
        (twelve / name).write_bytes(b"no photo")
    for _ in range(2):  # decoded, and found in the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            data = images(twelve, skip_bad=True, split=HALVES)
        (record,) = (r for r in caplog.records if "left out" in r.getMessage())
        assert "data.path: 3 files of 12 cannot be read and are left out: " in record.getMessage()
        assert record.getMessage().count("001.png") == 2
    assert data.describe()["skipped"] == 3
    assert [sum(data.label_counts[split][label] for split in data.rows) for label in (0, 1)] == [5, 4]
    used = np.sort(np.concatenate(list(data.rows.values())))
    assert used.tolist() == [0, 2, 3, 4, 5, 6, 9, 10, 11]
    assert (data.pixels[[1, 7, 8]] == 0).all()
    train = data.pixels[data.rows["train"]].transpose(1, 0, 2, 3).reshape(3, -1) / 255
    np.testing.assert_allclose(data.preprocessor.mean, train.mean(1))


def test_many_bad_files_are_not_all_listed(twelve: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(8):
        (twelve / "cats" / f"bad{i}.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        images(twelve, skip_bad=True)
    (text,) = (r.getMessage() for r in caplog.records if "left out" in r.getMessage())
    assert "8 files of 20" in text
    assert text.endswith("; and 3 more")


def test_skip_bad_with_no_photo_of_a_class_left(twelve: Path) -> None:
    for path in (twelve / "cats").iterdir():
        path.write_bytes(b"no photo")
    text = refusal(lambda: images(twelve, skip_bad=True))
    assert text.endswith("photos: no file of the class cats can be read as a photo.")


def act_in(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], None], after: int = 0) -> None:
    """Something happens when a function is called for the time after a number of others."""
    real, calls = getattr(pixel_store, name), []

    def wrapped(*args: Any, **settings: Any) -> Any:
        calls.append(name)
        if len(calls) > after:
            act()
        return real(*args, **settings)

    monkeypatch.setattr(pixel_store, name, wrapped)


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize("error", [RuntimeError("in the middle"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("place", ["write_pixels", "_summed", "channel_sums"])
def test_nothing_is_left_of_an_attempt_that_failed(
    twelve: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, place: str
) -> None:
    monkeypatch.setattr(pixel_store, "TOGETHER", 2)
    with monkeypatch.context() as patched:
        act_in(patched, place, raising(error), after=2 if place == "write_pixels" else 0)
        with pytest.raises(type(error)):
            images(twelve)
    assert left_over(twelve) == []
    assert threading.active_count() < 20
    assert len(images(twelve).y) == 12


def test_a_full_disk_and_a_cache_that_cannot_be_written(twelve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patched:
        act_in(patched, "write_pixels", raising(full))
        assert refusal_of(twelve) == (
            "data.cache_dir=cache: no space is left for the prepared photos (No space left on device); free some or "
            "give another directory."
        )
    file = written(twelve.parent / "file.png")
    text = refusal(lambda: images(twelve, cache_dir=str(file)))
    assert text.startswith(f"data.cache_dir={file}: the prepared photos cannot be written there (")


def test_a_photo_that_is_changed_meanwhile(twelve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act_in(monkeypatch, "_summed", lambda: (twelve / "cats" / "000.png").write_bytes(b"other") and None)
    assert refusal_of(twelve) == "data.path: a photo was changed while it was being read; start again."


def test_an_attempt_that_was_killed_is_swept_away(twelve: Path) -> None:
    cache = twelve.parent / "cache"
    images(twelve)
    (cache / ".0123.part").mkdir()
    (cache / ".0123.part" / "x").write_bytes(b"half")
    images(twelve, size=5)
    assert not list(cache.glob(".*.part"))
    assert len(left_over(twelve)) == 2


def test_a_process_that_is_killed_is_told(twelve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_store, "FEW", 0)
    monkeypatch.setattr(pixel_store, "write_pixels", dies)
    assert refusal_of(twelve) == "data: a process that decodes photos was killed, perhaps as memory is short."


def dies(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


INTERRUPTED = """
import signal
import sys
from pathlib import Path
from logreg.data.images import pixel_store
from tests.data.images.refusals import lingers
from tests.helpers import image_folder

signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever runs the tests in the background ignores
if sys.argv[2] == "processes":
    pixel_store.FEW = 0
pixel_store.TOGETHER = 1
pixel_store.write_pixels = lingers
image_folder(path=sys.argv[1], cache_dir=str(Path(sys.argv[1]).parent / "cache")).prepare_data()
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_ctrl_c_leaves_nothing_behind(twelve: Path, backend: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(twelve), backend]
    root = Path(__file__).parents[3]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, start_new_session=True)
    target, deadline = twelve.parent / "cache", time.monotonic() + 60
    while not any(path.stat().st_blocks for path in target.glob(".*.part/x")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it to all of them
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert left_over(twelve) == []
    assert len(images(twelve).y) == 12


def test_photos_that_stream_by_are_named_and_left_out_too(
    twelve: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = photos_below(str(twelve))
    for i in (0, 7):
        files[i].write_bytes(b"no photo")
    assert refusal(lambda: list(streamed(files, 8, False))).endswith("data.skip_bad=true leaves such files out.")
    assert not refusal(lambda: list(streamed(files[:1], 8, False))).endswith("out.")
    monkeypatch.setattr(pixel_store, "TOGETHER", 3)
    with caplog.at_level(logging.WARNING):
        batches = list(streamed(files, 8, True))
    assert [i for numbers, _ in batches for i in numbers] == [i for i in range(12) if i not in (0, 7)]
    for numbers, pixels in batches:
        assert np.array_equal(pixels, np.stack([pixels_of(files[i], 8) for i in numbers]))
    assert "2 files of 12 cannot be read" in caplog.records[-1].getMessage()
    text = refusal(lambda: list(streamed([files[0], files[7]], 8, True)))
    assert text == "data.path: none of the 2 files can be read as a photo."


def test_what_was_skipped_is_refused_where_it_is_not_to_be_skipped(tmp_path: Path) -> None:
    """And a file that can be read again is found again, though its content did not change."""
    mixed = write_photos(tmp_path / "photos", {"a": 6, "b": 6})
    bad = mixed / "a" / "photo 0.jpg"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:200])
    assert len(images(mixed, skip_bad=True, split=HALVES).candidates()) == 11
    assert "photo 0.jpg" in refusal(lambda: images(mixed, split=HALVES))
    bad.write_bytes(whole)
    assert len(images(mixed, skip_bad=True, split=HALVES).candidates()) == 12
