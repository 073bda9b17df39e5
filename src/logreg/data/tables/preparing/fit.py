"""From a converted table to what training reads: labels, splits, fitted preprocessing, the matrix of features.

All of it in blocks of rows over mapped files, so that memory does not grow with the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from logreg.core.errors import UserError, nearest
from logreg.data.labels import shown
from logreg.data.tables.columns import DATE_PARTS, Categorical, Column, Numeric
from logreg.data.tables.preparing.convert import NeedsFloat64, RawTable
from logreg.data.tables.preparing.roles import Roles, empty_column
from logreg.data.tables.preparing.statistics import TrainingStatistics

# A column of texts of which at least this share are different looks like a name or an id.
NEARLY_ALL_DIFFERENT = 0.95
# Below so many rows, that integers differ says nothing.
FEWEST_ROWS_OF_AN_ID = 20
# A number may be stored wrongly by so many standard deviations of its column.
EPSILON32, COARSEST = 6e-8, 1e-5
LARGEST_DEVIATION = 1e30  # beyond it, a value may be more than float32 holds
# A categorical has no more features than this, for the commonest of its levels; the others count as rare.
MOST_FEATURES = 1000
# Levels rarer than one row in a hundred are put together, but none that has so many rows.
MOST_COUNT, SHARE_COUNT = 10, 0.01


def fit_columns(
    raw: RawTable,
    roles: Roles,
    training: TrainingStatistics,
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


def _useless_number(raw: RawTable, name: str, mean: float, variance: float, missing: float, roles: Roles) -> str | None:
    if np.isnan(mean):
        return "the training rows have no value there"
    if variance == 0 and not missing:
        return "it has one value only in the training rows"
    if name in raw.distinct_numbers and name not in roles.asked_for and raw.origins[0] >= FEWEST_ROWS_OF_AN_ID:
        return "all its values are different whole numbers, as in a row id"
    return None


def _levels(raw: RawTable, name: str, counts: np.ndarray, least: int, roles: Roles) -> Categorical | str:
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


Reference = str | Mapping[str, str] | None


def without_reference(columns: Sequence[Column], reference: Reference, key: str) -> list[Column]:
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
    same = [level for level in known if (level.lower() if column.is_boolean else level) == _spelled(column, wanted)]
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


def _spelled(column: Categorical, level: str) -> str:
    return level.lower() if column.is_boolean else level
