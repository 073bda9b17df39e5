"""One pass over a source: from its columns to plain arrays on disk, in constant memory.

``numeric`` (rows, numbers) row by row, ``codes`` (rows, categoricals) int32, a file each for target, weight and group.
Nothing here depends on which rows are for training; `logreg.data.tables.prepare` decides that when the pass is over.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl

from logreg.data.preprocessing import DATE_PARTS, TIME_PARTS, as_levels, as_numbers
from logreg.data.tables.roles import Roles
from logreg.data.tables.source import Source
from logreg.errors import UserError

# A text column with more different values than this says nothing to a linear model.
MOST_LEVELS = 2**17
MOST_LABELS = 100  # different values of the target that are counted before the table is refused
DISTINCT_CHECKED = 2**23  # values of an integer column that are compared before it is believed to be an id
INTERLEAVED = 4096  # rows turned from columns to rows at once, so that they stay in the processor's cache
FIRST_ROWS = 2**16  # by which the units of float32 columns are chosen
LARGEST_FLOAT32 = 1e37
FAR = 4.0  # a column whose mean is further than so many standard deviations from 0 is kept relative to its mean

Progress = Callable[[int], None]


class NeedsFloat64(Exception):
    """float32 does not hold the numbers of a table."""


class Dictionary:
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
        if column.null_count():
            return self._texts(as_levels(column))
        values = column.to_numpy()
        while True:
            found = np.searchsorted(self._known, values)
            found[found == len(self._known)] = 0
            new = values[self._known[found] != values] if len(self._known) else values
            if not len(new):
                return self._code_of_known[found]
            fresh = np.unique(new)
            codes = self._add(pl.Series(column.name, fresh))
            if self.overflowed:
                return np.full(len(column), -1, dtype=np.int32)
            order = np.argsort(known := np.append(self._known, fresh))
            self._known, self._code_of_known = known[order], np.append(self._code_of_known, codes)[order]

    def _add(self, values: pl.Series) -> np.ndarray:
        """The codes of these values, new ones among them."""
        texts = as_levels(values).to_list()
        for text in texts:
            if text is not None and text not in self._code:
                self._code[text] = len(self.values)
                self.values.append(text)
        self.overflowed = len(self.values) > self.most
        return np.array([-1 if text is None else self._code[text] for text in texts], dtype=np.int32)


class Distinct:
    """Whether an integer column has no value twice."""

    def __init__(self) -> None:
        self.holds, self.rows = True, 0
        self._ascending, self._last = True, -np.inf
        self._seen: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> None:
        if not self.holds or not len(values):
            return
        if not np.array_equal(values, np.floor(values)):  # a missing value or a fraction
            self.holds = False
            return
        before, self._last = self._last, values[-1]
        self._ascending = self._ascending and bool(values[0] > before) and bool((np.diff(values) > 0).all())
        if self.rows < DISTINCT_CHECKED:
            self._seen.append(values.copy())
        self.rows += len(values)
        if not self._ascending and len(np.unique(values)) < len(values):
            self.holds, self._seen = False, []

    def result(self) -> bool:
        if self.holds and not self._ascending and self._seen:
            seen = np.concatenate(self._seen)
            self.holds = len(np.unique(seen)) == len(seen)
        return self.holds and self.rows > 1


@dataclass
class Raw:
    """What the pass leaves: arrays in ``folder``, and what was noticed on the way.

    Attributes:
        origins: (source number, rows of it) in their order.
        numbers: raw column and part of a date, if it is one, for every column of ``numeric``.
        shift, scale: ``numeric`` holds ``(x - shift) / scale``; 0 and 1 where it is float64.
        has_missing: (numbers,), whether a value of the column is missing.
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
    levels: dict[str, Dictionary] = field(default_factory=dict)
    labels: Dictionary = field(default_factory=lambda: Dictionary(MOST_LABELS))
    label_counts: list[Counter[int]] = field(default_factory=list)
    distinct: dict[str, Distinct] = field(default_factory=dict)
    distinct_numbers: set[str] = field(default_factory=set)
    distinct_texts: dict[str, tuple[int, int]] = field(default_factory=dict)
    has_weight: bool = False
    has_group: bool = False

    @property
    def rows(self) -> int:
        return sum(self.origins)

    def array(self, name: str, dtype: Any, *shape: int) -> np.ndarray:
        """One of the arrays, mapped; an empty one where it has no columns."""
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(self.folder / name, dtype=dtype, mode="r+", shape=shape)

    @property
    def numeric(self) -> np.ndarray:
        return self.array("numeric", self.dtype, self.rows, len(self.numbers))

    @property
    def codes(self) -> np.ndarray:
        return self.array("codes", np.int32, self.rows, len(self.categorical))

    @property
    def target(self) -> np.ndarray:
        return self.array("target", np.int8, self.rows)


def convert(sources: Sequence[Source], roles: Roles, folder: Path, dtype: np.dtype, progress: Progress) -> Raw:
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
        self.raw = Raw(
            folder,
            dtype,
            numbers,
            roles.categorical,
            np.zeros(width),
            np.ones(width),
            np.zeros(width, dtype=bool),
            np.zeros(width, dtype=bool),
        )
        self.raw.levels = {column: Dictionary(MOST_LEVELS) for column in roles.categorical}
        self.raw.distinct = {column: Distinct() for column in roles.numeric if kinds[column] == "integer"}
        self.raw.has_weight, self.raw.has_group = roles.weight is not None, roles.group is not None
        self._fitted, self._has_units = dtype == np.float64, np.zeros(width, dtype=bool)
        self._buffer = np.empty((0, width), dtype)
        self._columns = [c for c in (roles.target, roles.weight, roles.group, *roles.features) if c is not None]

    def run(self) -> Raw:
        raw, roles = self.raw, self.roles
        names = [
            "numeric",
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
                raw.label_counts.append(counts)
                if len(raw.origins) == 1:  # whether a column is an id shows in one file: another one counts anew
                    raw.distinct_numbers = {name for name, tracker in raw.distinct.items() if tracker.result()}
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
            append(files["weight"], _weights(frame[roles.weight], key, row))
        if roles.group is not None:
            groups = as_levels(frame[roles.group])
            if groups.null_count():
                raise UserError(
                    f"data.group={roles.group}: {key} has rows without a group, the first is row "
                    f"{row + int(groups.is_null().arg_true()[0]) + 1}."
                )
            append(files["group"], groups.hash().to_numpy())
        if raw.numbers:
            append(files["numeric"], self._rows(self._numbers(frame, key, row)))
        if raw.categorical:
            columns = [raw.levels[c].codes(frame[c]) for c in raw.categorical]
            append(files["codes"], np.stack(columns, axis=1))

    def _numbers(self, frame: pl.DataFrame, key: str, row: int) -> list[np.ndarray]:
        """The numbers of a batch, (rows,) for each column, NaN where they are missing."""
        raw = self.raw
        # Series by series: an expression would wait for polars' threads, which are reading the next rows.
        columns = [
            _as_floats(frame[column]) if part is None else as_numbers(frame[column], part, key)
            for column, part in raw.numbers
        ]
        for i, ((name, _), x) in enumerate(zip(raw.numbers, columns, strict=True)):
            with np.errstate(all="ignore"):
                finite = np.isfinite(x.sum())
            if not finite:
                self._look_closer(i, name, x, key, row)
            if x.dtype != raw.dtype:
                raw.rounded[i] = True
                with np.errstate(all="ignore"):
                    if np.nanmax(np.abs(x), initial=0.0) > LARGEST_FLOAT32:
                        raise NeedsFloat64
            if (tracker := raw.distinct.get(name)) is not None and tracker.holds:
                tracker.add(x)
        return columns

    def _look_closer(self, i: int, name: str, x: np.ndarray, key: str, row: int) -> None:
        """A column whose sum is not finite: values are missing, or infinite.

        Raises:
            UserError: one is infinite.
        """
        infinite = np.isinf(x)
        if infinite.any():
            first = row + int(np.flatnonzero(infinite)[0]) + 1
            raise UserError(f"{key}: column {name} is infinite in row {first}; numbers are needed.")
        self.raw.has_missing[i] |= bool(np.isnan(x).any())

    def _rows(self, columns: list[np.ndarray]) -> np.ndarray:
        """The same row by row, as the file keeps it; overwritten by the next batch."""
        raw, rows = self.raw, len(columns[0])
        if not self._fitted:
            first = np.stack([x[:FIRST_ROWS].astype(np.float64) for x in columns], axis=1)
            self._choose_units(first, exact=all(x.dtype == np.float32 for x in columns))
        if len(self._buffer) < rows:
            self._buffer = np.empty((rows, len(columns)), raw.dtype)
        out = self._buffer[:rows]
        for i in range(0, rows, INTERLEAVED):
            block = out[i : i + INTERLEAVED]
            for j, x in enumerate(columns):
                part = x[i : i + INTERLEAVED]
                block[:, j] = (part - raw.shift[j]) / raw.scale[j] if self._has_units[j] else part
        return out

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


def _weights(column: pl.Series, key: str, row: int) -> np.ndarray:
    weights = as_numbers(column, None, key)
    bad = ~(weights >= 0)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        what = "missing" if np.isnan(weights[first]) else f"{weights[first]:g}"
        raise UserError(
            f"data.weight={column.name}: the weight in row {row + first + 1} of {key} is {what}; weights are 0 or more."
        )
    return weights
