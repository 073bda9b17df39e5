"""Files that are no photos, and attempts to decode that fail."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
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
from tests.data.images.photos import class_folders, images, picture, refusal, written
from tests.data.images.refusals import HALVES, UNREADABLE, left_over, refusal_of
from tests.helpers import write_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "photos", 6)


def encoded(format: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(1, 60, 90)).save(file, format, **settings)
    return file.getvalue()


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
def test_a_file_that_is_no_whole_photo_is_named(folder: Path, name: str) -> None:
    content, reason = BAD[name]
    (folder / "dogs" / name).write_bytes(content)
    text = refusal_of(folder)
    assert text.startswith(f"data.path: photos{os.sep}dogs{os.sep}{name} {reason}")
    assert text.endswith("; data.skip_bad=true leaves such files out.")


def test_the_first_bad_file_is_named_whoever_is_first_to_decode_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cats/003.png", "dogs/001.png", "dogs/005.png"):
        (folder / name).write_bytes(b"no photo")
    monkeypatch.setattr(pixel_store, "TOGETHER", 1)
    for few in (100, 0):
        monkeypatch.setattr(pixel_store, "FEW", few)
        assert refusal_of(folder).startswith(f"data.path: photos{os.sep}cats{os.sep}003.png is no JPEG")


@pytest.mark.parametrize("times", [1.5, 3])
def test_a_decompression_bomb_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, times: float) -> None:
    written(folder / "cats" / "bomb.png", height=100, width=100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(10_000 / times))
    text = refusal_of(folder)
    assert text.startswith(
        f"data.path: photos{os.sep}cats{os.sep}bomb.png has more than {int(10_000 / times):,} pixels, which may be a "
        "decompression bomb"
    )
    assert len(images(folder, skip_bad=True).rows["train"]) > 0


def test_a_bomb_is_refused_by_what_its_header_says(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        + encoded("PNG")[33:]
    )  # fmt: skip
    with pytest.raises(BadPhoto, match="decompression bomb"):
        read_rgb(path)


def test_what_the_system_says_of_a_file_is_passed_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Image.open

    def refuse(path: Any, **settings: Any) -> Any:
        if str(path).endswith("002.png"):
            raise UNREADABLE
        if str(path).endswith("004.png"):
            raise MemoryError
        return real(path, **settings)

    monkeypatch.setattr(decoding.Image, "open", refuse)
    assert refusal_of(folder).startswith(
        f"data.path: photos{os.sep}cats{os.sep}002.png cannot be read (Permission denied);"
    )
    data = images(folder, skip_bad=True, split=HALVES)
    reasons = {reason for _, reason in data.cached.bad}
    assert reasons == {"cannot be read (Permission denied)", "does not fit into memory"}


def test_a_file_that_goes_away_before_it_is_looked_at(folder: Path) -> None:
    photos = find_photos(str(folder), None)
    (folder / "cats" / "002.png").unlink()
    cache = folder.parent / "cache"
    text = refusal(lambda: pixel_store.cached_photos(photos.files, 8, False, cache))
    assert text.endswith(
        "002.png cannot be read (No such file or directory); data.skip_bad=true leaves such files out."
    )
    with pytest.raises(BadPhoto, match=r"^cannot be read \(No such file"):
        read_rgb(folder / "cats" / "002.png")


def test_skip_bad_leaves_files_out_and_counts_them(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("cats/001.png", "dogs/001.png", "dogs/002.png"):
        (folder / name).write_bytes(b"no photo")
    for _ in range(2):  # decoded, and found in the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            data = images(folder, skip_bad=True, split=HALVES)
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


def test_many_bad_files_are_not_all_listed(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(8):
        (folder / "cats" / f"bad{i}.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        images(folder, skip_bad=True)
    (text,) = (r.getMessage() for r in caplog.records if "left out" in r.getMessage())
    assert "8 files of 20" in text
    assert text.endswith("; and 3 more")


def test_skip_bad_with_no_photo_of_a_class_left(folder: Path) -> None:
    for path in (folder / "cats").iterdir():
        path.write_bytes(b"no photo")
    text = refusal(lambda: images(folder, skip_bad=True))
    assert text.endswith("photos: no file of the class cats can be read as a photo.")


def act_in(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], None], after: int = 0) -> None:
    """Something happens when a function is called for the time after so many others."""
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
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, place: str
) -> None:
    monkeypatch.setattr(pixel_store, "TOGETHER", 2)
    with monkeypatch.context() as patched:
        act_in(patched, place, raising(error), after=2 if place == "write_pixels" else 0)
        with pytest.raises(type(error)):
            images(folder)
    assert left_over(folder) == []
    assert threading.active_count() < 20
    assert len(images(folder).y) == 12


def test_a_full_disk_and_a_cache_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patched:
        act_in(patched, "write_pixels", raising(full))
        assert refusal_of(folder) == (
            "data.cache_dir=cache: no space is left for the prepared photos (No space left on device); free some or "
            "give another directory."
        )
    file = written(folder.parent / "file.png")
    text = refusal(lambda: images(folder, cache_dir=str(file)))
    assert text.startswith(f"data.cache_dir={file}: the prepared photos cannot be written there (")


def test_a_photo_that_is_changed_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act_in(monkeypatch, "_summed", lambda: (folder / "cats" / "000.png").write_bytes(b"other") and None)
    assert refusal_of(folder) == "data.path: a photo was changed while it was being read; start again."


def test_an_attempt_that_was_killed_is_swept_away(folder: Path) -> None:
    cache = folder.parent / "cache"
    images(folder)
    (cache / ".0123.part").mkdir()
    (cache / ".0123.part" / "x").write_bytes(b"half")
    images(folder, size=5)
    assert not list(cache.glob(".*.part"))
    assert len(left_over(folder)) == 2


def test_a_process_that_is_killed_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_store, "FEW", 0)
    monkeypatch.setattr(pixel_store, "write_pixels", dies)
    assert refusal_of(folder) == "data: a process that decodes photos was killed, perhaps as memory is short."


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
def test_ctrl_c_leaves_nothing_behind(folder: Path, backend: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(folder), backend]
    root = Path(__file__).parents[3]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, start_new_session=True)
    target, deadline = folder.parent / "cache", time.monotonic() + 60
    while not any(path.stat().st_blocks for path in target.glob(".*.part/x")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it to all of them
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert left_over(folder) == []
    assert len(images(folder).y) == 12


def test_photos_that_stream_by_are_named_and_left_out_likewise(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = photos_below(str(folder))
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
    """And a file that can be read again is found anew, though its content did not change."""
    folder = write_photos(tmp_path / "photos", {"a": 6, "b": 6})
    bad = folder / "a" / "photo 0.jpg"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:200])
    assert len(images(folder, skip_bad=True, split=HALVES).candidates()) == 11
    assert "photo 0.jpg" in refusal(lambda: images(folder, split=HALVES))
    bad.write_bytes(whole)
    assert len(images(folder, skip_bad=True, split=HALVES).candidates()) == 12
