"""Which row goes to training, validation and test.

`stratified` is for arrays. `shares` is for tables of any size, and needs a byte of memory a row; `grouped_shares` keeps
groups of rows together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from logreg.core.errors import UserError, plural
from logreg.core.options.rows import SPLITS
from logreg.core.seeds import derive

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}  # as in "validation rows"


def stratified(labels: np.ndarray, fractions: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Row numbers per split, ascending, with the share of each class kept in every split.

    Raises:
        UserError: a class has too few rows to be in every split.
    """
    named = [name for name in SPLITS if fractions.get(name, 0) > 0]
    rows = np.arange(len(labels))
    if len(named) == 1:
        return {name: rows if name == "train" else rows[:0] for name in SPLITS}
    from sklearn.model_selection import train_test_split

    result = dict.fromkeys(SPLITS, rows[:0])
    remaining, share = rows, 1.0
    for position, name in enumerate(reversed(named[1:])):
        state = derive(seed, "split", position) % 2**32
        try:
            remaining, taken = train_test_split(
                remaining, test_size=fractions[name] / share, stratify=labels[remaining], random_state=state
            )
        except ValueError as error:
            zeros, ones = np.bincount(labels.astype(np.int64), minlength=2)
            raise UserError(
                f"data.split: too few rows for the splits: label 0 has {plural(int(zeros), 'row')}, label 1 has {ones};"
                f" {', '.join(named)} need one of each. Leave a split out, as in data.split.{named[-1]}=0, with "
                "data.split.train larger by as much."
            ) from error
        result[name] = np.sort(taken)
        share -= fractions[name]
    result["train"] = np.sort(remaining)
    return result


def dealt(
    labels: np.ndarray, fractions: Mapping[str, float], folds: int | None, fold: int | None, seed: int
) -> dict[str, np.ndarray]:
    """Row numbers per split, ascending: one of ``folds`` folds to validate on, the others to train on; or `stratified`.

    Raises:
        UserError: a class has too few rows to be in every fold or split.
    """
    if folds is None:
        return stratified(labels, fractions, seed)
    check_counts(np.bincount(labels, minlength=2), folds, "folds")
    parts = shares(labels, [1 / folds] * folds, np.random.default_rng(derive(seed, "split")))
    rows = np.arange(len(labels))
    return {"train": rows[parts != fold], "val": rows[parts == fold], "test": rows[:0]}


def check_counts(counts: Sequence[int] | np.ndarray, parts: int, key: str) -> None:
    """Refuse labels of which one has fewer rows than there are parts, each of which needs one.

    Args:
        counts: the rows of label 0 and of label 1.
        key: what makes the parts, ``folds`` or ``split``.

    Raises:
        UserError: a label has too few rows.
    """
    if min(counts) < parts:
        raise UserError(
            f"data.{key}: each of the {parts} {key.removesuffix('s')}s needs a row of each class, and "
            f"label 0 has {plural(int(counts[0]), 'row')}, label 1 has {counts[1]}."
        )


# Rows that are dealt out together: the result depends on it, so it never changes.
DEALT_TOGETHER = 2**16


def shares(labels: np.ndarray, fractions: Sequence[float], random: np.random.Generator) -> np.ndarray:
    """Deal rows out to parts of these sizes, (rows,) int8: each class in the same shares, to within a row.

    Rows are visited in their order, a stretch at a time; how many of a stretch go to which part is drawn without
    replacement from what the parts still lack, so the counts come out exactly and every assignment is as likely as any
    other.

    Args:
        labels: (rows,) of 0 and 1, in blocks if it is mapped from a file.
        fractions: of each part; they add up to 1.
    """
    if len(fractions) == 1:
        return np.zeros(len(labels), dtype=np.int8)
    parts = np.empty(len(labels), dtype=np.int8)
    ones = int(np.count_nonzero(labels))
    lacking = _sizes((len(labels) - ones, ones), fractions)
    for first in range(0, len(labels), DEALT_TOGETHER):
        stretch = np.asarray(labels[first : first + DEALT_TOGETHER])
        view = parts[first : first + DEALT_TOGETHER]
        for label in (0, 1):
            rows = np.flatnonzero(stretch == label)
            taken = random.multivariate_hypergeometric(lacking[label], len(rows), method="marginals")
            lacking[label] -= taken
            view[rows] = random.permutation(np.repeat(np.arange(len(taken), dtype=np.int8), taken))
    return parts


def _sizes(counts: Sequence[int], fractions: Sequence[float]) -> list[np.ndarray]:
    """Rows of each class in each part, with at least one of every class where the class has enough rows."""
    ends = np.cumsum(fractions)
    sizes = []
    for count in counts:
        edges = np.floor(ends * count + 0.5 - 1e-9).astype(np.int64)
        edges[-1] = count
        size = np.diff(np.concatenate([[0], edges]))
        while count >= len(size) and (size == 0).any():
            size[int(np.argmin(size))] += 1
            size[int(np.argmax(size))] -= 1
        sizes.append(size)
    return sizes


def grouped_shares(
    labels: np.ndarray,
    groups: np.ndarray,
    weight: np.ndarray | None,
    fractions: Sequence[float],
    random: np.random.Generator,
) -> np.ndarray:
    """The same with all rows of a group in one part: the largest groups first, each to the part that lacks most.

    Args:
        groups: (rows,) of whole numbers from 0.
        weight: (rows,): a row of weight 3 counts as three rows.
    """
    count = int(groups.max()) + 1 if len(groups) else 0
    weight = np.ones(len(groups)) if weight is None else weight
    ones = np.bincount(groups, weights=labels * weight, minlength=count)
    rows = np.bincount(groups, weights=weight, minlength=count)
    lacking = [[share * float(rows.sum() - ones.sum()), share * float(ones.sum())] for share in fractions]
    totals = [max(1.0, float(rows.sum() - ones.sum())), max(1.0, float(ones.sum()))]
    order = random.permutation(count)
    order = order[np.argsort(-rows[order], kind="stable")]
    part_of = np.empty(count, dtype=np.int8)
    zeros = (rows - ones).tolist()
    for group, positive in zip(order.tolist(), ones[order].tolist(), strict=True):
        negative = zeros[group]
        gains = [
            negative * lack[0] / totals[0] ** 2 / share + positive * lack[1] / totals[1] ** 2 / share
            if share
            else -np.inf
            for lack, share in zip(lacking, fractions, strict=True)
        ]
        part = int(np.argmax(gains))
        part_of[group] = part
        lacking[part][0] -= negative
        lacking[part][1] -= positive
    return part_of[groups]
