"""A table as it was read, before anything is decided about it; see `logreg.data.tables.preparing.convert`.

Of its columns it knows the levels by number, and whether they look like a row id.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl

from logreg.core.errors import UserError
from logreg.data.tables.reading.kinds import as_levels
from logreg.data.tables.reading.source import batch_rows

KEPT_BYTES = 400 * 2**20  # that stay in memory; what comes after them goes to the file

MOST_LABELS = 100  # different values of the target that are counted before the table is refused
FAR = 4.0  # standard deviations: a column whose mean is further from 0 is kept relative to its mean
MOSTLY_PRESENT = 0.9  # the share of the rows that have an id, if a column is one


class NeedsFloat64(Exception):
    """float32 does not hold the numbers of a table."""


class LevelDictionary:
    """Numbers for the values of a text column, in the order of their first appearance.

    Values are looked up as they are written; only a new one is brought into the form of `as_levels`, which takes time.

    Attributes:
        values: the level of each number.
        present: rows that have a value.
        overflowed: there are more than ``most`` levels; they are not distinguished any more.
    """

    def __init__(self, most: int) -> None:
        self.values: list[str] = []
        self.most, self.overflowed, self.present = most, False, 0
        self._code: dict[str, int] = {}  # of a level
        # Texts as they are written, which polars looks up at once, and the codes of their levels.
        self._written, self._code_of_written = pl.Enum([]), np.empty(0, dtype=np.int32)

    def codes(self, column: pl.Series) -> np.ndarray:
        """(rows,) int32; -1 for a missing value, and for all once there are too many different ones."""
        if not self.overflowed:
            is_number = column.dtype.is_integer() or column.dtype.is_float() or column.dtype == pl.Boolean
            text = column if is_number or column.dtype == pl.String else as_levels(column)
            codes = self._numeric(column) if is_number else self._textual(text)
        if self.overflowed:  # which this batch may have brought about
            self.present += len(column) - column.null_count()
            return np.full(len(column), -1, dtype=np.int32)
        self.present += int(np.count_nonzero(codes >= 0))
        return codes

    def _textual(self, column: pl.Series) -> np.ndarray:
        places = column.cast(self._written, strict=False).to_physical()
        new = column.filter(places.is_null() & column.is_not_null()).unique(maintain_order=True)
        if len(new):
            self._code_of_written = np.append(self._code_of_written, self._add(new))
            self._written = pl.Enum([*self._written.categories.to_list(), *new.to_list()])
            places = column.cast(self._written, strict=False).to_physical()
        # A missing value has place -1, which is the last one.
        return np.append(self._code_of_written, np.int32(-1))[places.cast(pl.Int32).fill_null(-1).to_numpy()]

    def _numeric(self, column: pl.Series) -> np.ndarray:
        values = column.unique().sort()
        codes = column.replace_strict(values, pl.Series(self._add(values)), return_dtype=pl.Int32)
        return codes.cast(pl.Int32).to_numpy()  # of no rows polars makes another type

    def _add(self, values: pl.Series) -> np.ndarray:
        """The codes of these values, new ones among them."""
        texts = as_levels(values).to_list()
        for text in texts:
            if text is not None and text not in self._code:
                self._code[text] = len(self.values)
                self.values.append(text)
        self.overflowed = len(self.values) > self.most
        return np.array([-1 if text is None else self._code[text] for text in texts], dtype=np.int32)


class DistinctIntegers:
    """Whether a column of whole numbers has no value twice, as a row id has; missing values do not count.

    Args:
        compared: values that are compared; of a longer column the first ones.
    """

    def __init__(self, compared: int) -> None:
        self.distinct, self.rows, self.compared = True, 0, compared
        self._seen: list[pl.DataFrame] = []

    def add(self, column: pl.Series) -> None:
        values = column.drop_nulls()
        if not self.distinct or not len(values):
            return
        # In another file the column may have been read as numbers with a point.
        self.distinct = values.dtype.is_integer() and values.n_unique() == len(values)
        if not self.distinct:
            self._seen = []
        elif self.rows < self.compared:
            self._seen.append(values.to_frame())
        self.rows += len(values)

    def looks_like_id(self, rows: int) -> bool:
        """Whether it looks like a row id in a table of ``rows`` rows."""
        is_id = self.distinct and 0 < self.rows >= MOSTLY_PRESENT * rows
        return is_id and pl.concat(self._seen, how="vertical_relaxed").is_unique().all()  # files may differ in type


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows.

    Attributes:
        first: the number of the first one in the table.
        columns: (rows,) each; only to be read.
    """

    first: int
    columns: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def rows(self) -> slice:
        return slice(self.first, self.first + len(self))

    def parts(self, rows: int) -> Iterator[Chunk]:
        """The same in smaller ones, which fit into the processor's cache."""
        for start in range(0, len(self), rows):
            yield Chunk(self.first + start, [column[start : start + rows] for column in self.columns])


class ColumnStore:
    """Columns of one type that are appended to, some rows at a time, and then read in chunks of fixed size.

    Args:
        path: the scratch file.
        width: how many columns there are.
    """

    def __init__(self, path: Path, dtype: np.dtype, width: int) -> None:
        self.path, self.dtype, self.width = path, dtype, width
        self._in_memory: list[Sequence[np.ndarray]] = []
        self._in_file = 0  # chunks
        self._last = np.empty((width, 0), dtype)  # made when it is needed
        self._filled = 0  # rows of the last one
        # By the width alone: sums over a table are sums over chunks, and must not depend on how its rows were read.
        self._rows = batch_rows(width)
        self._most_in_memory = KEPT_BYTES // max(1, width * self._rows * dtype.itemsize)

    def append(self, columns: Sequence[np.ndarray]) -> None:
        """Add rows, (rows,) of each column; the columns must not change afterwards."""
        rows, start = len(columns[0]), 0
        is_full = rows == self._rows and not self._filled and all(column.dtype == self.dtype for column in columns)
        if is_full and not self._in_file and len(self._in_memory) < self._most_in_memory:
            self._in_memory.append(columns)  # not copied
            return
        while start < rows:
            if not self._last.shape[1]:
                self._last = np.empty((self.width, self._rows), self.dtype)
            count = min(rows - start, self._rows - self._filled)
            with np.errstate(over="ignore"):  # found when the columns are looked at
                for stored, column in zip(self._last, columns, strict=True):
                    stored[self._filled : self._filled + count] = column[start : start + count]
            self._filled, start = self._filled + count, start + count
            if self._filled == self._rows:
                self._filled = 0
                if not self._in_file and len(self._in_memory) < self._most_in_memory:
                    self._in_memory.append(list(self._last))
                    self._last = self._last[:, :0]
                    continue
                with self.path.open("ab") as file:
                    file.write(self._last.data.cast("B"))
                self._in_file += 1

    def chunks(self) -> list[Chunk]:
        """All rows in their order."""
        parts = list(self._in_memory)
        if self._in_file:
            shape = self._in_file, self.width, self._rows
            # Not a np.memmap, whose every slice is slow.
            parts += [list(part) for part in np.asarray(np.memmap(self.path, self.dtype, "r", shape=shape))]
        if self._filled:
            parts.append(list(self._last[:, : self._filled]))
        return [Chunk(i * self._rows, columns) for i, columns in enumerate(parts)]


def occurrences(codes: np.ndarray) -> dict[int, int]:
    """How often each code from -1 on occurs."""
    counts = np.bincount(codes + 1)
    return {int(code) - 1: int(counts[code]) for code in np.flatnonzero(counts)}


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
        notes: what the user is told of the table.
    """

    folder: Path
    dtype: np.dtype
    numbers: list[tuple[str, str | None]] = field(default_factory=list)
    levels: dict[str, LevelDictionary] = field(default_factory=dict)
    has_weight: bool = False
    has_group: bool = False
    origins: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: LevelDictionary = field(default_factory=lambda: LevelDictionary(MOST_LABELS))
    label_counts: list[Counter[int]] = field(default_factory=list)
    distinct_numbers: set[str] = field(default_factory=set)
    distinct_texts: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        width = len(self.numbers)
        self.shift, self.scale = np.zeros(width), np.ones(width)
        self.has_missing, self.rounded = np.zeros(width, dtype=bool), np.zeros(width, dtype=bool)

    @property
    def rows(self) -> int:
        return sum(self.origins)

    def choose_units(self, columns: list[np.ndarray]) -> None:
        """Choose shift and scale of columns that float32 would not hold as they are, by their first rows."""
        first = np.stack([x.astype(np.float64) for x in columns], axis=1)
        exact = all(x.dtype == np.float32 for x in columns)  # the values are float32 themselves
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # columns without any value yet
            centre, spread = np.nan_to_num(np.nanmean(first, axis=0)), np.nan_to_num(np.nanstd(first, axis=0))
        size = np.abs(centre) + spread
        extreme = (size > 0) & (size < 1e-30)
        offset = (np.abs(centre) > FAR * spread) if not exact else np.zeros(len(size), dtype=bool)
        self.shift = np.where(extreme | offset, centre, 0.0)
        self.scale = np.where(extreme, np.where(spread > 0, spread, size), 1.0)

    def end_source(
        self, key: str, rows: int, label_counts: Counter[int], integers: Mapping[str, DistinctIntegers] | None = None
    ) -> None:
        """Take down that one source has been read to its end, and of the first one whether a column is an id."""
        if not rows:
            raise UserError(f"{key}: there are no rows.")
        self.keys.append(key)
        self.origins.append(rows)
        self.label_counts.append(label_counts)
        if len(self.origins) == 1:  # another source counts again
            self.distinct_numbers = {name for name, ids in (integers or {}).items() if ids.looks_like_id(rows)}
            self.distinct_texts = {name: (len(each.values), each.present) for name, each in self.levels.items()}

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
        return self.array("codes", np.int32, self.rows, len(self.levels))

    @property
    def target(self) -> np.ndarray:
        return self.array("target", np.int8, self.rows)


def append(file: IO[bytes], array: np.ndarray) -> None:
    """Write an array's bytes, row by row, to the end of a file."""
    if array.size:
        file.write(np.ascontiguousarray(array).data.cast("B"))
