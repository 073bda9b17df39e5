"""One pass over a source: from its columns to plain arrays on disk, in constant memory.

Numbers go to a `ColumnStore`, ``codes`` (rows, categoricals) int32 and target, weight and group to a file each.
Nothing here depends on which rows are for training; `logreg.data.tables.preparing.fit` decides that when the pass is
over.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl

from logreg.core.errors import UserError
from logreg.data.tables.columns import DATE_PARTS, TIME_PARTS
from logreg.data.tables.preparing.column_store import ColumnStore
from logreg.data.tables.preparing.roles import Roles
from logreg.data.tables.reading.source import Source
from logreg.data.tables.values import as_levels, as_numbers

# A text column with more different values than this says nothing to a linear model.
MOST_LEVELS = 2**17
MOST_LABELS = 100  # different values of the target that are counted before the table is refused
DISTINCT_CHECKED = 2**24  # values of all integer columns that are compared before one is believed to be an id
MOSTLY_THERE = 0.9  # of the rows have an id, if it is one
FIRST_ROWS = 2**16  # by which the units of float32 columns are chosen
FAR = 4.0  # a column whose mean is further than so many standard deviations from 0 is kept relative to its mean

Progress = Callable[[int], None]


class NeedsFloat64(Exception):
    """float32 does not hold the numbers of a table."""


class LevelDictionary:
    """The values of a text column by number, in the order of their first appearance.

    Values are looked up as they stand; only one that is new is brought into the form of `as_levels`.
    """

    def __init__(self, most: int) -> None:
        self.values: list[str] = []
        self.most, self.overflowed, self.present = most, False, 0
        self._code: dict[str, int] = {}  # of a value
        self._raw = pl.Enum([])  # texts as they stand …
        self._code_of_raw = np.empty(0, dtype=np.int32)  # … and their codes
        self._known = np.empty(0)  # values of other columns, ascending …
        self._code_of_known = np.empty(0, dtype=np.int32)  # … and their codes

    def codes(self, column: pl.Series) -> np.ndarray:
        """(rows,) int32; -1 for a missing value, and for all once there were too many different ones."""
        if self.overflowed:
            self.present += len(column) - column.null_count()
            return np.full(len(column), -1, dtype=np.int32)
        codes = self._texts(column) if column.dtype == pl.String else self._others(column)
        self.present += int(np.count_nonzero(codes >= 0))
        return codes

    def _texts(self, column: pl.Series) -> np.ndarray:
        found = column.cast(self._raw, strict=False).to_physical()
        new = column.filter(found.is_null() & column.is_not_null()).unique(maintain_order=True)
        if len(new):
            self._code_of_raw = np.append(self._code_of_raw, self._add(new))
            if self.overflowed:
                return np.full(len(column), -1, dtype=np.int32)
            self._raw = pl.Enum([*self._raw.categories.to_list(), *new.to_list()])
            found = column.cast(self._raw, strict=False).to_physical()
        # The last place is that of a missing value.
        return np.append(self._code_of_raw, np.int32(-1))[found.cast(pl.Int32).fill_null(-1).to_numpy()]

    def _others(self, column: pl.Series) -> np.ndarray:
        simple = column.dtype.is_integer() or column.dtype.is_float() or column.dtype == pl.Boolean
        if not simple or column.null_count() or (column.dtype.is_float() and column.is_nan().any()):
            return self._texts(as_levels(column))
        values = column.to_numpy()
        if not len(self._known):
            self._known = self._known.astype(values.dtype)
        if self._known.dtype != values.dtype:  # files that keep the column differently
            return self._texts(as_levels(column))
        found = np.searchsorted(self._known, values)
        if not np.array_equal(self._known.take(found, mode="clip") if len(self._known) else [], values):
            fresh = np.setdiff1d(values, self._known)
            codes = self._add(pl.Series(column.name, fresh))
            if self.overflowed:
                return np.full(len(column), -1, dtype=np.int32)
            order = np.argsort(known := np.append(self._known, fresh))
            self._known, self._code_of_known = known[order], np.append(self._code_of_known, codes)[order]
            found = np.searchsorted(self._known, values)
        return self._code_of_known[found]

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
    """Whether a column of whole numbers has no value twice; missing ones do not count.

    Args:
        checked: values that are compared before it is believed.
    """

    def __init__(self, checked: int) -> None:
        self.holds, self.rows, self.checked = True, 0, checked
        self._ascending, self._last = True, -1
        self._seen: list[np.ndarray] = []

    def add(self, column: pl.Series) -> None:
        if not self.holds or column.null_count() == len(column):
            return
        if not column.dtype.is_integer():  # read as a number with a point somewhere else
            self.holds, self._seen = False, []
            return
        values = column.drop_nulls().to_numpy()
        before, self._last = self._last, int(values[-1])
        ascending = bool((values[1:] > values[:-1]).all()) and (not self.rows or int(values[0]) > before)
        self._ascending = self._ascending and ascending
        if self.rows < self.checked:
            self._seen.append(values.copy())
        self.rows += len(values)
        if not self._ascending and len(np.unique(values)) < len(values):
            self.holds, self._seen = False, []

    def result(self, rows: int) -> bool:
        """Whether it looks like a row id in a table of so many rows."""
        if self.holds and not self._ascending:
            seen = np.concatenate(self._seen)
            self.holds = len(np.unique(seen)) == len(seen)
        return self.holds and self.rows >= MOSTLY_THERE * rows


@dataclass
class RawTable:
    """What the pass leaves: arrays in ``folder``, and what was noticed on the way.

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
    numbers: list[tuple[str, str | None]]
    categorical: list[str]
    shift: np.ndarray
    scale: np.ndarray
    has_missing: np.ndarray
    rounded: np.ndarray
    origins: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    levels: dict[str, LevelDictionary] = field(default_factory=dict)
    labels: LevelDictionary = field(default_factory=lambda: LevelDictionary(MOST_LABELS))
    label_counts: list[Counter[int]] = field(default_factory=list)
    distinct: dict[str, DistinctIntegers] = field(default_factory=dict)
    distinct_numbers: set[str] = field(default_factory=set)
    distinct_texts: dict[str, tuple[int, int]] = field(default_factory=dict)
    has_weight: bool = False
    has_group: bool = False

    @property
    def rows(self) -> int:
        return sum(self.origins)

    def place(self, row: int) -> tuple[str, int]:
        """The source that a row came from, and its number there, counted from 1."""
        for key, rows in zip(self.keys, self.origins, strict=True):
            if row < rows:
                return key, row + 1
            row -= rows
        raise IndexError(row)

    def array(self, name: str, dtype: Any, *shape: int) -> np.ndarray:
        """One of the arrays, mapped; an empty one where it has no columns."""
        if 0 in shape:
            return np.empty(shape, dtype)
        # Not a np.memmap, whose every slice is slow.
        return np.asarray(np.memmap(self.folder / name, dtype=dtype, mode="r+", shape=shape))

    @cached_property
    def store(self) -> ColumnStore:
        return ColumnStore(self.folder / "numbers", self.dtype, len(self.numbers))

    # Mapped once, when the pass is over: a page costs time when a mapping meets it first.
    @cached_property
    def codes(self) -> np.ndarray:
        return self.array("codes", np.int32, self.rows, len(self.categorical))

    @property
    def target(self) -> np.ndarray:
        return self.array("target", np.int8, self.rows)


def convert(sources: Sequence[Source], roles: Roles, folder: Path, dtype: np.dtype, progress: Progress) -> RawTable:
    """Read the sources one after the other into ``folder``.

    Args:
        dtype: float64 keeps numbers as they are; float32 keeps columns far from zero relative to their first rows, so
            that a large offset costs no digits.
        progress: told the rows of every batch.

    Raises:
        UserError: the sources cannot be read, or hold infinite numbers, negative weights or rows without a group.
        WrongKinds: a text file turned out to hold something else than its beginning said.
    """
    return _Conversion(sources, roles, folder, dtype, progress).run()


class _Conversion:
    """The state of one pass."""

    def __init__(
        self, sources: Sequence[Source], roles: Roles, folder: Path, dtype: np.dtype, progress: Progress
    ) -> None:
        self.sources, self.roles, self.progress = sources, roles, progress
        kinds = sources[0].columns
        parts = [
            (column, part)
            for column in roles.dates
            for part in (DATE_PARTS if kinds[column] == "date" else DATE_PARTS + TIME_PARTS)
        ]
        numbers = [*((column, None) for column in roles.numeric), *parts]
        width = len(numbers)
        self.raw = RawTable(
            folder,
            dtype,
            numbers,
            roles.categorical,
            np.zeros(width),
            np.ones(width),
            np.zeros(width, dtype=bool),
            np.zeros(width, dtype=bool),
        )
        self.raw.levels = {column: LevelDictionary(MOST_LEVELS) for column in roles.categorical}
        whole = [column for column in roles.numeric if kinds[column] == "integer"]
        self.raw.distinct = {column: DistinctIntegers(DISTINCT_CHECKED // len(whole)) for column in whole}
        self.raw.has_weight, self.raw.has_group = roles.weight is not None, roles.group is not None
        self._fitted, self._has_units = dtype == np.float64, np.zeros(width, dtype=bool)
        self._columns = [c for c in (roles.target, roles.weight, roles.group, *roles.features) if c is not None]

    def run(self) -> RawTable:
        raw, roles = self.raw, self.roles
        names = [
            "codes",
            "target",
            *(["weight"] if roles.weight else []),
            *(["group"] if roles.group else []),
        ]
        files = {name: (raw.folder / name).open("wb") for name in names}
        try:
            for source in self.sources:
                rows, counts = 0, Counter[int]()
                for frame in source.batches(self._columns):
                    self._add(frame, files, counts, source.key, rows)
                    rows += len(frame)
                    self.progress(len(frame))
                if not rows:
                    raise UserError(f"{source.key}: there are no rows.")
                raw.origins.append(rows)
                raw.keys.append(source.key)
                raw.label_counts.append(counts)
                if len(raw.origins) == 1:  # whether a column is an id shows in one file: another one counts anew
                    raw.distinct_numbers = {name for name, tracker in raw.distinct.items() if tracker.result(rows)}
                    raw.distinct_texts = {name: (len(d.values), d.present) for name, d in raw.levels.items()}
                    raw.distinct = {}
        finally:
            for file in files.values():
                file.close()
        return raw

    def _add(
        self, frame: pl.DataFrame, files: Mapping[str, IO[bytes]], counts: Counter[int], key: str, row: int
    ) -> None:
        raw, roles = self.raw, self.roles
        codes = raw.labels.codes(frame[roles.target])
        if raw.labels.overflowed:
            raise UserError(
                f"data.target={roles.target}: two labels are needed, and {key} has more than {MOST_LABELS} different "
                f"values in this column, {', '.join(raw.labels.values[:5])}, … among them."
            )
        counts.update(occurrences(codes))
        append(files["target"], codes.astype(np.int8))
        if roles.weight is not None:
            append(files["weight"], _weights(frame[roles.weight], codes >= 0, key, row))
        if roles.group is not None:
            groups = as_levels(frame[roles.group])
            alone = groups.is_null().to_numpy() & (codes >= 0)
            if alone.any():
                raise UserError(
                    f"data.group={roles.group}: {key} has rows without a group, the first is row "
                    f"{row + int(np.flatnonzero(alone)[0]) + 1}."
                )
            append(files["group"], groups.hash().to_numpy())
        if raw.numbers:
            raw.store.append(self._stored(self._numbers(frame, key)))
        if raw.categorical:
            columns = [raw.levels[c].codes(frame[c]) for c in raw.categorical]
            append(files["codes"], np.stack(columns, axis=1))

    def _numbers(self, frame: pl.DataFrame, key: str) -> list[np.ndarray]:
        """The numbers of a batch, (rows,) for each column, NaN where they are missing."""
        raw = self.raw
        # Series by series: an expression would wait for polars' threads, which are reading the next rows.
        columns = [
            _as_floats(frame[column]) if part is None else as_numbers(frame[column], part, key)
            for column, part in raw.numbers
        ]
        for i, ((name, _), x) in enumerate(zip(raw.numbers, columns, strict=True)):
            raw.rounded[i] |= x.dtype != raw.dtype
            if (tracker := raw.distinct.get(name)) is not None and tracker.holds:
                tracker.add(frame[name])
        return columns

    def _stored(self, columns: list[np.ndarray]) -> list[np.ndarray]:
        """The same in the units of the store."""
        raw = self.raw
        if not self._fitted:
            first = np.stack([x[:FIRST_ROWS].astype(np.float64) for x in columns], axis=1)
            self._choose_units(first, exact=all(x.dtype == np.float32 for x in columns))
        for i in np.flatnonzero(self._has_units):
            columns[i] = (columns[i] - raw.shift[i]) / raw.scale[i]
        return columns

    def _choose_units(self, first: np.ndarray, exact: bool) -> None:
        """Choose shift and scale of columns that float32 would not hold as they are.

        Args:
            first: the first rows.
            exact: the values are float32 themselves.
        """
        raw = self.raw
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # columns without any value yet
            centre, spread = np.nan_to_num(np.nanmean(first, axis=0)), np.nan_to_num(np.nanstd(first, axis=0))
        size = np.abs(centre) + spread
        extreme = (size > 0) & (size < 1e-30)
        offset = (np.abs(centre) > FAR * spread) if not exact else np.zeros(len(size), dtype=bool)
        raw.shift = np.where(extreme | offset, centre, 0.0)
        raw.scale = np.where(extreme, np.where(spread > 0, spread, size), 1.0)
        self._has_units = extreme | offset
        self._fitted = True


def occurrences(codes: np.ndarray) -> dict[int, int]:
    """How often each code from -1 on occurs."""
    counts = np.bincount(codes + 1)
    return {int(code) - 1: int(counts[code]) for code in np.flatnonzero(counts)}


def _as_floats(column: pl.Series) -> np.ndarray:
    """A column of numbers; a view of it where it has no gaps."""
    return (column if column.dtype.is_float() else column.cast(pl.Float64)).to_numpy()


def append(file: IO[bytes], array: np.ndarray) -> None:
    """Write an array's bytes, row by row, to the end of a file."""
    if array.size:
        file.write(np.ascontiguousarray(array).data.cast("B"))


def _weights(column: pl.Series, labelled: np.ndarray, key: str, row: int) -> np.ndarray:
    """(rows,); 0 where there is no label."""
    weights = np.where(labelled, as_numbers(column, None, key), 0.0)
    bad = ~(weights >= 0)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        what = "missing" if np.isnan(weights[first]) else f"{weights[first]:g}"
        raise UserError(
            f"data.weight={column.name}: the weight in row {row + first + 1} of {key} is {what}; weights are 0 or more."
        )
    return weights
