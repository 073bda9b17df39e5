"""From a converted table to what training reads: labels, splits, fitted preprocessing, the matrix of features.

All of it in blocks of rows over mapped files, so that memory does not grow with the table.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from logreg.data.columns import DATE_PARTS, Categorical, Column, Numeric
from logreg.data.preprocessing import Preprocessor
from logreg.data.splits import SPLITS, grouped_shares, shares
from logreg.data.tables.column_store import Chunk
from logreg.data.tables.convert import NeedsFloat64, Raw, append
from logreg.data.tables.labels import choose_labels, label_codes
from logreg.data.tables.roles import RoleOptions, Roles, empty_column
from logreg.data.tables.source import batch_rows
from logreg.data.tables.statistics import Training, in_threads
from logreg.errors import UserError, plural
from logreg.seeds import derive

# A column of texts of which at least this share are different looks like a name or an id.
NEARLY_ALL_DIFFERENT = 0.95
# Below so many rows, that integers differ says nothing.
FEWEST_ROWS_OF_AN_ID = 20
# A number may be stored wrongly by so many standard deviations of its column.
EPSILON32, COARSEST = 6e-8, 1e-5
LARGEST_DEVIATION = 1e30  # beyond it, a value may be more than float32 holds
# A categorical has no more features than this, for the commonest of its levels; the others count as rare.
MOST_FEATURES = 1000
FEATURE_ROWS, BLOCK_VALUES = 2**13, 2**18  # rows and features written at once
# Levels rarer than one row in a hundred are put together, but none that has so many rows.
MOST_COUNT, SHARE_COUNT = 10, 0.01


@dataclass(frozen=True)
class SplitOptions:
    """Which rows are for what.

    Attributes:
        fractions: of train, val and test, in the rows that no file of their own takes out.
        folds, fold: train on all folds but one, validate on that one.
    """

    fractions: dict[str, float]
    folds: int | None = None
    fold: int | None = None


def binary_target(
    raw: Raw, options: RoleOptions, keys: Sequence[str], notes: list[str]
) -> tuple[np.ndarray, tuple[str, str]]:
    """The label of every row, (rows,) int8 mapped from a file, -1 where there is none; and what 0 and 1 stand for.

    Raises:
        UserError: labels are missing, or there are not two of them in the first source.
    """
    values = raw.labels.values
    column = f", data.target={options.target}" if options.target else ", the labels"
    target = f"{keys[0]}{column}"
    for key, counts in zip(keys, raw.label_counts, strict=True):
        absent = counts.get(-1, 0)
        if absent and not options.drop_missing_target:
            raise UserError(
                f"{key}{column}: {absent:,} of {sum(counts.values()):,} rows have no value there; "
                "data.drop_missing_target=true leaves them out."
            )
        if absent:
            notes.append(f"{plural(absent, 'row')} of {key} without a label {'is' if absent == 1 else 'are'} left out")
    occurring = {values[code]: count for code, count in sorted(raw.label_counts[0].items()) if code >= 0}
    if not occurring:
        raise UserError(f"{target}: no row has a value there.")
    labels = choose_labels(occurring, options.positive, options.labels, target)
    meaning = np.append(label_codes(values, labels, options.labels, target), np.int8(-1))
    y = raw.target
    for first in range(0, len(y), 2**20):
        y[first : first + 2**20] = meaning[y[first : first + 2**20]]
    return y, labels


def assign_rows(raw: Raw, y: np.ndarray, own_files: Sequence[str], split: SplitOptions, seed: int) -> np.ndarray:
    """Which split every row belongs to, (rows,) int8 by number in `SPLITS`; -1 for none.

    Args:
        own_files: the splits that the sources after the first one are, in their order.

    Raises:
        UserError: a class has fewer rows, or groups, than there are splits or folds.
    """
    part = np.full(raw.rows, -1, dtype=np.int8)
    first = raw.origins[0]
    start = first
    for name, count in zip(own_files, raw.origins[1:], strict=True):
        part[start : start + count] = SPLITS.index(name)
        start += count
    there: Any = np.asarray(y[:first]) >= 0
    if there.all():
        there = slice(None)  # no copies
    labels = np.asarray(y[:first])[there]
    if split.folds is not None:
        names, fractions = [f"fold {i}" for i in range(split.folds)], [1 / split.folds] * split.folds
    else:
        left = {name: split.fractions[name] for name in SPLITS if name not in own_files and split.fractions[name] > 0}
        names, fractions = list(left), [share / sum(left.values()) for share in left.values()]
    ones = int(np.count_nonzero(labels))
    counts = len(labels) - ones, ones
    if min(counts) < len(names):
        key, what = ("folds", "folds") if split.folds else ("split", "splits")
        raise UserError(
            f"data.{key}: each of the {len(names)} {what} needs a row of each class, and "
            f"label 0 has {plural(counts[0], 'row')}, label 1 has {counts[1]}."
        )
    random = np.random.default_rng(derive(seed, "split"))
    if raw.has_group:
        hashes = raw.array("group", np.uint64, raw.rows)[:first][there]
        _, begins, groups = np.unique(hashes, return_index=True, return_inverse=True)
        groups = np.argsort(np.argsort(begins))[groups]  # numbered as they first appear
        weight = raw.array("weight", np.float64, raw.rows)[:first][there] if raw.has_weight else None
        dealt = grouped_shares(labels, groups, weight, fractions, random)
    else:
        dealt = shares(labels, fractions, random)
    both = _counts(dealt, labels, len(names))
    for i, name in enumerate(names):
        if (both[i] == 0).any():
            raise UserError(f"data.group: the groups are too few or too large to give {name} rows of both classes.")
    if split.folds is not None:
        dealt = (dealt == split.fold).astype(np.int8)  # 0 is train, 1 is val
    else:
        dealt = np.array([SPLITS.index(name) for name in names], dtype=np.int8)[dealt]
    part[:first][there] = dealt
    if len(own_files):
        part[np.asarray(y) < 0] = -1
    return part


def fit_columns(
    raw: Raw,
    roles: Roles,
    training: Training,
    rows: int,
    standardize: bool,
    min_count: int | None,
    key: str,
    notes: list[str],
) -> tuple[list[Column], dict[str, str]]:
    """The preprocessing of every column that is used, and why the others are left out.

    Raises:
        UserError: nothing is left, or a column has no value in any row.
    """
    columns: list[Column] = []
    left_out: dict[str, str] = {}
    mean, variance, missing, total = training.moments()
    for i in np.flatnonzero(~np.isfinite(variance) & np.isfinite(mean)).tolist():
        raise UserError(f"{key}: the numbers of column {raw.numbers[i][0]} are too large to be squared; rescale it.")
    if raw.dtype == np.float32:
        with np.errstate(all="ignore"):
            coarse = raw.rounded & (np.abs(mean) * EPSILON32 > COARSEST * np.sqrt(variance)) & (variance > 0)
            coarse |= raw.rounded & (variance > LARGEST_DEVIATION**2)
        if coarse.any():
            raise NeedsFloat64
    medians = training.medians(rows, total - missing)
    for i, (name, part) in enumerate(raw.numbers):
        if np.isnan(mean[i]) and training.is_empty(i):
            raise UserError(empty_column(key, name))
        reason = _useless_number(raw, name, mean[i], variance[i], missing[i], roles)
        if reason:
            if part is None:
                left_out[name] = reason
            continue
        # In raw units, over the column as it is with its gaps filled.
        to_raw = lambda stored, i=i: float(raw.shift[i] + raw.scale[i] * stored)  # noqa: E731
        gap = missing[i] / total
        centre = mean[i] + gap * (medians[i] - mean[i])
        spread = (1 - gap) * (variance[i] + (mean[i] - centre) ** 2) + gap * (medians[i] - centre) ** 2
        scale = float(raw.scale[i] * np.sqrt(spread)) if standardize and spread > 0 else 1.0
        indicator = bool(missing[i] > 0) and part in (None, DATE_PARTS[0])  # one for all parts of a date
        columns.append(
            Numeric(name, to_raw(centre) if standardize else 0.0, scale, to_raw(medians[i]), indicator, part)
        )
    counted = training.level_rows
    least = min_count if min_count is not None else int(np.clip(np.ceil(SHARE_COUNT * counted), 2, MOST_COUNT))
    for name, counts in zip(raw.categorical, training.levels(), strict=True):
        if not raw.levels[name].values:
            raise UserError(empty_column(key, name))
        found = _levels(raw, name, counts, least, roles)
        if isinstance(found, Categorical) and len(found.levels) == MOST_FEATURES and found.rare:
            levels = len(found.levels) + len(found.rare)
            notes.append(f"column {name} has {levels:,} levels: the commonest {MOST_FEATURES:,} have a feature each")
        if isinstance(found, str):
            left_out[name] = found
        else:
            columns.append(found)
    for name in roles.dates:
        if not any(column.feature == name for column in columns):
            left_out[name] = "it has one value only in the training rows"
    if not columns:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:5])
        raise UserError(f"{key}: no feature is left ({why}); 'data.features=[…]' keeps the columns that it names.")
    order = {name: i for i, name in enumerate(roles.features)}
    return sorted(columns, key=lambda column: order[column.feature]), left_out


def _useless_number(raw: Raw, name: str, mean: float, variance: float, missing: float, roles: Roles) -> str | None:
    if np.isnan(mean):
        return "the training rows have no value there"
    if variance == 0 and not missing:
        return "it has one value only in the training rows"
    if name in raw.distinct_numbers and name not in roles.asked_for and raw.origins[0] >= FEWEST_ROWS_OF_AN_ID:
        return "all its values are different whole numbers, as in a row id"
    return None


def _levels(raw: Raw, name: str, counts: np.ndarray, least: int, roles: Roles) -> Categorical | str:
    values = raw.levels[name]
    if values.overflowed:
        return f"it has more than {values.most:,} different texts"
    different, present = raw.distinct_texts[name]
    alike = present >= FEWEST_ROWS_OF_AN_ID and different >= NEARLY_ALL_DIFFERENT * present
    if alike and name not in roles.asked_for:
        return "nearly all its values are different texts, as in a row id or a name"
    seen = sorted((value, count) for value, count in zip(values.values, counts[1:].tolist(), strict=True) if count > 0)
    commonest = sorted(seen, key=lambda pair: -pair[1])[:MOST_FEATURES]
    own = {value for value, count in commonest if count >= least}
    levels = [value for value, _ in seen if value in own]
    rare = [value for value, _ in seen if value not in own]
    column = Categorical(name, levels, rare, bool(counts[0] > 0))
    if not seen:
        return "the training rows have no value there"
    if column.width == 1:
        return "it has one value only in the training rows" if levels else "each of its values is rare"
    return column


class Matrix:
    """Writes the features of a converted table, block by block."""

    def __init__(self, raw: Raw, columns: list[Column]) -> None:
        self.raw, self.columns = raw, columns
        self.pre = Preprocessor(columns)
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
            (self._table(c), raw.categorical.index(c.feature), first)
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
                    write_at(file.fileno(), self._block(part), part.first * row_bytes)

            in_threads(write, self._chunks())

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
        """The features of some rows."""
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
            found = table[codes[:, position]]
            here = np.flatnonzero(found >= 0)
            x[here, first + found[here]] = 1.0
        return x


def write_at(file: int, array: np.ndarray, offset: int) -> None:
    """Write an array's bytes at a place of an open file, all of them."""
    view = np.ascontiguousarray(array).data.cast("B")
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def split_counts(part: np.ndarray, y: np.ndarray) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Rows, and rows of each label, in every split."""
    labels = dict(zip(SPLITS, _counts(part, y, len(SPLITS)).tolist(), strict=True))
    return {name: sum(counts) for name, counts in labels.items()}, labels


def _counts(part: np.ndarray, y: np.ndarray, parts: int) -> np.ndarray:
    """How many rows of label 0 and 1 are in each part, (parts, 2); in blocks, as counting makes int64 of everything."""
    counts = np.zeros(2 * parts, dtype=np.int64)
    for first in range(0, len(part), 2**20):
        cell = 2 * part[first : first + 2**20].astype(np.int16) + y[first : first + 2**20]
        counts += np.bincount(cell[part[first : first + 2**20] >= 0], minlength=2 * parts)
    return counts.reshape(parts, 2)


def evenly_spaced(part: np.ndarray, number: int, most: int) -> np.ndarray:
    """Row numbers of a part: about ``most`` of them, evenly spaced; in blocks, as a row number takes eight bytes."""
    blocks = range(0, len(part), 2**20)
    step = max(1, sum(int(np.count_nonzero(part[i : i + 2**20] == number)) for i in blocks) // most)
    found, seen = [], 0
    for first in blocks:
        rows = np.flatnonzero(part[first : first + 2**20] == number) + first
        found.append(rows[-seen % step :: step].copy())  # a view would keep all of them
        seen += len(rows)
    return np.concatenate(found)


def write_rows(part: np.ndarray, folder: Path) -> None:
    """Write the row numbers of every split, ascending."""
    for i, split in enumerate(SPLITS):
        with (folder / f"rows_{split}").open("wb") as file:
            for first in range(0, len(part), 2**20):
                append(file, np.flatnonzero(part[first : first + 2**20] == i).astype(np.int64) + first)
