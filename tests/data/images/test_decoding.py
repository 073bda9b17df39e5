"""Photos of all formats and modes become the pixels that Pillow decodes and averages."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from logreg.data.images.decoding import BadPhoto, as_rgb, pixels_of, read_pixels, read_rgb
from tests.data.images.photos import picture, written

RGB = picture(3)


IMAGE = Image.fromarray(RGB)


ALPHA = np.linspace(0, 255, RGB[..., 0].size).reshape(RGB.shape[:2]).astype(np.uint8)


def on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return rgb * share + 255 * (1 - share)


def saved(folder: Path, image: Image.Image, format: str, **settings: Any) -> Path:
    path = folder / f"photo.{format.lower()}"
    image.save(path, format, **settings)
    return path


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP"])
def test_what_is_stored_without_loss_comes_back(tmp_path: Path, format: str) -> None:
    settings = {"lossless": True} if format == "WEBP" else {}
    assert np.array_equal(np.asarray(read_rgb(saved(tmp_path, IMAGE, format, **settings))), RGB)


def test_a_jpeg_is_what_pillow_decodes_it_to_whatever_its_name(tmp_path: Path) -> None:
    path = saved(tmp_path, IMAGE, "JPEG", quality=90)
    expected = np.asarray(Image.open(path))
    path = path.rename(tmp_path / "photo.without.suffix")
    assert np.array_equal(np.asarray(read_rgb(path)), expected)
    assert np.abs(expected.astype(int) - RGB).max() < 40


def test_grey_black_and_white_and_16_bit_photos_are_three_equal_channels(tmp_path: Path) -> None:
    grey = RGB[..., 0]
    deep = (grey.astype(np.uint16) << 8) + 200
    cases = {
        "L": (Image.fromarray(grey), grey),
        "1": (Image.fromarray(grey > 60), np.where(grey > 60, 255, 0)),
        "I;16": (Image.fromarray(deep), grey),
    }
    for mode, (image, expected) in cases.items():
        assert image.mode == mode
        pixels = np.asarray(read_rgb(saved(tmp_path, image, "PNG")))
        assert np.array_equal(pixels, np.repeat(expected[..., None], 3, axis=2)), mode
    wide = Image.fromarray(deep.astype(np.int32))  # as older versions of Pillow read 16 bits
    assert wide.mode == "I"
    assert np.array_equal(np.asarray(as_rgb(wide)), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_what_is_transparent_lies_on_white(tmp_path: Path, mode: str, format: str) -> None:
    rgb = RGB if mode == "RGBA" else np.repeat(RGB[..., :1], 3, axis=2)
    pixels = np.dstack([rgb if mode == "RGBA" else rgb[..., 0], ALPHA])
    settings = {"lossless": True, "exact": True} if format == "WEBP" else {}
    path = saved(tmp_path, Image.fromarray(pixels, mode), format, **settings)
    read = np.asarray(read_rgb(path)).astype(float)
    assert np.abs(read - on_white(rgb, ALPHA)).max() <= 1
    assert (read[ALPHA == 0] == 255).all()


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_palette_with_a_transparent_colour_has_it_white(tmp_path: Path, format: str) -> None:
    indices = np.arange(RGB[..., 0].size, dtype=np.uint8).reshape(RGB.shape[:2]) % 7
    palette = np.random.default_rng(0).integers(0, 255, (7, 3), dtype=np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    assert np.array_equal(np.asarray(read_rgb(saved(tmp_path, image, format))), palette[indices])
    expected = palette.copy()
    expected[3] = 255
    pixels = np.asarray(read_rgb(saved(tmp_path, image, format, transparency=3)))
    assert np.array_equal(pixels, expected[indices])


def test_a_palette_with_half_transparent_colours_and_a_transparent_colour_of_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) % 3, "P")
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    path = saved(tmp_path, image, "PNG", transparency=bytes([0, 128, 255]))
    pixels = np.asarray(read_rgb(path))[0, :3]
    assert np.abs(pixels - on_white(np.diag([200, 200, 200]), np.array([0, 128, 255]))).max() <= 1
    rgb = Image.fromarray(np.uint8([[[1, 2, 3], [4, 5, 6]]]))
    pixels = np.asarray(read_rgb(saved(tmp_path, rgb, "PNG", transparency=(1, 2, 3))))
    assert pixels.tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_cmyk_is_converted_as_pillow_does(tmp_path: Path) -> None:
    path = saved(tmp_path, IMAGE.convert("CMYK"), "JPEG", quality=95)
    with Image.open(path) as image:
        assert image.mode == "CMYK"
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(np.asarray(read_rgb(path)), expected)
    assert np.abs(expected.astype(int) - RGB).mean() < 8


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(tmp_path: Path, format: str) -> None:
    frames = [Image.new("RGB", (12, 12), colour) for colour in ("red", "blue", "lime")]
    settings = {"lossless": True} if format == "WEBP" else {}
    path = saved(tmp_path, frames[0], format, save_all=True, append_images=frames[1:], duration=50, **settings)
    with Image.open(path) as image:
        assert image.n_frames == 3
    assert (np.asarray(read_rgb(path)) == [255, 0, 0]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_photo_is_turned_upright_by_its_exif(tmp_path: Path, orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, IMAGE, format, exif=exif)
    with Image.open(path) as image:
        plain, expected = np.asarray(image), np.asarray(ImageOps.exif_transpose(image))
    pixels = np.asarray(read_rgb(path))
    assert np.array_equal(pixels, expected)
    assert np.array_equal(pixels, plain) == (orientation == 1)
    with Image.open(path) as image:
        assert np.array_equal(pixels_of(image, 8), pixels_of(path, 8))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"II", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0"]
)
def test_damaged_metadata_or_an_orientation_that_there_is_not_leaves_a_photo_as_it_is(
    tmp_path: Path, exif: bytes
) -> None:
    assert np.array_equal(np.asarray(read_rgb(saved(tmp_path, IMAGE, "PNG", exif=exif))), RGB)


@pytest.mark.parametrize(("down", "across"), [(1, 1), (2, 3), (5, 4), (16, 1)])
def test_a_photo_shrunk_by_whole_factors_has_the_means_of_blocks(tmp_path: Path, down: int, across: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8 * down, 8 * across, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(pixels), "PNG")
    means = pixels.reshape(8, down, 8, across, 3).mean((1, 3)).transpose(2, 0, 1)
    for photo in (path, str(path), Image.fromarray(pixels), pixels):
        shrunk = pixels_of(photo, 8)
        assert shrunk.shape == (3, 8, 8)
        assert shrunk.dtype == np.uint8
        assert np.abs(shrunk - means).max() <= 1  # rounded, across and then down


def test_a_photo_of_any_shape_becomes_the_means_over_the_areas_of_its_pixels() -> None:
    height, width, size = 37, 11, 5
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)

    def areas(length: int) -> np.ndarray:
        """How much of each pixel lies in each of the new ones, as a share of the new one."""
        edges = np.linspace(0, length, size + 1)
        place = np.arange(length)
        overlap = np.minimum(edges[1:, None], place + 1) - np.maximum(edges[:-1, None], place)
        return overlap.clip(0) * size / length

    expected = np.einsum("ah,hwc,bw->cab", areas(height), pixels, areas(width))
    # Pillow counts a pixel that is cut in two where its middle lies.
    assert np.abs(pixels_of(pixels, size).astype(float) - expected).mean() < 12
    even = np.full((height, width, 3), 77, np.uint8)
    assert (pixels_of(even, size) == 77).all()


def test_a_small_photo_is_enlarged() -> None:
    pixels = picture(0, 2, 2)
    assert np.array_equal(pixels_of(pixels, 8), np.kron(pixels.transpose(2, 0, 1), np.ones((1, 4, 4), np.uint8)))
    assert (pixels_of(picture(0, 1, 1), 4) == picture(0, 1, 1)[0, 0][:, None, None]).all()


def test_threads_leave_the_filters_of_warnings_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(written(tmp_path / "a.png"))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(lambda i: read_pixels([path], 4, i), range(300)))
    assert warnings.filters == before
    assert not any(bad for _, bad in decoded)
    with Image.open(path) as image:
        pixels = image.width * image.height
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels - 1)
    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(lambda i: read_pixels([path], 4, i), range(300)))
    assert all("decompression bomb" in reason for _, [(_, reason)] in decoded)


def encoded(format: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(1, 60, 90)).save(file, format, **settings)
    return file.getvalue()


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
