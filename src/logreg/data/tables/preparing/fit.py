"""From a converted table to what training reads: labels, splits, fitted preprocessing, the matrix of features.

All of it in blocks of rows over mapped files, so that memory does not grow with the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from logreg.core.errors import UserError, nearest
from logreg.data.labels import shown
from logreg.data.tables.columns import DATE_PARTS, Categorical, Column, Numeric
from logreg.data.tables.preparing.raw_table import NeedsFloat64
from logreg.data.tables.preparing.roles import Roles, empty_column
from logreg.data.tables.preparing.statistics import TrainingStatistics

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
        by_share = int(np.clip(np.ceil(SHARE_COUNT * self.training.level_rows), 2, MOST_COUNT))
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
