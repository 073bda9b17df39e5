"""Photos as rows of a table: decoding, the cache, normalisation, splits, augmentation."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from logreg.core.errors import UserError
from logreg.core.seeds import generator
from logreg.data import ImageFolderData
from logreg.data.blocks import BlockLoader, PassPlan
from logreg.data.images import data as image_data
from logreg.data.images import pixel_store, streaming
from logreg.data.images.augmentation import GREY, Augmentation
from logreg.data.images.decoding import as_rgb, pixels_of, read_pixels, read_rgb
from logreg.data.images.options import AugmentOptions
from logreg.data.images.preprocessor import ImagePreprocessor
from logreg.data.images.rows import MappedPhotos, PhotosInMemory
from logreg.data.rows import LargeBatch
from logreg.models import ConvByHand, ConvSequential, LinearOnPixels
from logreg.optim.newton import Newton
from tests.data.images.photos import class_folders, images, picture, written
from tests.helpers import column, digits_data, fit

RGB = picture(3)
IMAGE = Image.fromarray(RGB)
ALPHA = np.linspace(0, 255, RGB[..., 0].size).reshape(RGB.shape[:2]).astype(np.uint8)

# --- formats and modes ------------------------------------------------------------------------------------------------


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
        found = np.asarray(read_rgb(saved(tmp_path, image, "PNG")))
        assert np.array_equal(found, np.repeat(expected[..., None], 3, axis=2)), mode
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
    found = np.asarray(read_rgb(path)).astype(float)
    assert np.abs(found - on_white(rgb, ALPHA)).max() <= 1
    assert (found[ALPHA == 0] == 255).all()


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_palette_with_a_transparent_colour_has_it_white(tmp_path: Path, format: str) -> None:
    indices = np.arange(RGB[..., 0].size, dtype=np.uint8).reshape(RGB.shape[:2]) % 7
    palette = np.random.default_rng(0).integers(0, 255, (7, 3), dtype=np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    assert np.array_equal(np.asarray(read_rgb(saved(tmp_path, image, format))), palette[indices])
    expected = palette.copy()
    expected[3] = 255
    found = np.asarray(read_rgb(saved(tmp_path, image, format, transparency=3)))
    assert np.array_equal(found, expected[indices])


def test_a_palette_with_half_transparent_colours_and_a_transparent_colour_of_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) % 3, "P")
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    path = saved(tmp_path, image, "PNG", transparency=bytes([0, 128, 255]))
    found = np.asarray(read_rgb(path))[0, :3]
    assert np.abs(found - on_white(np.diag([200, 200, 200]), np.array([0, 128, 255]))).max() <= 1
    rgb = Image.fromarray(np.uint8([[[1, 2, 3], [4, 5, 6]]]))
    found = np.asarray(read_rgb(saved(tmp_path, rgb, "PNG", transparency=(1, 2, 3))))
    assert found.tolist() == [[[255, 255, 255], [4, 5, 6]]]


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
    found = np.asarray(read_rgb(path))
    assert np.array_equal(found, expected)
    assert np.array_equal(found, plain) == (orientation == 1)
    with Image.open(path) as image:
        assert np.array_equal(pixels_of(image, 8), pixels_of(path, 8))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"II", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0"]
)
def test_damaged_metadata_or_an_orientation_that_there_is_not_leaves_a_photo_as_it_is(
    tmp_path: Path, exif: bytes
) -> None:
    assert np.array_equal(np.asarray(read_rgb(saved(tmp_path, IMAGE, "PNG", exif=exif))), RGB)


# --- area averaging ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("down", "across"), [(1, 1), (2, 3), (5, 4), (16, 1)])
def test_a_photo_shrunk_by_whole_factors_has_the_means_of_blocks(tmp_path: Path, down: int, across: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8 * down, 8 * across, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(pixels), "PNG")
    means = pixels.reshape(8, down, 8, across, 3).mean((1, 3)).transpose(2, 0, 1)
    for photo in (path, str(path), Image.fromarray(pixels), pixels):
        found = pixels_of(photo, 8)
        assert found.shape == (3, 8, 8)
        assert found.dtype == np.uint8
        assert np.abs(found - means).max() <= 1  # rounded, across and then down


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


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "photos")


def entries(folder: Path) -> list[Path]:
    """What is in the cache of a folder of photos, without locks."""
    return sorted(path for path in (folder.parent / "cache").iterdir() if path.suffix != ".lock")


def pixels_by_pillow(folder: Path, size: int = 8) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as image:
            found[str(path)] = np.asarray(image.resize((size, size), Image.Resampling.BOX)).transpose(2, 0, 1)
    return found


def test_threads_and_processes_decode_the_same_as_pillow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cats" / "005.png").write_bytes(b"no photo")
    expected = pixels_by_pillow_but(folder, "005.png")
    monkeypatch.setattr(streaming, "TOGETHER", 3)
    found = []
    for few in (128, 1):
        monkeypatch.setattr(streaming, "FEW", few)
        data = images(folder, skip_bad=True, cache_dir=str(folder.parent / f"cache{few}"))
        assert data.photos is not None
        assert [str(path) for path in data.photos.files] == list(expected)
        assert np.array_equal(data.pixels, np.stack(list(expected.values())))
        found.append((data.fingerprint, data.cached.manifest, data.cached.sums.tolist()))
    assert found[0] == found[1]


def pixels_by_pillow_but(folder: Path, bad: str) -> dict[str, np.ndarray]:
    """With zeros in the place of the first photo of this name."""
    path = next(iter(sorted(folder.rglob(bad))))
    content = path.read_bytes()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    found = pixels_by_pillow(folder)
    path.write_bytes(content)
    return found


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


def test_threads_leave_the_filters_of_warnings_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(written(tmp_path / "a.png"))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: read_pixels([path], 4, i), range(300)))
    assert warnings.filters == before
    assert not any(bad for _, bad in found)
    with Image.open(path) as image:
        pixels = image.width * image.height
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels - 1)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: read_pixels([path], 4, i), range(300)))
    assert all("decompression bomb" in reason for _, [(_, reason)] in found)


# --- normalisation ----------------------------------------------------------------------------------------------------


def test_statistics_are_those_of_the_training_photos(folder: Path) -> None:
    data = images(folder, split={"train": 0.6, "val": 0.2, "test": 0.2})
    train = data.pixels[data.rows["train"]].transpose(0, 2, 3, 1).reshape(-1, 3) / 255
    scaler = StandardScaler().fit(train)
    np.testing.assert_allclose(data.preprocessor.mean, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(data.preprocessor.std, scaler.scale_, rtol=1e-12)
    for split in ("train", "val", "test"):
        x, y = data.tensors(split)
        flat = data.pixels[data.rows[split]].transpose(0, 2, 3, 1).reshape(-1, 3) / 255
        expected = scaler.transform(flat).reshape(-1, 8, 8, 3).transpose(0, 3, 1, 2).reshape(len(y), -1)
        np.testing.assert_allclose(x, expected, atol=1e-5)
    again = ImagePreprocessor.from_content({**dataclasses.asdict(data.preprocessor)})
    assert again == data.preprocessor
    np.testing.assert_allclose(
        data.preprocessor.intensities(x).numpy() * 255, data.pixels[data.rows["test"]], atol=1e-3
    )


def test_a_channel_without_variance_is_centred_and_unscaled_pixels_are_shares_of_white(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        for i in range(3):
            pixels = picture(number * 3 + i)
            pixels[..., 1] = 51
            (tmp_path / "p" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "p" / name / f"{i}.png")
    data = images(tmp_path / "p", split={"train": 1.0})
    assert (data.preprocessor.mean[1], data.preprocessor.std[1]) == pytest.approx((0.2, 1.0))
    assert data.tensors("train")[0].unflatten(1, (3, 8, 8))[:, 1].abs().max() < 1e-6
    plain = images(tmp_path / "p", split={"train": 1.0}, standardize=False)
    np.testing.assert_allclose(plain.tensors("train")[0], plain.pixels.reshape(6, -1) / 255, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mapped_photos_and_photos_in_memory_are_equal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    memory, mapped = images(folder), images(folder)
    memory.dtype = mapped.dtype = dtype
    memory.class_weight = mapped.class_weight = {"cats": 1.0, "dogs": 3.0}
    kept = memory.served("train")
    assert isinstance(kept, PhotosInMemory)
    monkeypatch.setattr(image_data, "IN_MEMORY_BYTES", 0)
    of_file = mapped.served("train")
    assert isinstance(of_file, MappedPhotos)
    positions = torch.tensor([3, 0, 7, 7])
    for a, b in [(kept.take(positions), of_file.take(positions)), (kept.span(2, 9), of_file.span(2, 9))]:
        assert len(a) == len(b) == 3
        assert all(torch.equal(one, other) and one.dtype == dtype for one, other in zip(a, b, strict=True))
    assert of_file.span(0, 2, torch.float64)[0].dtype == torch.float64
    monkeypatch.setattr(MappedPhotos, "elements", 3 * 64 * 5)
    monkeypatch.setattr(PhotosInMemory, "elements", 3 * 64 * 5)
    for rows in (kept, of_file):
        whole = rows.everything()
        assert isinstance(whole, LargeBatch)
        assert torch.equal(torch.cat([part[0] for part in whole.parts()]), kept.x)


# --- classes and splits -----------------------------------------------------------------------------------------------


def files_of(data: ImageFolderData, split: str) -> list[str]:
    assert data.photos is not None
    folder = Path(data.folder.path)
    return [str(data.photos.files[i].relative_to(folder)) for i in data.rows[split]]


def test_a_single_level_is_split_and_stratified(folder: Path) -> None:
    data = images(folder, split={"train": 0.6, "val": 0.2, "test": 0.2}, positive="cats")
    assert data.labels == ("dogs", "cats")
    assert data.label_counts == {"train": [6, 6], "val": [2, 2], "test": [2, 2]}
    everything = [file for split in data.rows for file in files_of(data, split)]
    assert sorted(everything) == sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    for split in data.rows:
        of_name = [float(file.startswith("cats")) for file in files_of(data, split)]
        assert data.tensors(split)[1].tolist() == of_name
    again = images(folder, split={"train": 0.6, "val": 0.2, "test": 0.2}, positive="cats")
    assert all(np.array_equal(data.rows[split], again.rows[split]) for split in data.rows)
    other = images(folder, split={"train": 0.6, "val": 0.2, "test": 0.2}, positive="cats", seed=5)
    assert not np.array_equal(data.rows["train"], other.rows["train"])


def test_the_obvious_class_is_1_and_a_number_can_be_said_as_one(tmp_path: Path) -> None:
    path = class_folders(tmp_path / "photos", classes=("yes", "zebra"))
    assert images(path).labels == ("zebra", "yes")
    path = class_folders(tmp_path / "digits", classes=("3", "8"))
    assert images(path).labels == ("3", "8")
    assert images(path, positive=3).labels == ("8", "3")


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_folders_of_splits_are_the_splits(tmp_path: Path, val: str) -> None:
    for i, (split, each) in enumerate({"train": 6, val: 3, "test": 2}.items()):
        class_folders(tmp_path / "photos" / split, each, first=100 * i)
    data = images(tmp_path / "photos")
    for split, name, each in (("train", "train", 6), ("val", val, 3), ("test", "test", 2)):
        files = files_of(data, split)
        assert len(files) == 2 * each
        assert all(file.startswith(name + os.sep) for file in files)
        assert data.labels_of(split).tolist() == [int("dogs" in file) for file in files]


def test_without_a_folder_val_its_photos_are_taken_from_train(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos" / "train", 8)
    class_folders(tmp_path / "photos" / "test", 3, first=100)
    data = images(tmp_path / "photos", split={"train": 0.6, "val": 0.2, "test": 0.2})
    assert data.label_counts == {"train": [6, 6], "val": [2, 2], "test": [3, 3]}
    assert all(file.startswith("train") for split in ("train", "val") for file in files_of(data, split))
    none = images(tmp_path / "photos", split={"train": 1.0})
    assert none.label_counts == {"train": [8, 8], "val": [0, 0], "test": [3, 3]}


def test_each_photo_is_validated_on_in_one_fold(folder: Path) -> None:
    parts = [images(folder, folds=5, fold=fold) for fold in range(5)]
    assert sorted(file for data in parts for file in files_of(data, "val")) == sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*.png")
    )
    for data in parts:
        assert data.label_counts == {"train": [8, 8], "val": [2, 2], "test": [0, 0]}
        assert not set(files_of(data, "train")) & set(files_of(data, "val"))


def test_held_out_photos_that_training_has_too_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i, split in enumerate(("train", "val", "test")):
        class_folders(tmp_path / "photos" / split, 4, first=100 * i)
    with caplog.at_level(logging.WARNING):
        images(tmp_path / "photos")
    assert not caplog.records
    source = tmp_path / "photos" / "train" / "cats" / "000.png"
    (tmp_path / "photos" / "test" / "cats" / "copy.png").write_bytes(source.read_bytes())
    with caplog.at_level(logging.WARNING):
        images(tmp_path / "photos")
    (record,) = caplog.records
    assert "1 photo of test also is among the training photos" in record.getMessage()


def test_digits_are_scikit_learns() -> None:
    data = digits_data(positive="3", size=16, split={"train": 0.6, "val": 0.2, "test": 0.2})
    data.setup()
    source = load_digits()
    assert np.array_equal(data.y, source.target == 3)
    assert data.labels == ("not 3", "3")
    grey = np.round(np.kron(source.images, np.ones((1, 2, 2))) / 16 * 255)
    assert np.array_equal(data.pixels, np.repeat(grey[:, None], 3, axis=1))
    sums = np.stack([data.pixels.sum((2, 3), dtype=int), (data.pixels.astype(int) ** 2).sum((2, 3))], axis=1)
    assert np.array_equal(data.sums, sums)
    assert np.array_equal(pixels_of(data.originals([5])[0], 16), data.pixels[5])


# --- augmentation -----------------------------------------------------------------------------------------------------

SIDE = 9
FITTED = ImagePreprocessor(SIDE, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def batch(photos: int = 40, seed: int = 0) -> torch.Tensor:
    """Normalised photos, (photos, 3 * SIDE * SIDE)."""
    random = np.random.default_rng(seed)
    pixels = torch.from_numpy(random.integers(0, 256, (photos, 3, SIDE, SIDE), dtype=np.uint8))
    return FITTED.normalised(pixels, torch.float64)


def change(x: torch.Tensor, seed: int = 1, index: int = 0, **settings: Any) -> torch.Tensor:
    return (
        Augmentation(AugmentOptions(**settings), FITTED)
        .start(seed, index)((x, torch.zeros(len(x))))[0]
        .unflatten(1, FITTED.shape)
    )


def moved(photo: np.ndarray, down: int, right: int, mirrored: bool) -> np.ndarray:
    """(3, side, side), pixel by pixel: first mirrored, then cut out elsewhere, borders repeated."""
    found = np.empty_like(photo)
    for row in range(SIDE):
        for place in range(SIDE):
            from_row = min(max(row + down, 0), SIDE - 1)
            straight = SIDE - 1 - place if mirrored else place
            from_place = min(max(straight + right, 0), SIDE - 1)
            found[:, row, place] = photo[:, from_row, from_place]
    return found


@pytest.mark.parametrize(("flip", "most"), [(True, 0), (False, 2), (True, 2)])
def test_every_photo_is_mirrored_or_moved_as_a_loop_over_its_pixels_does(flip: bool, most: int) -> None:
    x = batch(200)
    found = change(x, flip=flip, crop=most / SIDE).numpy()
    seen = []
    ways = [(down, right) for down in range(-most, most + 1) for right in range(-most, most + 1)]
    for before, after in zip(x.unflatten(1, FITTED.shape).numpy(), found, strict=True):
        matches = [
            (*way, mirrored)
            for way in ways
            for mirrored in ((False, True) if flip else (False,))
            if np.array_equal(moved(before, *way, mirrored), after)
        ]
        assert len(matches) == 1
        seen += matches
    assert {way[:2] for way in seen} == set(ways)  # each photo by a draw of its own
    if flip:
        assert 60 < sum(mirrored for *_, mirrored in seen) < 140


def test_jitter_multiplies_brightness_saturation_and_contrast() -> None:
    x = batch()
    found = change(x, seed=7, index=5, jitter=0.4).numpy()
    # The same draws in their order: of the flip none, of the crop two of zeros alone.
    drawn = generator(7, "augment", 5)
    for _ in range(2):
        torch.randint(0, 1, (len(x),), generator=drawn)
    factors = [1 + 0.4 * (2 * torch.rand(len(x), generator=drawn).double().numpy() - 1) for _ in range(3)]
    mean, std = (np.array(part).reshape(3, 1, 1) for part in (FITTED.mean, FITTED.std))
    for photo, after, brightness, contrast, saturation in zip(
        x.unflatten(1, FITTED.shape).numpy(), found, *factors, strict=True
    ):
        pixels = (photo * std + mean) * brightness
        grey = sum(share * channel for share, channel in zip(GREY, pixels, strict=True))
        pixels = np.stack([grey + (channel - grey) * saturation for channel in pixels])
        level = sum(share * channel.mean() for share, channel in zip(GREY, pixels, strict=True))
        expected = np.clip(level + (pixels - level) * contrast, 0, 1)
        np.testing.assert_allclose(after, (expected - mean) / std, atol=1e-6)
    assert min(f.min() for f in factors) < 0.7
    assert max(f.max() for f in factors) > 1.3


def test_the_draws_depend_on_seed_and_batch_alone_and_labels_stay() -> None:
    made = Augmentation(AugmentOptions(flip=True, crop=0.2, jitter=0.3), FITTED)
    x, y, weight = batch(), torch.arange(40), torch.rand(40)
    before = x.clone()
    torch.manual_seed(0)
    first = made.start(3, 11)((x, y, weight))
    torch.manual_seed(99)
    again = made.start(3, 11)((x, y, weight))
    assert first[1] is y
    assert first[2] is weight
    assert torch.equal(x, before)
    assert torch.equal(first[0], again[0])
    for other in (made.start(3, 12), made.start(4, 11)):
        assert not torch.equal(other((x, y))[0], first[0])
    assert not torch.equal(made.start(3, 11)((x[:20], y[:20]))[0], first[0][:20])  # a draw for each photo of a part
    assert not AugmentOptions.parsed({"flip": False, "crop": 0}).changes
    assert not AugmentOptions.parsed(None).changes


def test_a_batch_that_comes_in_parts_is_changed_the_same_way_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PhotosInMemory, "elements", 3 * 64 * 5)
    data = images(folder, augment={"flip": True, "crop": 0.2}, batch_size=None, split={"train": 1.0})
    data.follow(PassPlan(2))
    loader = data.train_dataloader()
    whole = loader.batch(0, 0)
    assert isinstance(whole, LargeBatch)
    one, two = (torch.cat([part[0] for part in whole.parts()]) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (20, 192)
    drawn = data.augmentation.start(1, 0)
    expected = [drawn(data.served("train").span(first, first + 5))[0] for first in range(0, 20, 5)]
    assert torch.equal(one, torch.cat(expected))
    other = torch.cat([part[0] for part in loader.batch(1, 0).parts()])
    assert not torch.equal(one, other)


def test_training_batches_are_changed_and_evaluated_rows_are_not(folder: Path) -> None:
    plain = images(folder, split={"train": 0.6, "val": 0.4})
    data = images(folder, split={"train": 0.6, "val": 0.4}, augment={"flip": True, "crop": 0.3, "jitter": 0.2})
    loaders = plain.train_dataloader(), data.train_dataloader()
    for passes, number in ((0, 0), (0, 2), (3, 1)):
        (x, y), (changed, labels) = (loader.batch(passes, number) for loader in loaders)
        assert torch.equal(y, labels)
        expected = data.augmentation.start(data.seed, passes * 3 + number)((x, y))[0]
        assert torch.equal(changed, expected)
        assert not torch.equal(changed, x)
    for split in ("train", "val"):
        for (x, _), (same, _) in zip(plain.batches(split), data.batches(split), strict=True):
            assert torch.equal(x, same)
    assert all(torch.equal(a, b) for a, b in zip(plain.tensors("train"), data.tensors("train"), strict=True))
    assert data.describe()["augment"] == {"flip": True, "crop": 0.3, "jitter": 0.2}
    assert plain.describe()["augment"] is None


@pytest.mark.parametrize("mapped", [False, True])
def test_a_run_that_stopped_inside_a_pass_goes_on_to_the_same_weights(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    if mapped:
        monkeypatch.setattr(image_data, "IN_MEMORY_BYTES", 0)
    make = functools.partial(torch.optim.Adam, lr=1e-3)

    def data() -> ImageFolderData:
        return images(folder, size=16, augment={"flip": True, "crop": 0.2, "jitter": 0.2}, split={"train": 1.0})

    def trained(name: str, **settings: Any) -> tuple[dict[str, torch.Tensor], dict[int, float]]:
        torch.manual_seed(2)
        network = ConvSequential(768)
        _, classifier, history = fit(tmp_path / name, data(), 2, make, network=network, **settings)
        return classifier.network.state_dict(), column(history, "train/loss")

    whole, losses = trained("whole")
    _, first = trained("first", max_steps=7)  # of 5 in a pass
    rest, further = trained("rest", resume=tmp_path / "first")
    assert len(losses) == 10
    assert min(further) == 7
    assert first | further == pytest.approx(losses, rel=1e-6)  # which depend on the block that an update was in
    assert all(torch.equal(rest[name], value) for name, value in whole.items())


def test_both_forms_trained_through_the_trainer_end_at_equal_weights(tmp_path: Path, folder: Path) -> None:
    ends = []
    for form in (ConvByHand, ConvSequential):
        torch.manual_seed(4)
        data = images(folder, size=16, augment={"flip": True}, split={"train": 0.6, "val": 0.4})
        make = functools.partial(torch.optim.Adam, lr=1e-3)
        record, classifier, _ = fit(tmp_path / form.__name__, data, 2, make, network=form(768))
        ends.append((list(classifier.network.parameters()), record.metrics))
    assert ends[0][1] == ends[1][1]
    assert all(torch.equal(a, b) for a, b in zip(ends[0][0], ends[1][0], strict=True))


def test_a_solver_refuses_rows_that_change(tmp_path: Path, folder: Path) -> None:
    for augment in (None, {"flip": True}):
        data = images(folder, batch_size=None, split={"train": 1.0}, augment=augment)
        act: Callable[[], Any] = functools.partial(
            fit, tmp_path / "run", data, 3, Newton, network=LinearOnPixels(192), l2=0.1
        )
        if augment is None:
            assert act()[0].status == "completed"
            continue
        with pytest.raises(UserError, match=r"^data\.augment: optimizer=newton .* set data\.augment=null\.$"):
            act()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"flop": True}, "data.augment.flop: there is no such change (did you mean flip?)"),
        ({"flip": 1}, "data.augment.flip=1: true or false"),
        ({"crop": True}, "data.augment.crop=True: a number"),
        ({"crop": 1}, "data.augment.crop=1: a number from 0 to below 1"),
        ({"jitter": -0.1}, "data.augment.jitter=-0.1: a number"),
        ({"jitter": float("nan")}, "data.augment.jitter=nan: a number"),
        ({"crop": "0.1"}, "data.augment.crop=0.1: a number"),
    ],
)
def test_changes_that_there_are_not_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        AugmentOptions.parsed(given)
    assert str(refused.value).startswith(said)


def test_a_loader_without_augmentation_serves_rows_as_they_are(folder: Path) -> None:
    data = images(folder, split={"train": 1.0})
    rows = data.served("train")
    loader = BlockLoader(rows, 6, data.seed)
    x, _ = loader.batch(0, 1)
    assert torch.equal(x, rows.take(loader.positions(0, 6, 12))[0])
    assert data.augmentation is None
