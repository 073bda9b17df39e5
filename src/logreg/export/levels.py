"""Levels as numbers and booleans: what a text such as ``1`` may be in a frame that somebody else read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import polars as pl

from logreg.data.columns import Categorical
from logreg.data.values import as_levels

BOOLEANS = {"true": True, "false": False}
_WHOLE = re.compile(r"-?\d{1,15}")  # float64 tells them apart


def numbers_of(levels: Sequence[str]) -> dict[str, float | int | bool]:
    """The levels that a number or a boolean stands for, with it.

    A table in which some levels are numbers has no booleans: 1 and True would be one value.
    """
    whole: dict[str, float | int | bool] = {t: int(t) for t in levels if is_whole(t)}
    fractions = {t: value for t in levels if t not in whole and (value := _fraction(t)) is not None}
    texts = as_levels(pl.Series("level", list(fractions.values()), dtype=pl.Float64)).to_list()
    same = {t: value for (t, value), text in zip(fractions.items(), texts, strict=True) if t == text}
    return whole | same or {t: BOOLEANS[t.lower()] for t in levels if t.lower() in BOOLEANS}


def spellings(column: Categorical) -> dict[str, int]:
    """The feature of each level, in every way of writing it that the run itself takes for the same."""
    found = dict(column.position)
    for level, place in column.position.items():
        if column.is_boolean:
            others = [level.capitalize(), level.upper(), "1" if level == "true" else "0"]
        else:
            others = [f"{level}.0"] if is_whole(level) else []
        found |= {other: place for other in others if other not in found}
    return found


def is_whole(level: str) -> bool:
    """Whether a level is a whole number, which a text file may write as ``1.0`` too."""
    return bool(_WHOLE.fullmatch(level)) and str(int(level)) == level


def _fraction(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
