"""Which row goes to training, validation and test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from logreg.errors import UserError
from logreg.seeds import derive

SPLITS = ("train", "val", "test")


def check_fractions(fractions: Mapping[str, float]) -> dict[str, float]:
    """The fractions of all three splits as floats; a split that is not named gets none.

    Raises:
        UserError: an unknown split, a fraction outside 0 to 1, no training rows, or a sum other than 1.
    """
    unknown = set(fractions) - set(SPLITS)
    if unknown:
        raise UserError(f"data.split.{sorted(map(str, unknown))[0]}: there is no such split; valid: train, val, test.")
    full = {name: fractions.get(name, 0) for name in SPLITS}
    for name, fraction in full.items():
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
            raise UserError(f"data.split.{name}={fraction}: a fraction between 0 and 1 is needed.")
    if full["train"] == 0 or abs(sum(full.values()) - 1) > 1e-6:
        raise UserError(
            f"data.split={full}: the fractions of train, val and test must add up to 1, with train above 0; "
            "one that is not given keeps its default."
        )
    return {name: float(fraction) for name, fraction in full.items()}


def stratified(labels: np.ndarray, fractions: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Row numbers per split, ascending, with the share of each class kept in every split.

    Raises:
        UserError: a class has too few rows to be in every split.
    """
    full = check_fractions(fractions)
    named = [name for name in SPLITS if full[name] > 0]
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
                remaining, test_size=full[name] / share, stratify=labels[remaining], random_state=state
            )
        except ValueError as error:
            counts = dict(zip(*(a.tolist() for a in np.unique(labels, return_counts=True)), strict=True))
            raise UserError(
                f"data.split: too few rows of a class for the splits (rows per class: {counts})."
            ) from error
        result[name] = np.sort(taken)
        share -= full[name]
    result["train"] = np.sort(remaining)
    return result
