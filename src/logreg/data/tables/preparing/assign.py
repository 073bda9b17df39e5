"""Labels and splits: which row of a converted table is of which label, and goes to training, validation or test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from logreg.core.errors import UserError, plural
from logreg.core.options.rows import SPLITS, SplitOptions
from logreg.core.options.tables import RoleOptions
from logreg.core.seeds import derive
from logreg.data.labels import choose_labels, label_codes
from logreg.data.splits import check_counts, grouped_shares, shares
from logreg.data.tables.preparing.raw_table import RawTable, append


def binary_target(raw: RawTable, options: RoleOptions) -> tuple[np.ndarray, tuple[str, str]]:
    """The label of every row, (rows,) int8 mapped from a file, -1 where there is none; and what 0 and 1 stand for.

    Raises:
        UserError: labels are missing, or there are not two of them in the first source.
    """
    values = raw.labels.values
    column = f", data.target={options.target}" if options.target else ", the labels"
    target = f"{raw.keys[0]}{column}"
    for key, counts in zip(raw.keys, raw.label_counts, strict=True):
        absent = counts.get(-1, 0)
        if absent and not options.drop_missing_target:
            raise UserError(
                f"{key}{column}: {absent:,} of {sum(counts.values()):,} rows have no value there; "
                "data.drop_missing_target=true leaves them out."
            )
        if absent:
            verb = "is" if absent == 1 else "are"
            raw.notes.append(f"{plural(absent, 'row')} of {key} without a label {verb} left out")
    occurring = {values[code]: count for code, count in sorted(raw.label_counts[0].items()) if code >= 0}
    if not occurring:
        raise UserError(f"{target}: no row has a value there.")
    labels = choose_labels(occurring, options.positive, options.labels, target)
    meaning = np.append(label_codes(values, labels, options.labels, target), np.int8(-1))
    y = raw.target
    for first in range(0, len(y), 2**20):
        y[first : first + 2**20] = meaning[y[first : first + 2**20]]
    return y, labels


def assign_rows(raw: RawTable, y: np.ndarray, own_files: Sequence[str], split: SplitOptions, seed: int) -> np.ndarray:
    """Which split every row belongs to, (rows,) int8 by number in `SPLITS`; -1 for none.

    Args:
        own_files: the splits that the sources after the first one are, in their order.

    Raises:
        UserError: a class has fewer rows, or groups, than there are splits or folds.
    """
    split_of = np.full(raw.rows, -1, dtype=np.int8)
    first = raw.origins[0]
    start = first
    for name, count in zip(own_files, raw.origins[1:], strict=True):
        split_of[start : start + count] = SPLITS.index(name)
        start += count
    has_label = np.asarray(y[:first]) >= 0
    labelled: np.ndarray | slice = slice(None) if has_label.all() else has_label  # no copies, if it can be
    labels = np.asarray(y[:first])[labelled]
    if split.folds is not None:
        names, fractions = [f"fold {i}" for i in range(split.folds)], [1 / split.folds] * split.folds
    else:
        by_name = {name: share for name, share in split.fractions(own_files).items() if share > 0}
        names, fractions = list(by_name), list(by_name.values())
    ones = int(np.count_nonzero(labels))
    counts = len(labels) - ones, ones
    check_counts(counts, len(names), "folds" if split.folds else "split")
    random = np.random.default_rng(derive(seed, "split"))
    if raw.has_group:
        hashes = pl.Series(raw.array("group", np.uint64, raw.rows)[:first][labelled])
        distinct = hashes.unique(maintain_order=True)
        groups = hashes.replace_strict(distinct, pl.int_range(len(distinct), eager=True)).to_numpy()
        weight = raw.array("weight", np.float64, raw.rows)[:first][labelled] if raw.has_weight else None
        parts = grouped_shares(labels, groups, weight, fractions, random)
    else:
        parts = shares(labels, fractions, random)
    both = label_counts(parts, labels, len(names))
    for i, name in enumerate(names):
        if (both[i] == 0).any():
            raise UserError(f"data.group: the groups are too few or too large to give {name} rows of both classes.")
    if split.folds is not None:
        parts = (parts == split.fold).astype(np.int8)  # 0 is train, 1 is val
    else:
        parts = np.array([SPLITS.index(name) for name in names], dtype=np.int8)[parts]
    split_of[:first][labelled] = parts
    if len(own_files):
        split_of[np.asarray(y) < 0] = -1
    return split_of


def label_counts(part: np.ndarray, y: np.ndarray, parts: int) -> np.ndarray:
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
    sample, seen = [], 0
    for first in blocks:
        rows = np.flatnonzero(part[first : first + 2**20] == number) + first
        sample.append(rows[-seen % step :: step].copy())  # a view would keep all of them
        seen += len(rows)
    return np.concatenate(sample)


def write_rows(part: np.ndarray, folder: Path) -> None:
    """Write the row numbers of every split, ascending."""
    for i, split in enumerate(SPLITS):
        with (folder / f"rows_{split}").open("wb") as file:
            for first in range(0, len(part), 2**20):
                append(file, np.flatnonzero(part[first : first + 2**20] == i).astype(np.int64) + first)
