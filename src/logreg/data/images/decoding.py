"""From a file to a small array of pixels, by Pillow.

A photo is turned upright, made RGB and shrunk (or enlarged) to a square by area averaging, whatever its own shape.
Nothing heavy is imported here: the processes that decode need nothing else.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF")
NAMES = "JPEG, PNG, WebP, BMP or GIF"
CHANNELS = ("red", "green", "blue")
BACKGROUND = (255, 255, 255)  # behind what is transparent, as in a browser
UPRIGHT = {  # by EXIF's number of how the camera was held
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadPhoto(Exception):
    """Why a file cannot be used as a photo, as the end of a sentence that begins with its name."""


class _Warnings:
    """Pillow's warnings are not shown, and that of a decompression bomb is an error.

    Filters are those of the whole process: the first thread to come changes them, the last one to go changes them back.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._filters = Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                # From here on Pillow warns of what may be made to fill the memory; twice as large, it refuses itself.
                warnings.simplefilter("error", Image.DecompressionBombWarning)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.__exit__(None, None, None)


_warnings = _Warnings()


def read_rgb(path: Path) -> Image.Image:
    """A photo upright and in RGB, of its own size; the first frame of several.

    Raises:
        BadPhoto: it cannot be read, is damaged or too large, or is no photo.
    """
    with _reasons():
        is_pipe = path.is_fifo()
    if is_pipe:  # which would be waited for
        raise BadPhoto("is a pipe and no file")
    with _reasons(), _warnings, Image.open(path, formats=FORMATS) as image:
        return _decoded(image)


def _decoded(image: Image.Image) -> Image.Image:
    image.load()
    return as_rgb(upright(image))


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Say as `BadPhoto` why Pillow cannot read a photo."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = Image.MAX_IMAGE_PIXELS or 0
        raise BadPhoto(f"has more than {most:,} pixels, which may be a decompression bomb") from None
    except UnidentifiedImageError:
        raise BadPhoto(f"is no {NAMES} photo, or its beginning is damaged") from None
    except MemoryError:
        raise BadPhoto("does not fit into memory") from None
    except Exception as error:  # a damaged file may raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:
            raise BadPhoto(f"cannot be read ({error.strerror})") from None
        what = " ".join(str(error).split()) or type(error).__name__
        raise BadPhoto(f"is truncated or damaged ({what[:100]})") from None


def upright(image: Image.Image) -> Image.Image:
    """A photo as it was seen, by what its EXIF says; as it is where that cannot be read."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged metadata may raise nearly anything
        return image
    method = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def as_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB; what is transparent lies on white, 16 bits a pixel are rounded down to 8."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "I":
        image = Image.fromarray((np.asarray(image).clip(0, 2**16 - 1) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    behind = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    return Image.alpha_composite(behind, image).convert("RGB")


def shrunk(image: Image.Image, size: int) -> np.ndarray:
    """A square of (3, size, size) uint8: each pixel the mean of those it stands for."""
    small = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small).transpose(2, 0, 1)


def pixels_of(photo: object, size: int) -> np.ndarray:
    """A photo of (3, size, size) uint8, given as a path, a Pillow image, or an array (height, width, 3) of uint8.

    Raises:
        BadPhoto: it cannot be read.
        TypeError: it is something else.
    """
    if isinstance(photo, str | Path):
        if Path(photo).is_dir():
            raise BadPhoto("is a folder; scripts/predict.py takes folders, and here a list of its photos is needed")
        return shrunk(read_rgb(Path(photo)), size)
    if isinstance(photo, Image.Image):
        with _reasons(), _warnings:  # it may not have been decoded yet
            return shrunk(_decoded(photo), size)
    array = np.asarray(photo)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise TypeError(f"a photo of shape {array.shape} and type {array.dtype}")
    return shrunk(Image.fromarray(np.ascontiguousarray(array)), size)


def read_pixels(paths: list[str], size: int, first: int = 0) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Pixels of some files, (files, 3, size, size) uint8, all 0 of those that cannot be read.

    Args:
        first: number of the first of these photos among all.

    Returns:
        The pixels; number and reason of each photo that cannot be read.
    """
    pixels, bad = np.zeros((len(paths), len(CHANNELS), size, size), dtype=np.uint8), []
    for i, path in enumerate(paths):
        try:
            pixels[i] = shrunk(read_rgb(Path(path)), size)
        except BadPhoto as reason:
            bad.append((first + i, str(reason)))
    return pixels, bad


def write_pixels(paths: list[str], size: int, target: str, first: int) -> list[tuple[int, str]]:
    """`read_pixels` into their place in a file of pixels.

    Args:
        target: (all photos, 3, size, size) uint8.

    Returns:
        Number and reason of each photo that cannot be read.
    """
    pixels, bad = read_pixels(paths, size, first)
    with open(target, "r+b") as file:
        file.seek(first * pixels[0].size)
        file.write(pixels.tobytes())
    return bad
