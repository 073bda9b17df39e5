"""What is known of a column while it is read: its levels by number, and whether it looks like a row id."""

from __future__ import annotations

import numpy as np
import polars as pl

from logreg.data.tables.values import as_levels

MOSTLY_PRESENT = 0.9  # the share of the rows that have an id, if a column is one


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
        # Values of columns of numbers, ascending for a binary search, and the codes of their levels.
        self._numbers, self._code_of_number = np.empty(0), np.empty(0, dtype=np.int32)

    def codes(self, column: pl.Series) -> np.ndarray:
        """(rows,) int32; -1 for a missing value, and for all once there are too many different ones."""
        if self.overflowed:
            self.present += len(column) - column.null_count()
            return np.full(len(column), -1, dtype=np.int32)
        codes = self._textual(column) if column.dtype == pl.String else self._numeric(column)
        self.present += int(np.count_nonzero(codes >= 0))
        return codes

    def _textual(self, column: pl.Series) -> np.ndarray:
        places = column.cast(self._written, strict=False).to_physical()
        new = column.filter(places.is_null() & column.is_not_null()).unique(maintain_order=True)
        if len(new):
            self._code_of_written = np.append(self._code_of_written, self._add(new))
            if self.overflowed:
                return np.full(len(column), -1, dtype=np.int32)
            self._written = pl.Enum([*self._written.categories.to_list(), *new.to_list()])
            places = column.cast(self._written, strict=False).to_physical()
        # A missing value has place -1, which is the last one.
        return np.append(self._code_of_written, np.int32(-1))[places.cast(pl.Int32).fill_null(-1).to_numpy()]

    def _numeric(self, column: pl.Series) -> np.ndarray:
        simple = column.dtype.is_integer() or column.dtype.is_float() or column.dtype == pl.Boolean
        if not simple or column.null_count() or (column.dtype.is_float() and column.is_nan().any()):
            return self._textual(as_levels(column))
        values = column.to_numpy()
        if not len(self._numbers):
            self._numbers = self._numbers.astype(values.dtype)
        if self._numbers.dtype != values.dtype:  # files that keep the column differently
            return self._textual(as_levels(column))
        places = np.searchsorted(self._numbers, values)
        if not np.array_equal(self._numbers.take(places, mode="clip") if len(self._numbers) else [], values):
            new = np.setdiff1d(values, self._numbers)
            codes = self._add(pl.Series(column.name, new))
            if self.overflowed:
                return np.full(len(column), -1, dtype=np.int32)
            order = np.argsort(numbers := np.append(self._numbers, new))
            self._numbers, self._code_of_number = numbers[order], np.append(self._code_of_number, codes)[order]
            places = np.searchsorted(self._numbers, values)
        return self._code_of_number[places]

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
        self._ascending, self._last = True, -1  # ascending values are distinct: nothing has to be compared
        self._seen: list[np.ndarray] = []

    def add(self, column: pl.Series) -> None:
        if not self.distinct or column.null_count() == len(column):
            return
        if not column.dtype.is_integer():  # read as a number with a point somewhere else
            self.distinct, self._seen = False, []
            return
        values = column.drop_nulls().to_numpy()
        previous, self._last = self._last, int(values[-1])
        ascending = bool((values[1:] > values[:-1]).all()) and (not self.rows or int(values[0]) > previous)
        self._ascending = self._ascending and ascending
        if self.rows < self.compared:
            self._seen.append(values.copy())
        self.rows += len(values)
        if not self._ascending and len(np.unique(values)) < len(values):
            self.distinct, self._seen = False, []

    def looks_like_id(self, rows: int) -> bool:
        """Whether it looks like a row id in a table of ``rows`` rows."""
        if self.distinct and not self._ascending:
            seen = np.concatenate(self._seen)
            self.distinct = len(np.unique(seen)) == len(seen)
        return self.distinct and self.rows >= MOSTLY_PRESENT * rows


def occurrences(codes: np.ndarray) -> dict[int, int]:
    """How often each code from -1 on occurs."""
    counts = np.bincount(codes + 1)
    return {int(code) - 1: int(counts[code]) for code in np.flatnonzero(counts)}
