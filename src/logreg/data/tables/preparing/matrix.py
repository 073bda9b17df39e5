"""The matrix of features of a converted table, written block by block."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl

from logreg.data.tables.columns import Categorical, Numeric
from logreg.data.tables.preparing.raw_table import Chunk, RawTable
from logreg.data.tables.preparing.statistics import THREADS
from logreg.data.tables.preprocessor import Preprocessor
from logreg.data.tables.reading.source import batch_rows
from logreg.data.tables.reading.text_blocks import in_order

FEATURE_ROWS, BLOCK_VALUES = 2**13, 2**18  # rows and features written at once


class Matrix:
    """Writes the features of a converted table, block by block."""

    def __init__(self, raw: RawTable, preprocessor: Preprocessor) -> None:
        self.raw, self.pre = raw, preprocessor
        number = {key: i for i, key in enumerate(raw.numbers)}
        # The features that are no levels, numbers and indicators of missing ones: where they go, and what they are of.
        features = [
            (first + i, number[c.feature, c.part], c, bool(i))
            for c, first in self.pre.spans()
            if isinstance(c, Numeric)
            for i in range(c.width)
        ]
        self.places = [place for place, _, _, _ in features]
        self.source = np.array([source for _, source, _, _ in features], dtype=np.intp)
        self.indicators = [i for i, (_, _, _, is_indicator) in enumerate(features) if is_indicator]
        self.has_missing = bool(raw.has_missing[self.source].any())
        shift, scale = raw.shift[self.source], raw.scale[self.source]
        mean = (np.array([c.mean for _, _, c, _ in features]) - shift) / scale
        self.mean = mean.astype(raw.dtype)
        self.rest = (mean - self.mean).astype(raw.dtype)  # what rounding took from the mean
        self.divisor = (np.array([c.scale for _, _, c, _ in features]) / scale).astype(raw.dtype)
        self.filled = np.array([c.filled for _, _, c, _ in features], dtype=raw.dtype)
        self.codes = [
            (self._table(c), list(raw.levels).index(c.feature), first)
            for c, first in self.pre.spans()
            if isinstance(c, Categorical)
        ]

    def _table(self, column: Categorical) -> np.ndarray:
        """From a level's number in the dictionary, or -1 for missing, to its feature in the column; -1 for none."""
        known = column.position
        values = column.spelled(pl.Series(self.raw.levels[column.feature].values, dtype=pl.String))
        table = [known.get(value, -1) for value in values]
        return np.array([*table, column.width - 1 if column.missing else -1], dtype=np.int64)

    def write(self, path: Path) -> None:
        """Write all rows, (rows, features), into a file."""
        rows = int(np.clip(BLOCK_VALUES // max(1, self.pre.width), 16, FEATURE_ROWS))
        row_bytes = self.pre.width * self.raw.dtype.itemsize
        with path.open("wb") as file:

            def write(chunk: Chunk) -> None:
                for part in chunk.parts(rows):
                    view, offset = np.ascontiguousarray(self._block(part)).data.cast("B"), part.first * row_bytes
                    while view:  # all of it, however much is written at once
                        written = os.pwrite(file.fileno(), view, offset)
                        view, offset = view[written:], offset + written

            list(in_order(write, self._chunks(), THREADS))

    def _chunks(self) -> list[Chunk]:
        """The numbers, or as many rows without any."""
        if self.raw.numbers:
            return self.raw.store.chunks()
        rows, step = self.raw.rows, batch_rows(self.pre.width)
        return [Chunk(first, [np.empty(min(step, rows - first))]) for first in range(0, rows, step)]

    def _scaled(self, x: np.ndarray) -> None:
        """Standardise and fill the numbers of some rows, and set the indicators, in place."""
        gaps = np.isnan(x) if self.has_missing else None
        np.subtract(x, self.mean, out=x)
        if self.rest.any():
            np.subtract(x, self.rest, out=x)
        np.divide(x, self.divisor, out=x)
        if gaps is not None:
            np.copyto(x, self.filled, where=gaps)
            for i in self.indicators:
                x[:, i] = gaps[:, i]

    def _block(self, part: Chunk) -> np.ndarray:
        raw = self.raw
        numbers = np.empty((len(part), len(self.source)), dtype=raw.dtype)
        for i, source in enumerate(self.source):
            numbers[:, i] = part.columns[source]
        self._scaled(numbers)
        if not self.codes:
            return numbers
        x = np.zeros((len(numbers), self.pre.width), dtype=raw.dtype)
        x[:, self.places] = numbers
        codes = raw.codes[part.rows]
        for table, position, first in self.codes:
            places = table[codes[:, position]]
            present = np.flatnonzero(places >= 0)
            x[present, first + places[present]] = 1.0
        return x
