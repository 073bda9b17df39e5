"""What the training rows of a converted table look like: moments, medians, level counts; weighted, in constant memory.

A row of weight 3 counts as three equal rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Lock

import numpy as np

from logreg.core.errors import UserError
from logreg.data.tables.preparing.column_store import Chunk
from logreg.data.tables.preparing.raw_table import NeedsFloat64, RawTable
from logreg.data.tables.reading.text_blocks import in_order

BLOCK_ROWS = 2**15  # whose sums are taken at once: in the processor's cache, and few calls for threads to wait for
# Medians are exact for columns with missing values; of a larger table's other columns they are those of a sample.
EXACT_VALUES = 2**22
SAMPLED_ROWS = 2**16
# The quantiles of the sample between which an exact median is looked for.
BRACKET = 0.48, 0.52
# At most this many values are sorted at once; before that the bracket around the median is narrowed.
SORTED_AT_ONCE = 2**23
LEVEL_ROWS = 2**16
BINS = 4096
THREADS = min(os.cpu_count() or 1, 8)


class TrainingStatistics:
    """The training rows of a converted table.

    Args:
        weight: (rows,) of the whole table, 0 where a row is not for training.
    """

    def __init__(self, raw: RawTable, weight: np.ndarray) -> None:
        self.raw, self.weight = raw, weight
        self.width = len(raw.numbers)
        parts = (weight[first : first + LEVEL_ROWS] for first in range(0, len(weight), LEVEL_ROWS))
        # Whole weights say how often a row is there; of any others, levels are counted by rows.
        self.level_weight = (
            weight if weight.dtype == bool or all((part == np.floor(part)).all() for part in parts) else weight > 0
        )

    @property
    def level_rows(self) -> float:
        """The sum of what `levels` counts."""
        return float(np.sum(self.level_weight, dtype=np.float64))

    def is_empty(self, i: int) -> bool:
        """Whether no row of the table, for training or not, has a number there."""
        return all(bool(np.isnan(chunk.columns[i]).all()) for chunk in self.raw.store.chunks())

    def _weights(self, chunk: Chunk) -> np.ndarray:
        return np.asarray(self.weight[chunk.rows], dtype=np.float64)

    def moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Mean and variance of the values that are there, the weight of those that are missing, and the total weight.

        Each but the last is (numbers,), in the units of the store; mean and variance are NaN where nothing is there.
        """
        about = self._some_value()

        def sums(chunk: Chunk) -> np.ndarray:
            """(3, numbers): the sums of the values and of their squares, and the weight of the missing ones."""
            by_chunk = np.zeros((3, self.width))
            for part in chunk.parts(BLOCK_ROWS):
                weight = self._weights(part)
                x = np.empty(len(part))
                for i, column in enumerate(part.columns):
                    np.subtract(column, about[i], out=x)
                    first, second = _sums(weight, x)
                    if not np.isfinite(second):  # also where the weight is 0
                        gaps = self._gaps(i, column, part.first)
                        x[gaps] = 0.0
                        by_chunk[2, i] += weight[gaps].sum()
                        first, second = _sums(weight, x)
                    by_chunk[:2, i] += first, second
            return by_chunk

        total = float(np.sum(self.weight, dtype=np.float64))
        by_chunk = list(in_order(sums, self.raw.store.chunks(), THREADS))
        first, second, missing = np.sum(by_chunk, axis=0) if by_chunk else np.zeros((3, 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            present = total - missing
            mean = first / present
            variance = np.maximum(second / present - mean**2, 0.0)
        return about + mean, variance, missing, total

    def _some_value(self) -> np.ndarray:
        """A value of each column; moments about it are exact for a constant column and lose no digits to an offset."""
        values = np.full(self.width, np.nan)
        for chunk in self.raw.store.chunks():
            training = self._weights(chunk) > 0
            for i in np.flatnonzero(np.isnan(values)).tolist():
                present = training & np.isfinite(chunk.columns[i])
                values[i] = chunk.columns[i][present.argmax()] if present.any() else np.nan
            if not np.isnan(values).any():
                break
        return np.nan_to_num(values)

    def _gaps(self, i: int, column: np.ndarray, first: int) -> np.ndarray:
        """Where values of some rows are missing, (rows,).

        Raises:
            UserError: one is infinite.
            NeedsFloat64: one may have become infinite by being rounded.
        """
        infinite = np.isinf(column)
        if infinite.any():
            if self.raw.dtype == np.float32 and self.raw.rounded[i]:
                raise NeedsFloat64
            key, row = self.raw.place(first + int(infinite.argmax()))
            raise UserError(f"{key}: column {self.raw.numbers[i][0]} is infinite in row {row}; numbers are needed.")
        gaps = np.isnan(column)
        self.raw.has_missing[i] |= bool(gaps.any())
        return gaps

    def medians(self, rows: int, present: np.ndarray) -> np.ndarray:
        """(numbers,), in the units of the store; NaN where no value is there.

        Args:
            rows: how many training rows there are.
            present: the weight of the values of each column that are not missing.
        """
        if not self.width:
            return np.empty(0)
        small = rows * self.width <= EXACT_VALUES
        result = np.full(self.width, np.nan)
        exact = np.zeros(self.width, dtype=bool) if small else self.raw.has_missing
        sample, weight = self._sample(1 if small else max(1, self.raw.rows // SAMPLED_ROWS))
        for i in np.flatnonzero(~exact):  # of a small table the sample is all of it
            result[i] = weighted_median(sample[i], weight)
        if exact.any():
            columns = np.flatnonzero(exact)
            low, high = (np.array([weighted_quantile(sample[i], weight, q) for i in columns]) for q in BRACKET)
            medians = self._between(columns, low.astype(self.raw.dtype), high.astype(self.raw.dtype), present[columns])
            result[exact] = [self._median(int(i)) if x is None else x for i, x in zip(columns, medians, strict=True)]
        return result

    def _sample(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Every ``step``-th row, if it is for training: (numbers, rows) of values, (rows,) of weights."""
        values, weights = [np.empty((self.width, 0))], [np.empty(0)]
        for chunk in self.raw.store.chunks():
            weight = self._weights(chunk)[-chunk.first % step :: step]
            columns = [column[-chunk.first % step :: step][weight > 0] for column in chunk.columns]
            values.append(np.stack(columns).astype(np.float64))
            weights.append(weight[weight > 0])
        return np.concatenate(values, axis=1), np.concatenate(weights)

    def _between(self, columns: np.ndarray, low: np.ndarray, high: np.ndarray, total: np.ndarray) -> list[float | None]:
        """Medians of columns from the values between two bounds of each; None where they are not between them.

        Only those values are gathered and sorted; the others are counted.

        Args:
            total: the weight of the values of each column that are not missing.
        """
        most = SORTED_AT_ONCE // len(columns)
        gathered, lock = np.zeros(len(columns), dtype=np.int64), Lock()

        def gather(chunk: Chunk) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
            below, values, weights = np.zeros(len(columns)), [], []
            weight = self.weight[chunk.rows]
            training = np.asarray(weight > 0)
            for i, column in enumerate(columns.tolist()):
                x = chunk.columns[column]
                lower, inside = (x < low[i]) & training, (x <= high[i]) & training
                below[i] = np.count_nonzero(lower) if self.weight.dtype == bool else weight[lower].sum()
                inside ^= lower
                with lock:
                    gathered[i] += np.count_nonzero(inside)
                    few = gathered[i] <= most
                chosen = np.flatnonzero(inside) if few else slice(0)
                values.append(x[chosen])
                weights.append(weight[chosen])
            return below, values, weights

        parts = list(in_order(gather, self.raw.store.chunks(), THREADS))
        below = np.sum([part[0] for part in parts], axis=0)
        medians: list[float | None] = []
        for i, half in enumerate(total / 2):
            median = None
            if 0 < gathered[i] <= most:
                x = np.concatenate([part[1][i] for part in parts]).astype(np.float64)
                weight = np.concatenate([part[2][i] for part in parts]).astype(np.float64)
                if below[i] < half * (1 - 1e-9) and half * (1 + 1e-9) < below[i] + weight.sum():
                    median = weighted_median(x, weight, below[i], total[i])
            medians.append(median)
        return medians

    def _median(self, column: int) -> float:
        """Exact: the bracket around it is narrowed until its values can be sorted."""
        low, high, below, total = -np.inf, np.inf, 0.0, None
        while True:
            values, weights, count = [], [], 0
            bottom, top, mass = np.inf, -np.inf, 0.0
            for x, weight in self._within(column, low, high):
                if not len(x):
                    continue
                count, mass = count + len(x), mass + float(weight.sum())
                bottom, top = min(bottom, float(x.min())), max(top, float(x.max()))
                if count <= SORTED_AT_ONCE:
                    values.append(x)
                    weights.append(weight)
                else:
                    values, weights = [], []
            total = mass if total is None else total
            if not count:
                return float("nan")
            if bottom == top:
                return bottom
            if count <= SORTED_AT_ONCE:
                return weighted_median(np.concatenate(values), np.concatenate(weights), below, total)
            before = low, high
            low, high, below = self._narrower(column, bottom, top, below, total)
            if (low, high) == before or not low < high:  # half the weight at one value, half at another
                return (bottom + top) / 2

    def _within(self, column: int, low: float, high: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The values of a column between two bounds and their weights, chunk by chunk."""
        for chunk in self.raw.store.chunks():
            x, weight = np.asarray(chunk.columns[column], dtype=np.float64), self._weights(chunk)
            inside = (weight > 0) & (x >= low) & (x <= high)
            yield x[inside], weight[inside]

    def _narrower(self, column: int, low: float, high: float, below: float, total: float) -> tuple[float, float, float]:
        """The bins of a histogram between two values in which the middle of the weight lies, and the weight below."""
        counts, edges = np.zeros(BINS), np.linspace(low, high, BINS + 1)
        for x, weight in self._within(column, low, high):
            counts += np.histogram(x, edges, weights=weight)[0]
        reached = below + np.cumsum(counts)
        first = int(np.searchsorted(reached, total / 2 * (1 - 1e-12)))
        last = int(np.searchsorted(reached, total / 2 * (1 + 1e-12), side="right"))
        start = below if first == 0 else float(reached[first - 1])
        # The histogram's bins are half open; a value on the lower edge belongs to this one.
        return float(edges[first]), float(edges[min(last, BINS - 1) + 1]), start

    def levels(self) -> list[np.ndarray]:
        """For each categorical how often values are missing, then of each level in the order of its dictionary.

        Rows count as often as their weights say, if those are whole numbers, else once.
        """
        raw = self.raw
        counts = [np.zeros(len(raw.levels[name].values) + 1) for name in raw.categorical]
        codes = raw.codes
        for first in range(0, raw.rows, LEVEL_ROWS):
            part = slice(first, first + LEVEL_ROWS)
            weight = np.asarray(self.level_weight[part], dtype=np.float64)
            for i, count in enumerate(counts):
                count += np.bincount(codes[part, i].astype(np.int64) + 1, weights=weight, minlength=len(count))
        return counts


def _sums(weight: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """The weighted sums of values and of their squares; not by BLAS, which would start threads of its own."""
    with np.errstate(all="ignore"):
        return float(np.einsum("i,i->", weight, x)), float(np.einsum("i,i,i->", weight, x, x))


def weighted_median(values: np.ndarray, weights: np.ndarray, below: float = 0.0, total: float | None = None) -> float:
    """The median of values, each repeated as often as its weight says; between two of them, their mean.

    Args:
        below, total: where the values are an excerpt, the weight of smaller ones and of all.
    """
    present = ~np.isnan(values) & (weights > 0)
    values, weights = values[present], weights[present]
    if not len(values):
        return float("nan")
    if total is None and weights[0] == weights.max() == weights.min():
        return float(np.median(values))
    order = np.argsort(values, kind="stable")
    values, reached = values[order], below + np.cumsum(weights[order])
    half = (reached[-1] if total is None else total) / 2
    first = min(int(np.searchsorted(reached, half * (1 - 1e-12))), len(values) - 1)
    if abs(reached[first] - half) <= half * 1e-12 and first + 1 < len(values):
        return float((values[first] + values[first + 1]) / 2)
    return float(values[first])


def weighted_quantile(values: np.ndarray, weights: np.ndarray, q: float) -> float:
    """One of the values, up to which this share of the weight lies; NaN where no value is there."""
    present = ~np.isnan(values) & (weights > 0)
    if not present.any():
        return float("nan")
    order = np.argsort(values[present])
    reached = np.cumsum(weights[present][order])
    return float(values[present][order][min(int(np.searchsorted(reached, q * reached[-1])), len(order) - 1)])
