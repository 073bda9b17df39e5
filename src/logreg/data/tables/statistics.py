"""What the training rows of a converted table look like: moments, medians, level counts; weighted, in constant memory.

A row of weight 3 counts as three equal rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from logreg.data.tables.convert import Raw

BLOCK_ROWS, STRETCH_ROWS = 2**13, 2**19
# Medians are exact for columns with missing values; of a larger table's other columns they are those of a sample.
EXACT_VALUES = 2**22
SAMPLED_ROWS = 2**16
GATHERED_VALUES = 2**24
# So many values at the most are sorted at once; before that the bracket around the median is narrowed.
SORTED_AT_ONCE = 2**23
BINS = 4096


def stretches(rows: int) -> list[slice]:
    """The rows in stretches for `in_threads`; the same ones on every machine, so that sums come out the same."""
    return [slice(first, min(first + STRETCH_ROWS, rows)) for first in range(0, rows, STRETCH_ROWS)]


def in_threads(function: Callable[[slice], Any], parts: list[slice]) -> list[Any]:
    """The results of a function for each of these, computed side by side: NumPy leaves the interpreter meanwhile."""
    if len(parts) == 1:
        return [function(parts[0])]
    with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1, 8)) as pool:
        return list(pool.map(function, parts))


class Training:
    """The training rows of a converted table.

    Args:
        weight: (rows,) of the whole table, 0 where a row is not for training.
    """

    def __init__(self, raw: Raw, weight: np.ndarray) -> None:
        self.raw, self.weight = raw, weight
        self.numeric = raw.numeric

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, np.ndarray]]:
        for first in range(0, self.raw.rows, rows):
            part = slice(first, first + rows)
            weight = np.asarray(self.weight[part], dtype=np.float64)
            if weight.any():
                yield part, weight

    def moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Mean and variance of the values that are there, the weight of those that are missing, and the total weight.

        Each but the last is (numbers,), in the units of ``numeric``; mean and variance are NaN where nothing is there.
        """
        about = self._some_value()
        with_missing = bool(self.raw.has_missing.any())

        def sums(part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
            width = self.numeric.shape[1]
            first, second, missing, total = np.zeros(width), np.zeros(width), np.zeros(width), 0.0
            for start in range(part.start, part.stop, BLOCK_ROWS):
                block = slice(start, min(start + BLOCK_ROWS, part.stop))
                weight = np.asarray(self.weight[block], dtype=np.float64)
                x = np.subtract(self.numeric[block], about, dtype=np.float64)
                if with_missing:
                    gaps = np.isnan(x)
                    missing += weight @ gaps
                    x[gaps] = 0.0
                first += weight @ x
                np.multiply(x, x, out=x)
                second += weight @ x
                total += float(weight.sum())
            return first, second, missing, total

        parts = in_threads(sums, stretches(self.raw.rows))
        first, second, missing, total = (sum(values) for values in zip(*parts, strict=True))
        with np.errstate(invalid="ignore", divide="ignore"):
            there = total - missing
            mean = first / there
            variance = np.maximum(second / there - mean**2, 0.0)
        return about + mean, variance, missing, float(total)

    def _some_value(self) -> np.ndarray:
        """A value of each column; moments about it are exact for a constant column and lose no digits to an offset."""
        found = np.full(self.numeric.shape[1], np.nan)
        for part, weight in self.blocks():
            x = np.asarray(self.numeric[part], dtype=np.float64)[weight > 0]
            for i in np.flatnonzero(np.isnan(found)):
                there = x[~np.isnan(x[:, i]), i]
                found[i] = there[0] if len(there) else np.nan
            if not np.isnan(found).any():
                break
        return np.nan_to_num(found)

    def medians(self, rows: int) -> np.ndarray:
        """(numbers,), in the units of ``numeric``; NaN where no value is there.

        Args:
            rows: how many training rows there are.
        """
        width = self.numeric.shape[1]
        if not width:
            return np.empty(0)
        exact = np.ones(width, dtype=bool) if rows * width <= EXACT_VALUES else self.raw.has_missing
        result = np.full(width, np.nan)
        together = max(1, GATHERED_VALUES // max(1, rows))  # columns whose values fit into memory side by side
        needed = np.flatnonzero(exact).tolist()
        for first in range(0, len(needed), together):
            group = needed[first : first + together]
            result[group] = self._medians(group) if rows <= GATHERED_VALUES else [self._median(i) for i in group]
        if not exact.all():
            step = max(1, self.raw.rows // SAMPLED_ROWS)
            chosen = np.flatnonzero(np.asarray(self.weight[::step]) > 0) * step
            sample, weight = np.asarray(self.numeric[chosen], dtype=np.float64), np.asarray(self.weight[chosen])
            for i in np.flatnonzero(~exact):
                result[i] = weighted_median(sample[:, i], weight)
        return result

    def _medians(self, columns: list[int]) -> list[float]:
        """Of columns that fit into memory together, read in one pass."""
        values, weights = [], []
        for part, weight in self.blocks(2**16):
            inside = weight > 0
            values.append(self.numeric[part][:, columns][inside])
            weights.append(weight[inside])
        x, weight = np.concatenate(values), np.concatenate(weights)
        return [weighted_median(x[:, i].astype(np.float64), weight) for i in range(len(columns))]

    def _median(self, column: int) -> float:
        """Exact: the bracket around it is narrowed until its values can be sorted."""
        low, high, below, total = -np.inf, np.inf, 0.0, None
        while True:
            values, weights, count = [], [], 0
            bottom, top, mass = np.inf, -np.inf, 0.0
            for part, weight in self.blocks(2**18):
                x = np.asarray(self.numeric[part, column], dtype=np.float64)
                inside = (weight > 0) & (x >= low) & (x <= high)
                x, weight = x[inside], weight[inside]
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

    def _narrower(self, column: int, low: float, high: float, below: float, total: float) -> tuple[float, float, float]:
        """The bins of a histogram between two values in which the middle of the weight lies, and the weight below."""
        counts, edges = np.zeros(BINS), np.linspace(low, high, BINS + 1)
        for part, weight in self.blocks(2**18):
            x = np.asarray(self.numeric[part, column], dtype=np.float64)
            inside = (weight > 0) & (x >= low) & (x <= high)
            counts += np.histogram(x[inside], edges, weights=weight[inside])[0]
        reached = below + np.cumsum(counts)
        first = int(np.searchsorted(reached, total / 2 * (1 - 1e-12)))
        last = int(np.searchsorted(reached, total / 2 * (1 + 1e-12), side="right"))
        start = below if first == 0 else float(reached[first - 1])
        # The histogram's bins are half open; a value on the lower edge belongs to this one.
        return float(edges[first]), float(edges[min(last, BINS - 1) + 1]), start

    def levels(self) -> list[np.ndarray]:
        """For each categorical the weight of missing values, then of each level in the order of its dictionary."""
        raw = self.raw
        counts = [np.zeros(len(raw.levels[name].values) + 1) for name in raw.categorical]
        codes = raw.codes
        for part, weight in self.blocks(2**16):
            for i, count in enumerate(counts):
                count += np.bincount(codes[part, i].astype(np.int64) + 1, weights=weight, minlength=len(count))
        return counts


def weighted_median(values: np.ndarray, weights: np.ndarray, below: float = 0.0, total: float | None = None) -> float:
    """The middle of values repeated so many times; between two of them, their mean.

    Args:
        below, total: where the values are an excerpt, the weight of smaller ones and of all.
    """
    there = ~np.isnan(values) & (weights > 0)
    values, weights = values[there], weights[there]
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
