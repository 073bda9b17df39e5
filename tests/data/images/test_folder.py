"""Classes and splits of a folder of photos."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from logreg.data import ImageFolderData
from tests.data.images.photos import class_folders, images


def files_of(data: ImageFolderData, split: str) -> list[str]:
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
