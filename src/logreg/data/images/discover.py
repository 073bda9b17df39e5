"""Photos in folders: one folder per class, below ``train``, ``val`` and ``test`` or without them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from logreg.core.errors import UserError, plural
from logreg.data.labels import choose_labels
from logreg.data.splits import SPLITS

OTHER_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}  # of splits
NOT_PHOTOS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})  # what file managers leave behind
MOST_LISTED = 8


@dataclass(frozen=True)
class Photos:
    """The files of a folder.

    Attributes:
        files: in a fixed order.
        y: the label of each, (files,) int8.
        labels: what 0 and 1 stand for.
        splits: the folder that each lies in by its number in `SPLITS`, (files,) int8; None for a single level.
    """

    files: Sequence[Path]
    y: np.ndarray
    labels: tuple[str, str]
    splits: np.ndarray | None


def find_photos(path: str, positive: str | None, folds: int | None = None) -> Photos:
    """The photos of a folder and their classes.

    Args:
        positive: the class that is label 1; by default the obvious one, else the later in order.

    Raises:
        UserError: there is no such folder, or there are not two classes with photos, in each split; or there are
            folders for the splits, and folds were asked for.
    """
    folder = _checked_folder(path)
    of_splits = _split_folders(folder)
    if of_splits and folds is not None:
        raise UserError(f"data.folds: {path} has folders for its splits; leave data.folds out.")
    by_split = {split: _classes(below) for split, below in (of_splits or {"train": folder}).items()}
    counts = {name: len(files) for name, files in by_split["train"].items()}
    labels = _labels(counts, positive, f"data.path={of_splits['train'] if of_splits else path}")
    for split, by_class in by_split.items():
        if of_splits and set(by_class) != set(labels):
            theirs, ours = ", ".join(by_class), " and ".join(labels)
            raise UserError(
                f"data.path={of_splits[split]}: the classes are {theirs}; those of the training photos are {ours}."
            )
    parts = [_listed(by_class, labels) for by_class in by_split.values()]
    numbers = np.array([SPLITS.index(split) for split in by_split], dtype=np.int8)
    return Photos(
        [file for files, _ in parts for file in files],
        np.concatenate([y for _, y in parts]),
        labels,
        np.repeat(numbers, [len(y) for _, y in parts]) if of_splits else None,
    )


def labelled_photos(path: str, labels: tuple[str, str]) -> tuple[list[Path], np.ndarray]:
    """The photos of a folder that has a folder for one or both of these classes, and the label of each.

    Raises:
        UserError: it has other folders, or none.
    """
    folder = _checked_folder(path)
    if splits := _split_folders(folder):
        one = next(reversed(splits.values()))
        raise UserError(f"data.path={path}: this has a folder for each split; give one of them, as in data.path={one}.")
    by_class = _classes(folder)
    if others := [name for name in by_class if name not in labels]:
        raise UserError(
            f"data.path={path}: there is a folder {others[0]}; the classes of the run are {labels[0]} and {labels[1]}."
        )
    return _listed(by_class, labels)


def photos_below(path: str) -> list[Path]:
    """A photo itself, or all files below a folder, in a fixed order.

    Raises:
        UserError: there is none.
    """
    given = Path(path)
    with _readable(given):
        if given.is_file():
            return [given]
        if not given.exists():
            raise UserError(f"data.path={path}: there is no such file or folder.")
    files = _files(_checked_folder(path))
    if not files:
        raise UserError(f"data.path={path}: there is no file in this folder.")
    return files


def _checked_folder(path: str) -> Path:
    folder = Path(path)
    with _readable(folder):
        if folder.is_file():
            raise UserError(
                f"data.path={path}: this is a file; a folder with one folder of photos for each class is needed."
            )
        if not folder.is_dir():
            raise UserError(f"data.path={path}: there is no such folder.")
    return folder


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"data.path={folder}: the folder cannot be read ({error.strerror}).") from error


def _folders(folder: Path) -> list[Path]:
    with _readable(folder):
        return sorted(below for below in folder.iterdir() if below.is_dir() and not _is_hidden(below.name))


def _split_folders(folder: Path) -> dict[str, Path] | None:
    """The folders of the splits, in their order; None where the folders are something else."""
    by_split: dict[str, Path] = {}
    others = []
    for below in _folders(folder):
        name = below.name.casefold()
        split = OTHER_NAMES.get(name, name)
        if split not in SPLITS:
            others.append(below.name)
            continue
        if split in by_split:
            raise UserError(
                f"data.path={folder}: {by_split[split].name} and {below.name} are the same split; leave one out."
            )
        by_split[split] = below
    if by_split and others:
        one = next(iter(by_split.values())).name
        raise UserError(
            f"data.path={folder}: there is a folder {one} beside {others[0]}; the folders are the splits train, val "
            "and test, or the two classes, whatever these are called otherwise."
        )
    if by_split and "train" not in by_split:
        raise UserError(f"data.path={folder}: there is a folder {next(iter(by_split))}, and no folder train.")
    return {split: by_split[split] for split in SPLITS if split in by_split} or None


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The files of every class, at least one each."""
    by_class = {below.name: _files(below) for below in _folders(folder)}
    if not by_class:
        raise UserError(
            f"data.path={folder}: one folder of photos for each class is needed here, and there is no folder."
        )
    for name, files in by_class.items():
        if not files:
            raise UserError(f"data.path={folder}: the folder {name} is empty; each class needs photos.")
    return by_class


def _labels(counts: dict[str, int], positive: str | None, place: str) -> tuple[str, str]:
    if len(counts) != 2:
        listed = ", ".join(f"{name} ({plural(count, 'file')})" for name, count in list(counts.items())[:MOST_LISTED])
        more = f" and {len(counts) - MOST_LISTED} more" if len(counts) > MOST_LISTED else ""
        verb = "is" if len(counts) == 1 else "are"
        raise UserError(f"{place}: two folders are needed, one for each class, and there {verb} {listed}{more}.")
    if positive is not None and positive not in counts:
        raise UserError(f"data.positive={positive}: the classes of {place} are {' and '.join(counts)}.")
    return choose_labels(counts, positive, {}, place)


def _listed(by_class: dict[str, list[Path]], labels: tuple[str, str]) -> tuple[list[Path], np.ndarray]:
    """Their files in the order of the classes' names, whichever is which label."""
    files = [file for below in by_class.values() for file in below]
    codes = [labels.index(name) for name in by_class]
    return files, np.repeat(np.array(codes, dtype=np.int8), [len(below) for below in by_class.values()])


def _files(folder: Path) -> list[Path]:
    """Every file below a folder but hidden ones, sorted; a folder that is met again through a link is left out."""

    def fail(error: OSError) -> None:
        raise UserError(f"data.path: {error.filename}: the folder cannot be read ({error.strerror}).") from error

    files, visited = [], set()
    for place, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        if (real := os.path.realpath(place)) in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not _is_hidden(name)]
        files += [Path(place, name) for name in names if not _is_hidden(name)]
    return sorted(files)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in NOT_PHOTOS
