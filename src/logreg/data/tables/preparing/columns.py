"""The columns that a `Preprocessor` fitted: what it keeps of each, and the features that each becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, overload

import numpy as np
import polars as pl

from logreg.data.tables.reading.kinds import WHOLE

MISSING, RARE = "(missing)", "(rare)"
DATE_PARTS = ("year", "month", "day", "weekday")
TIME_PARTS = ("hour", "minute", "second")
Texts = TypeVar("Texts", pl.Expr, pl.Series)
BOOLEANS = {"1": "true", "0": "false"}  # other ways to write them, beside capitals


@dataclass(frozen=True)
class Numeric:
    """One number of a row.

    Attributes:
        feature: the raw column.
        part: which part of a date it is; None for a number.
        fill: what a missing value is replaced by, in raw units.
        indicator: a second feature is 1 where the value is missing.
    """

    feature: str
    mean: float = 0.0
    scale: float = 1.0
    fill: float = 0.0
    indicator: bool = False
    part: str | None = None
    kind: str = "numeric"

    @property
    def names(self) -> list[str]:
        """The part of a date, or nothing for a number; then the indicator."""
        return [self.part or "", *([MISSING] if self.indicator else [])]

    @property
    def width(self) -> int:
        return 2 if self.indicator else 1

    @property
    def filled(self) -> float:
        """The standardised value in place of a missing one."""
        return (self.fill - self.mean) / self.scale


@dataclass(frozen=True)
class Categorical:
    """One column of levels.

    Attributes:
        levels: those with a feature of their own.
        rare: those that share one feature.
        missing: a feature stands for missing values.
        reference: a level that training saw and that has no feature: the others are compared with it.
    """

    feature: str
    levels: list[str] = field(default_factory=list)
    rare: list[str] = field(default_factory=list)
    missing: bool = False
    kind: str = "categorical"
    reference: str | None = None

    @property
    def names(self) -> list[str]:
        """The level of each feature, in order."""
        return [*self.levels, *([RARE] if self.rare else []), *([MISSING] if self.missing else [])]

    @property
    def width(self) -> int:
        return len(self.names)

    @property
    def seen(self) -> list[str]:
        """Every level of the training rows."""
        return [*self.levels, *self.rare, *([] if self.reference is None else [self.reference])]

    @cached_property
    def position(self) -> dict[str, int]:
        """The feature of each known level; of booleans in small letters."""
        places = {level: i for i, level in enumerate(self.levels)} | dict.fromkeys(self.rare, len(self.levels))
        return {level.lower(): place for level, place in places.items()} if self.is_boolean else places

    @cached_property
    def is_boolean(self) -> bool:
        """Whether capitals do not count, as in True and true, and 1 and 0 mean the same."""
        levels = [level.lower() for level in self.seen]
        return set(levels) <= {"true", "false"} and len(set(levels)) == len(levels)

    @cached_property
    def has_whole_numbers(self) -> bool:
        return any(level.lstrip("+-").isdigit() for level in self.seen)

    def spelled(self, level: Texts) -> Texts:
        """Levels as `position` spells them."""
        if self.is_boolean or self.has_whole_numbers:
            level = level.str.replace(*WHOLE)
        return level.str.to_lowercase().replace(BOOLEANS) if self.is_boolean else level

    def unseen(self, level: pl.Expr) -> pl.Expr:
        """How many rows have a level that training did not see."""
        level = self.spelled(level)
        known = [level.lower() for level in self.seen] if self.is_boolean else self.seen
        return (level.is_not_null() & ~level.is_in(known)).sum()

    def codes(self, column: pl.Series) -> np.ndarray:
        """The feature of each row, (rows,) int32; -1 for none."""
        levels: list[str | None] = [*self.position]
        features = [*self.position.values()]
        if self.missing:
            levels, features = [*levels, None], [*features, self.width - 1]
        spelled = self.spelled(column)
        return spelled.replace_strict(levels, features, default=-1, return_dtype=pl.Int32).to_numpy()


Column = Numeric | Categorical


class NumberedColumns(Sequence[Column]):
    """The columns of a sparse table, called by their number from 1; there may be millions."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    @overload
    def __getitem__(self, i: int) -> Column: ...
    @overload
    def __getitem__(self, i: slice) -> list[Column]: ...
    def __getitem__(self, i: int | slice) -> Column | list[Column]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(self.number))]
        if not -self.number <= i < self.number:
            raise IndexError(i)
        return Numeric(f"column_{i % self.number + 1}")
