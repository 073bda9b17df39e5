"""From the values of the target column to 0 and 1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from logreg.core.errors import UserError, plural

# Which of two labels is the positive one goes without saying for these.
OBVIOUS = frozenset({"1", "1.0", "+1", "true", "yes", "y", "t", "pos", "positive", "+"})
SHOWN_VALUES = 8
_WHOLE = re.compile(r"\+?(-?\d+)(?:\.0*)?", re.ASCII)


def normalised(label: str) -> str:
    """A label without what differs between files of the same data: blanks, capitals, a final stop, ``1.0`` for 1."""
    text = label.strip().rstrip(".").casefold()
    return whole[1] if (whole := _WHOLE.fullmatch(text)) else text


def shown(label: str) -> str:
    """The beginning of a label, in one line."""
    return " ".join(label.split())[:40]


def choose_labels(
    counts: Mapping[str, int], positive: str | None, given: Mapping[str, int], key: str
) -> tuple[str, str]:
    """The labels that stand for 0 and 1.

    Args:
        counts: how often each value of the training target occurs.
        positive: the label that is to be 1.
        given: the meaning of labels, as said by the user.
        key: the target, such as ``data.target=churn``, for errors.

    Raises:
        UserError: there are not two labels, or those that were named are others.
    """
    if given:
        alike = {normalised(label): meaning for label, meaning in given.items()}
        meanings = {label: given.get(label, alike.get(normalised(label))) for label in counts}
        sides = [[label for label, meaning in meanings.items() if meaning == side] for side in (0, 1, None)]
        if sides[2]:
            raise UserError(f"{key}: data.labels says nothing of {_listed(counts, sides[2])}; give each label 0 or 1.")
        if sides[0] and sides[1]:
            return sides[0][0], sides[1][0]
        only = int(not sides[0])
        raise UserError(f"{key}: data.labels maps every label that occurs to {only}; some must be {1 - only}.")
    if len(counts) != 2:
        what = "is only one value" if len(counts) == 1 else f"are {len(counts)} values"
        many = "; data.labels maps several to 0 and 1" if len(counts) > 2 else ""
        raise UserError(f"{key}: two labels are needed, and there {what}, {_listed(counts)}{many}.")
    labels = sorted(counts, key=_order)
    if positive is not None:
        if positive not in labels:
            raise UserError(
                f"data.positive={positive}: {key} has the labels {shown(labels[0])} and {shown(labels[1])}."
            )
        return (labels[0], labels[1]) if positive == labels[1] else (labels[1], labels[0])
    obvious = [label for label in labels if label.casefold() in OBVIOUS]
    one = obvious[0] if len(obvious) == 1 else labels[1]
    return (labels[0], one) if one == labels[1] else (labels[1], labels[0])


def label_codes(values: Sequence[str], labels: tuple[str, str], given: Mapping[str, int], key: str) -> np.ndarray:
    """0 or 1 for each of these values, (values,) int8.

    Raises:
        UserError: a value is neither of the labels.
    """
    exact = {labels[0]: 0, labels[1]: 1} | dict(given)
    alike = {normalised(label): meaning for label, meaning in exact.items()}
    codes = [exact.get(value, alike.get(normalised(value))) for value in values]
    if None in codes:
        value = shown(values[codes.index(None)])
        raise UserError(
            f"{key}: {value!r} is neither {shown(labels[0])!r} (0) nor {shown(labels[1])!r} (1); "
            f"data.labels says what it is, as in 'data.labels={{\"{value}\":1}}'."
        )
    return np.array(codes, dtype=np.int8)


def _order(label: str) -> tuple[bool, float, str]:
    """Numbers by value, before texts."""
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label


def _listed(counts: Mapping[str, int], only: Sequence[str] | None = None) -> str:
    labels = sorted(only or counts, key=lambda label: -counts[label])
    listed = ", ".join(f"{shown(label)} ({plural(counts[label], 'row')})" for label in labels[:SHOWN_VALUES])
    return listed + (f" and {len(labels) - SHOWN_VALUES} more" if len(labels) > SHOWN_VALUES else "")


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes:
        column: its name; empty where the source has labels without one.
        labels: what 0 and 1 stand for.
    """

    column: str = ""
    labels: tuple[str, str] = ("0", "1")
