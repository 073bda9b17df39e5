"""Normalisation of photos, and what can be predicted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.preprocessing import StandardScaler

from logreg.data.images.decoding import pixels_of
from logreg.data.images.preprocessor import ImagePreprocessor
from tests.data.images.photos import images, picture, refusal, written


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


def test_a_photo_that_cannot_be_predicted_is_named(tmp_path: Path) -> None:
    preprocessor, bad = ImagePreprocessor(8), tmp_path / "bad.jpg"
    bad.write_bytes(b"no photo")
    good = written(tmp_path / "good.png")
    assert [len(block) for block in preprocessor.blocks([good, str(good)])] == [2]
    assert refusal(lambda: list(preprocessor.blocks([good, bad]))).startswith(f"{bad} is no JPEG, PNG, WebP, BMP or")
    assert refusal(lambda: list(preprocessor.blocks(tmp_path))).startswith(f"{tmp_path} is a folder; scripts/predict")
    missing = tmp_path / "gone.jpg"
    assert (
        refusal(lambda: list(preprocessor.blocks(missing))) == f"{missing} cannot be read (No such file or directory)."
    )
    for photo in (
        np.zeros((4, 4)),
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 4), np.uint8),
        3,
        np.zeros((0, 4, 3), np.uint8),
    ):
        assert refusal(lambda photo=photo: list(preprocessor.blocks([photo]))).startswith(
            "predict_proba got a photo of shape"
        )


def test_photos_may_be_paths_images_arrays_or_tensors(tmp_path: Path) -> None:
    path, pixels = written(tmp_path / "a.png", seed=5), picture(5)
    several = np.stack([pixels, picture(6)])
    expected = torch.from_numpy(pixels_of(pixels, 8).reshape(1, -1)) / 255
    for photo in (path, str(path), Image.fromarray(pixels), pixels, [path], several[:1], torch.from_numpy(several[:1])):
        (prepared,) = ImagePreprocessor(8).blocks(photo)
        torch.testing.assert_close(prepared.float(), expected)
    assert not list(ImagePreprocessor(8).blocks([]))
