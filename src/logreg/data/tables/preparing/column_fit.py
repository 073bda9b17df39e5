"""From a converted table to what training reads: fitted preprocessing and the matrix of features; and leaks in it.

All of it in blocks of rows over mapped files, so that memory does not grow with the table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csc_array, csr_array

from logreg.core.errors import UserError, nearest
from logreg.data.labels import shown
from logreg.data.tables.preparing.columns import DATE_PARTS, Categorical, Column, Numeric
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.data.tables.preparing.raw_table import Chunk, NeedsFloat64, RawTable
from logreg.data.tables.preparing.roles import Roles, empty_column
from logreg.data.tables.preparing.statistics import THREADS, TrainingStatistics
from logreg.data.tables.reading.source import batch_rows
from logreg.data.tables.reading.text_blocks import in_order

# Why a column is left out.
ONE_VALUE = "it has one value only in the training rows"
NO_VALUE = "the training rows have no value there"

NEARLY_ALL_DIFFERENT = 0.95  # the share of different texts from which a column looks like a name or an id
FEWEST_ROWS_OF_AN_ID = 20  # in fewer rows, that values differ says nothing
EPSILON32 = 6e-8  # the relative error of a number in float32 …
COARSEST = 1e-5  # … and how much of its column's standard deviation that may be
LARGEST_DEVIATION = 1e30  # beyond it, a value may be more than float32 holds
MOST_FEATURES = 1000  # of a categorical, for the commonest of its levels; the others count as rare
# Levels of less than one row in a hundred share a feature, but none of 10 rows or more.
SHARE_COUNT, MOST_COUNT = 0.01, 10
FEATURE_ROWS, BLOCK_VALUES = 2**13, 2**18  # rows and features written at once
FEWEST_OF_A_CLASS = 5  # rows of a class; fewer say nothing
FILLED = 0.9  # of the rows of the rarer class: a sparse column with fewer entries cannot tell the labels apart


@dataclass
class ColumnFit:
    """How the columns of a table become features.

    Attributes:
        rows: how many training rows there are.
        left_out: why columns are not used; `columns` fills it.
    """

    training: TrainingStatistics
    roles: Roles
    rows: int
    standardize: bool
    min_count: int | None
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.raw, self.key = self.training.raw, self.training.raw.keys[0]

    def columns(self) -> list[Column]:
        """The preprocessing of every column that is used.

        Raises:
            UserError: nothing is left, or a column has no value in any row.
            NeedsFloat64: float32 does not hold the numbers of a column.
        """
        columns: list[Column] = [*self._numbers(), *self._categoricals()]
        used = {column.feature for column in columns}
        self.left_out |= {name: ONE_VALUE for name in self.roles.dates if name not in used}
        if not columns:
            why = "; ".join(f"{name}: {reason}" for name, reason in list(self.left_out.items())[:5])
            raise UserError(
                f"{self.key}: no feature is left ({why}); 'data.features=[…]' keeps the columns that it names."
            )
        order = {name: i for i, name in enumerate(self.roles.features)}
        return sorted(columns, key=lambda column: order[column.feature])

    def _numbers(self) -> Iterator[Numeric]:
        raw = self.raw
        mean, variance, missing, total = self.training.moments()
        for i in np.flatnonzero(~np.isfinite(variance) & np.isfinite(mean)).tolist():
            raise UserError(
                f"{self.key}: the numbers of column {raw.numbers[i][0]} are too large to be squared; rescale it."
            )
        if raw.dtype == np.float32:
            with np.errstate(all="ignore"):
                coarse = (np.abs(mean) * EPSILON32 > COARSEST * np.sqrt(variance)) & (variance > 0)
                if (raw.rounded & (coarse | (variance > LARGEST_DEVIATION**2))).any():
                    raise NeedsFloat64
        medians = self.training.medians(self.rows, total - missing)
        for i, (name, part) in enumerate(raw.numbers):
            if np.isnan(mean[i]) and self.training.is_empty(i):
                raise UserError(empty_column(self.key, name))
            if reason := self._useless_number(name, mean[i], variance[i], missing[i]):
                if part is None:  # a date is left out when all its parts are
                    self.left_out[name] = reason
                continue
            # Mean and variance of the column once its gaps are filled with the median: a mixture of the two.
            gaps = missing[i] / total
            centre = mean[i] + gaps * (medians[i] - mean[i])
            spread = (1 - gaps) * (variance[i] + (mean[i] - centre) ** 2) + gaps * (medians[i] - centre) ** 2
            scale = float(raw.scale[i] * np.sqrt(spread)) if self.standardize and spread > 0 else 1.0
            # The store holds (x - shift) / scale.
            centre, fill = (float(raw.shift[i] + raw.scale[i] * stored) for stored in (centre, medians[i]))
            indicator = bool(missing[i] > 0) and part in (None, DATE_PARTS[0])  # one for all parts of a date
            yield Numeric(name, centre if self.standardize else 0.0, scale, fill, indicator, part)

    def _useless_number(self, name: str, mean: float, variance: float, missing: float) -> str | None:
        if np.isnan(mean):
            return NO_VALUE
        if variance == 0 and not missing:
            return ONE_VALUE
        is_id = name in self.raw.distinct_numbers and self.raw.origins[0] >= FEWEST_ROWS_OF_AN_ID
        if is_id and name not in self.roles.asked_for:
            return "all its values are different whole numbers, as in a row id"
        return None

    def _categoricals(self) -> Iterator[Categorical]:
        rows = np.sum(self.training.level_weight, dtype=np.float64)
        by_share = int(np.clip(np.ceil(SHARE_COUNT * rows), 2, MOST_COUNT))
        least = by_share if self.min_count is None else self.min_count
        for name, counts in zip(self.raw.levels, self.training.levels(), strict=True):
            if not self.raw.levels[name].values:
                raise UserError(empty_column(self.key, name))
            column = self._categorical(name, counts, least)
            if isinstance(column, str):
                self.left_out[name] = column
                continue
            if len(column.levels) == MOST_FEATURES and column.rare:
                levels = len(column.levels) + len(column.rare)
                most = f"the commonest {MOST_FEATURES:,} have a feature each"
                self.raw.notes.append(f"column {name} has {levels:,} levels: {most}")
            yield column

    def _categorical(self, name: str, counts: np.ndarray, least: int) -> Categorical | str:
        """The column, or why it is left out."""
        values = self.raw.levels[name]
        if values.overflowed:
            return f"it has more than {values.most:,} different texts"
        different, present = self.raw.distinct_texts[name]
        like_an_id = present >= FEWEST_ROWS_OF_AN_ID and different >= NEARLY_ALL_DIFFERENT * present
        if like_an_id and name not in self.roles.asked_for:
            return "nearly all its values are different texts, as in a row id or a name"
        of_level = {value: n for value, n in zip(values.values, counts[1:].tolist(), strict=True) if n > 0}
        seen = sorted(of_level)
        commonest = sorted(seen, key=lambda value: -of_level[value])[:MOST_FEATURES]
        own = {value for value in commonest if of_level[value] >= least}
        levels, rare = [value for value in seen if value in own], [value for value in seen if value not in own]
        column = Categorical(name, levels, rare, bool(counts[0] > 0))
        if not seen:
            return NO_VALUE
        if column.width == 1:
            return ONE_VALUE if levels else "each of its values is rare"
        return column


def without_reference(columns: Sequence[Column], reference: str | Mapping[str, str] | None, key: str) -> list[Column]:
    """The columns with a level of each text column left out: the one that is named, else the first in order.

    Raises:
        UserError: a column or a level that is named is not there.
    """
    if reference is None:
        return list(columns)
    named = {} if isinstance(reference, str) else reference
    texts = [column.feature for column in columns if isinstance(column, Categorical)]
    for name in named:
        if name not in texts:
            raise UserError(
                f"data.reference: {key} has no text column {name} among the features{nearest(name, texts)}; a column "
                "of numbers is one where data.categorical names it."
            )
    return [_without(c, named.get(c.feature)) if isinstance(c, Categorical) else c for c in columns]


def _without(column: Categorical, wanted: str | None) -> Categorical:
    known = [*column.levels, *column.rare]
    if wanted is None:
        wanted = next(iter(known))
    # A boolean is the same level with capitals and without.
    same = [x for x in known if x == wanted or (column.is_boolean and x.lower() == wanted.lower())]
    if not same:
        many = " …" if len(known) > 10 else ""
        raise UserError(
            f"data.reference: column {column.feature} has no level {wanted} in the training rows"
            f"{nearest(wanted, known)}; it has {', '.join(shown(level) for level in known[:10])}{many}."
        )
    return replace(
        column,
        levels=[level for level in column.levels if level != same[0]],
        rare=[level for level in column.rare if level != same[0]],
        reference=same[0],
    )


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
        # From a level's number in its dictionary, or -1 for a missing value, to its feature in the column; -1 for none.
        numbers, levels = list(raw.levels), {c: [*values.values, None] for c, values in raw.levels.items()}
        self.codes = [
            (c.codes(pl.Series(levels[c.feature], dtype=pl.String)), numbers.index(c.feature), first)
            for c, first in self.pre.spans()
            if isinstance(c, Categorical)
        ]

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


def leaks(columns: Preprocessor, x: np.ndarray, y: np.ndarray, auroc: float) -> dict[str, float]:
    """Columns that alone reach this area under the ROC curve, and theirs.

    Args:
        x: features of some training rows, (rows, features).
        y: their labels, (rows,).
    """
    if min(y.sum(), len(y) - y.sum()) < FEWEST_OF_A_CLASS:
        return {}
    areas: dict[str, float] = {}
    for column, first in columns.spans():
        features = x[:, first : first + column.width]
        # Of a number itself and whether it is missing; of a level the share of label 1.
        for score in [_shares(features, y)] if isinstance(column, Categorical) else features.T:
            if (area := folded_auroc(score, y)) >= max(auroc, areas.get(column.feature, 0.0)):
                areas[column.feature] = area
    return areas


def sparse_leaks(x: csr_array, y: np.ndarray, auroc: float) -> dict[int, float]:
    """The same of a sparse matrix, by the number of the column, from 0."""
    fewest = min(y.sum(), len(y) - y.sum())
    if fewest < FEWEST_OF_A_CLASS:
        return {}
    by_column = csc_array(x)
    full = np.flatnonzero(np.diff(by_column.indptr) >= FILLED * fewest).tolist()
    areas = {i: folded_auroc(by_column[:, [i]].toarray()[:, 0], y) for i in full}
    return {i: area for i, area in areas.items() if area >= auroc}


def folded_auroc(score: np.ndarray, y: np.ndarray) -> float:
    """The area under the ROC curve of a score or of its negative, whichever is larger; ties count half."""
    from scipy.stats import rankdata  # slow to import

    ones, zeros = int(y.sum()), int(len(y) - y.sum())
    area = (rankdata(score)[y == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    return float(max(area, 1 - area))


def _shares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The share of label 1 among the rows of the same level in the other half of the rows, (rows,).

    Of its own half, a level that few rows have would know the label because the row itself is counted.
    """
    half = np.random.default_rng(0).permutation(len(y)) % 2
    score = np.empty(len(y))
    for side in (0, 1):
        own, other = half == side, half != side
        prior = y[other].mean()
        share = (y[other] @ x[other] + prior) / (x[other].sum(axis=0) + 1)
        none = x[own].sum(axis=1) == 0
        score[own] = np.where(none, prior, x[own] @ share)
    return score
