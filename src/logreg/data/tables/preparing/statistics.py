"""What the training rows of a converted table look like: moments, medians, level counts; weighted, in constant memory.

A row of weight 3 counts as three equal rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from logreg.core.errors import UserError
from logreg.data.tables.preparing.raw_table import Chunk, NeedsFloat64, RawTable
from logreg.data.tables.reading.text_blocks import in_order

BLOCK_ROWS = 2**15  # whose sums are taken at once: in the processor's cache, and few calls for threads to wait for
# Medians are exact for columns with missing values; of a larger table's other columns they are those of a sample.
EXACT_VALUES = 2**22
SAMPLED_ROWS = 2**16
# The quantiles of the sample between which an exact median is looked for.
BRACKET = 0.48, 0.52
# At most this many values of a column are sorted at once; before that the bracket around the median is narrowed.
SORTED_AT_ONCE = 2**20
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
        sample, weight = self._sample(1 if small else max(1, self.raw.rows // SAMPLED_ROWS))
        exact = np.zeros(self.width, dtype=bool) if small else self.raw.has_missing
        # Of a small table the sample is all of it.
        result = np.array([np.nan if exact[i] else weighted_median(sample[i], weight) for i in range(self.width)])

        def exact_median(i: int) -> float:
            low, high = weighted_quantiles(sample[i], weight, BRACKET)
            return self._median(i, low, high, float(present[i]))

        result[exact] = list(in_order(exact_median, np.flatnonzero(exact).tolist(), THREADS))
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

    def _median(self, column: int, low: float, high: float, total: float) -> float:
        """Exact: the bracket around it is narrowed until its values can be sorted.

        Args:
            low, high: where the median of a sample lies, NaN where the sample has no value.
            total: the weight of all values of the column.
        """
        half, is_sure = total / 2, False
        while True:
            below, count, values, weights = 0.0, 0, [np.empty(0)], [np.empty(0)]
            bottom, top, mass = np.inf, -np.inf, 0.0
            for x, weight in self._values(column):
                lower, inside = (x < low) & (weight > 0), (x <= high) & (weight > 0)
                below += float(np.count_nonzero(lower) if weight.dtype == bool else weight[lower].sum())
                chosen = np.flatnonzero(inside ^ lower)
                x, weight = x[chosen].astype(np.float64), weight[chosen].astype(np.float64)
                count, mass = count + len(x), mass + float(weight.sum())
                bottom, top = min(bottom, x.min(initial=np.inf)), max(top, x.max(initial=-np.inf))
                if count <= SORTED_AT_ONCE:
                    values.append(x)
                    weights.append(weight)
            if not is_sure and not (below < half * (1 - 1e-9) and half * (1 + 1e-9) < below + mass):
                low, high, is_sure = -np.inf, np.inf, True  # the median of the sample was far from that of all rows
                continue
            if not count:
                return float("nan")
            if bottom == top:
                return float(bottom)
            if count <= SORTED_AT_ONCE:
                return weighted_median(np.concatenate(values), np.concatenate(weights), below, total)
            before = low, high
            low, high = self._narrower(column, float(bottom), float(top), below, half)
            if (low, high) == before or not low < high:  # half the weight at one value, half at another
                return float(bottom + top) / 2
            is_sure = True

    def _values(self, column: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The values of a column and their weights, chunk by chunk."""
        for chunk in self.raw.store.chunks():
            yield chunk.columns[column], self.weight[chunk.rows]

    def _narrower(self, column: int, low: float, high: float, below: float, half: float) -> tuple[float, float]:
        """The bins of a histogram between two values in which the middle of the weight lies."""
        counts, edges = np.zeros(BINS), np.linspace(low, high, BINS + 1)
        for x, weight in self._values(column):
            present = ~np.isnan(x)
            counts += np.histogram(x[present], edges, weights=weight[present].astype(np.float64))[0]
        reached = below + np.cumsum(counts)
        first = int(np.searchsorted(reached, half * (1 - 1e-12)))
        last = int(np.searchsorted(reached, half * (1 + 1e-12), side="right"))
        return float(edges[first]), float(edges[min(last, BINS - 1) + 1])

    def levels(self) -> list[np.ndarray]:
        """For each categorical how often values are missing, then of each level in the order of its dictionary.

        Rows count as often as their weights say, if those are whole numbers, else once.
        """
        raw = self.raw
        counts = [np.zeros(len(levels.values) + 1) for levels in raw.levels.values()]
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


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, shares: Sequence[float]) -> list[float]:
    """For each share the value up to which this share of the weight lies; NaN where no value is there."""
    present = ~np.isnan(values) & (weights > 0)
    order = np.argsort(values[present])
    reached, ascending = np.cumsum(weights[present][order]), values[present][order]
    if not len(order):
        return [float("nan") for _ in shares]
    return [float(ascending[min(int(np.searchsorted(reached, q * reached[-1])), len(order) - 1)]) for q in shares]
