"""Folders that are no folders of photos by class."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from logreg.data.images.decoding import BadPhoto, read_rgb
from logreg.data.images.discover import labelled_photos, photos_below
from tests.data.images.photos import class_folders, images, refusal, written
from tests.data.images.refusals import HALVES, UNREADABLE, refusal_of
from tests.helpers import write_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "photos", 6)


def test_a_path_that_is_no_folder_of_folders(tmp_path: Path) -> None:
    assert refusal_of(tmp_path / "no") == "data.path=no: there is no such folder."
    file = written(tmp_path / "a.png")
    assert refusal_of(file).startswith(
        "data.path=a.png: this is a file; a folder with one folder of photos for each class"
    )
    (tmp_path / "flat").mkdir()
    written(tmp_path / "flat" / "b.png")
    assert refusal_of(tmp_path / "flat") == (
        "data.path=flat: one folder of photos for each class is needed here, and there is no folder."
    )


def test_one_class_or_three_are_listed(tmp_path: Path) -> None:
    text = refusal_of(class_folders(tmp_path / "one", 2, ("cats",)))
    assert text == "data.path=one: two folders are needed, one for each class, and there is cats (2 files)."
    text = refusal_of(class_folders(tmp_path / "three", 2, ("cats", "dogs", "birds")))
    assert text.endswith("and there are birds (2 files), cats (2 files), dogs (2 files).")
    many = refusal_of(class_folders(tmp_path / "many", 1, tuple(f"c{i:02}" for i in range(11))))
    assert many.endswith("c07 (1 file) and 3 more.")


def test_an_empty_class_is_named(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert refusal_of(folder) == "data.path=photos: the folder empty is empty; each class needs photos."
    (folder / "empty" / ".hidden").touch()
    assert "empty is empty" in refusal_of(folder)


def test_a_positive_class_that_there_is_not(folder: Path) -> None:
    assert (
        refusal_of(folder, positive="birds")
        == "data.positive=birds: the classes of data.path=photos are cats and dogs."
    )


def test_folders_of_splits_that_do_not_fit_together(tmp_path: Path) -> None:
    class_folders(tmp_path / "a" / "val", 2)
    assert refusal_of(tmp_path / "a") == "data.path=a: there is a folder val, and no folder train."
    class_folders(tmp_path / "a" / "train", 2)
    class_folders(tmp_path / "a" / "valid", 2)
    assert refusal_of(tmp_path / "a") == "data.path=a: val and valid are the same split; leave one out."
    class_folders(tmp_path / "b" / "train", 2)
    class_folders(tmp_path / "b" / "test", 2, ("cats", "birds"))
    assert refusal_of(tmp_path / "b") == (
        f"data.path=b{os.sep}test: the classes are birds, cats; those of the training photos are cats and dogs."
    )
    class_folders(tmp_path / "c" / "train", 2)
    class_folders(tmp_path / "c" / "val", 2, ("cats",))
    assert refusal_of(tmp_path / "c").endswith("the classes are cats; those of the training photos are cats and dogs.")
    class_folders(tmp_path / "d" / "train", 4)
    assert (
        refusal_of(tmp_path / "d", folds=2, fold=0) == "data.folds: d has folders for its splits; leave data.folds out."
    )


def test_photos_of_one_class_only_in_a_split(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos" / "train", 3)
    class_folders(tmp_path / "photos" / "val", 2, first=50)
    for path in (tmp_path / "photos" / "val" / "dogs").iterdir():
        path.write_bytes(b"no photo")
    text = refusal(lambda: images(tmp_path / "photos", skip_bad=True))
    assert text == (
        "data: val has 2 photos of cats and none of dogs that can be used; add some, or change what goes to val."
    )
    text = refusal(lambda: images(class_folders(tmp_path / "few", 1)))
    assert text == (
        "data.split: too few rows for the splits: label 0 has 1 row, label 1 has 1; train, val, test need one of each. "
        "Leave a split out, as in data.split.test=0, with data.split.train larger by as much."
    )
    text = refusal(lambda: images(class_folders(tmp_path / "folds", 3), folds=5, fold=0))
    assert text.startswith("data.folds: each of the 5 folds needs a row of each class")


def test_a_folder_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, below: str) -> bool:
        return str(path).endswith(below)

    real = {name: getattr(Path, name) for name in ("is_file", "is_dir", "iterdir")}
    for name, below in (("iterdir", "photos"), ("is_dir", "dogs"), ("is_file", "photos"), ("is_dir", "photos")):

        def refuse(self: Path, *args: Any, name: str = name, below: str = below) -> Any:
            if denied(self, below):
                raise UNREADABLE
            return real[name](self, *args)

        with monkeypatch.context() as patched:
            patched.setattr(Path, name, refuse)
            assert refusal_of(folder) == "data.path=photos: the folder cannot be read (Permission denied)."
            if name == "is_file":
                assert "cannot be read" in refusal(lambda: photos_below(str(folder)))
    scandir = os.scandir

    def refuse_one(path: Any) -> Any:
        if denied(path, "dogs"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse_one)
        assert refusal_of(folder) == f"data.path: photos{os.sep}dogs: the folder cannot be read (Permission denied)."


def test_folders_for_evaluation_and_prediction(folder: Path, tmp_path: Path) -> None:
    files, y = labelled_photos(str(folder), ("cats", "dogs"))
    assert (len(files), y.tolist()) == (12, [0] * 6 + [1] * 6)
    assert labelled_photos(str(folder), ("dogs", "cats"))[1].tolist() == [1] * 6 + [0] * 6
    text = refusal(lambda: labelled_photos(str(folder), ("cats", "birds")))
    assert text.endswith("photos: there is a folder dogs; the classes of the run are cats and birds.")
    class_folders(tmp_path / "splits" / "train", 1)
    text = refusal(lambda: labelled_photos(str(tmp_path / "splits"), ("cats", "dogs")))
    assert "this has a folder for each split; give one of them" in text
    assert photos_below(str(files[0])) == [files[0]]
    assert photos_below(str(folder)) == files
    (tmp_path / "nothing").mkdir()
    assert "there is no file in this folder" in refusal(lambda: photos_below(str(tmp_path / "nothing")))
    assert "there is no such file or folder" in refusal(lambda: photos_below(str(tmp_path / "absent")))


def test_links_to_folders_are_followed_and_a_circle_of_them_ends(folder: Path, tmp_path: Path) -> None:
    files = photos_below(str(folder))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "all").symlink_to(folder, target_is_directory=True)
    (tmp_path / "links" / "back").symlink_to(tmp_path / "links", target_is_directory=True)
    assert [file.resolve() for file in photos_below(str(tmp_path / "links"))] == [file.resolve() for file in files]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
def test_a_pipe_among_the_photos_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadPhoto, match="is a pipe and no file"):
        read_rgb(tmp_path / "pipe.jpg")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("train", "test1"), "a folder train beside test1"),
        (("Train", "unlabelled"), "a folder Train beside unlabelled"),
        (("cats", "Validation"), "a folder Validation beside cats"),
    ],
)
def test_splits_are_not_taken_for_classes(tmp_path: Path, names: tuple[str, str], sentence: str) -> None:
    for name in names:
        write_photos(tmp_path / "photos" / name, {"a": 2, "b": 2})
    assert sentence in refusal(lambda: images(tmp_path / "photos"))


def test_splits_have_their_usual_names_too(tmp_path: Path) -> None:
    for name in ("Training", "Valid", "TESTING"):
        write_photos(tmp_path / "photos" / name, {"a": 2, "b": 2})
    data = images(tmp_path / "photos")
    assert {split: len(rows) for split, rows in data.rows.items()} == {"train": 4, "val": 4, "test": 4}


def test_a_link_that_leads_nowhere_is_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", {"a": 6, "b": 6})
    (folder / "a" / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    text = refusal(lambda: images(folder, split=HALVES))
    assert "link.jpg cannot be read (No such file or directory); data.skip_bad=true" in text
    assert len(images(folder, skip_bad=True, split=HALVES).candidates()) == 12
