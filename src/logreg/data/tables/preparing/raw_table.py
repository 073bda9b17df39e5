"""A table as it was read, before anything is decided about it; see `logreg.data.tables.preparing.convert`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np

from logreg.core.errors import UserError
from logreg.data.tables.preparing.column_store import ColumnStore
from logreg.data.tables.preparing.levels import LevelDictionary

MOST_LABELS = 100  # different values of the target that are counted before the table is refused


class NeedsFloat64(Exception):
    """float32 does not hold the numbers of a table."""


@dataclass
class RawTable:
    """A table as it was read: arrays in ``folder``, and what was noticed on the way.

    Attributes:
        origins: rows of the sources in their order.
        numbers: raw column and part of a date, if it is one, for every column of ``store``.
        shift, scale: ``store`` holds ``(x - shift) / scale``; 0 and 1 where it is float64.
        keys: of the sources, to name them in errors.
        has_missing: (numbers,), whether a value of the column is missing; `TrainingStatistics.moments` sets it.
        rounded: (numbers,), whether float32 may hold less than the column says.
        distinct_numbers: columns of whole numbers that are all different in the first source.
        distinct_texts: for each categorical, how many different values of how many the first source has.
    """

    folder: Path
    dtype: np.dtype
    numbers: list[tuple[str, str | None]] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    levels: dict[str, LevelDictionary] = field(default_factory=dict)
    labels: LevelDictionary = field(default_factory=lambda: LevelDictionary(MOST_LABELS))
    label_counts: list[Counter[int]] = field(default_factory=list)
    distinct_numbers: set[str] = field(default_factory=set)
    distinct_texts: dict[str, tuple[int, int]] = field(default_factory=dict)
    has_weight: bool = False
    has_group: bool = False

    def __post_init__(self) -> None:
        width = len(self.numbers)
        self.shift, self.scale = np.zeros(width), np.ones(width)
        self.has_missing, self.rounded = np.zeros(width, dtype=bool), np.zeros(width, dtype=bool)

    @property
    def rows(self) -> int:
        return sum(self.origins)

    def end_source(self, key: str, rows: int, label_counts: Counter[int]) -> None:
        """Take down that one source has been read to its end."""
        if not rows:
            raise UserError(f"{key}: there are no rows.")
        self.keys.append(key)
        self.origins.append(rows)
        self.label_counts.append(label_counts)

    def place(self, row: int) -> tuple[str, int]:
        """The source that a row came from, and its number there, counted from 1."""
        for key, rows in zip(self.keys, self.origins, strict=True):
            if row < rows:
                return key, row + 1
            row -= rows
        raise IndexError(row)

    def array(self, name: str, dtype: np.typing.DTypeLike, *shape: int) -> np.ndarray:
        """One of the arrays, mapped; an empty one where it has no columns."""
        if 0 in shape:
            return np.empty(shape, dtype)
        # Not a np.memmap, whose every slice is slow.
        return np.asarray(np.memmap(self.folder / name, dtype=dtype, mode="r+", shape=shape))

    @cached_property
    def store(self) -> ColumnStore:
        return ColumnStore(self.folder / "numbers", self.dtype, len(self.numbers))

    # Mapped once, when all rows are there: a page costs time when a mapping meets it first.
    @cached_property
    def codes(self) -> np.ndarray:
        return self.array("codes", np.int32, self.rows, len(self.categorical))

    @property
    def target(self) -> np.ndarray:
        return self.array("target", np.int8, self.rows)


def append(file: IO[bytes], array: np.ndarray) -> None:
    """Write an array's bytes, row by row, to the end of a file."""
    if array.size:
        file.write(np.ascontiguousarray(array).data.cast("B"))
