"""Which column plays which role: target, weight, group, feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from logreg.core.errors import UserError, nearest
from logreg.core.options.tables import RoleOptions
from logreg.data.tables.reading.kinds import DATES, NUMBERS


@dataclass(frozen=True)
class Roles:
    """The role of every column that is used.

    Attributes:
        features: in the order of the table; each is in one of the three lists that follow.
        asked_for: features that were named one by one, which are kept whatever they look like.
    """

    target: str
    weight: str | None
    group: str | None
    features: list[str]
    numeric: list[str]
    categorical: list[str]
    dates: list[str]
    asked_for: frozenset[str]

    @property
    def columns(self) -> list[str]:
        """All that are read."""
        return [c for c in (self.target, self.weight, self.group, *self.features) if c is not None]


def assign(columns: Mapping[str, str], options: RoleOptions, key: str) -> Roles:
    """The roles of the columns of a table, given their kinds.

    Raises:
        UserError: a column that was named is not there or has two roles, no feature is left, or a column is of a kind
            that cannot be used.
    """
    if options.target is None:
        raise UserError(f"data.target: give the column to predict; {key} has {_some(columns)}.")
    _check_single_columns(columns, options, key)
    taken = {options.target, options.weight, options.group}
    wanted = _matching(columns, options.features, "features", key) if options.features is not None else list(columns)
    excluded = set(_matching(columns, options.exclude, "exclude", key))
    declared = set(_matching(columns, options.categorical, "categorical", key))
    features = [c for c in columns if c in set(wanted) and c not in taken and c not in excluded]
    if not features:
        raise UserError(f"{key}: no feature is left beside the target; {key} has {_some(columns)}.")
    by_kind: dict[str, list[str]] = {"numeric": [], "categorical": [], "dates": []}
    for column in features:
        kind = columns[column]
        if kind == "empty":
            raise UserError(empty_column(key, column))
        if kind == "other":
            raise UserError(
                f"{key}: column {column} holds neither numbers, texts nor dates; leave it out with "
                f"'data.exclude=[{column}]'."
            )
        if column in declared or kind in ("string", "boolean"):
            by_kind["categorical"].append(column)
        else:
            by_kind["dates" if kind in DATES else "numeric"].append(column)
    asked_for = frozenset(c for c in options.features or () if c in columns) | declared
    return Roles(options.target, options.weight, options.group, features, **by_kind, asked_for=asked_for)


def empty_column(key: str, column: str) -> str:
    """What to say of a feature without any value."""
    return f"{key}: column {column} has no value at all; leave it out with 'data.exclude=[{column}]'."


def _check_single_columns(columns: Mapping[str, str], options: RoleOptions, key: str) -> None:
    named = {"target": options.target, "weight": options.weight, "group": options.group}
    given = {name: column for name, column in named.items() if column is not None}
    for name, column in given.items():
        if column not in columns:
            hint = "; data.header=true takes them from the first line" if next(iter(columns)) == "column_1" else ""
            has = f"it has {_some(columns)}{hint}"
            raise UserError(f"data.{name}={column}: {key} has no such column{nearest(column, columns)}; {has}.")
        others = [other for other, used in given.items() if used == column and other != name]
        if others:
            raise UserError(f"data.{name}={column}: data.{others[0]} is this column already; give another one.")
        kind = columns[column]
        if kind == "other":
            raise UserError(f"data.{name}={column}: {key} holds neither numbers, texts nor dates in this column.")
        if name == "weight" and kind not in (*NUMBERS, "boolean"):
            what = "has no value at all" if kind == "empty" else f"holds {kind}s"
            raise UserError(f"data.weight={column}: numbers are needed, and this column of {key} {what}.")


def _matching(columns: Mapping[str, str], patterns: Sequence[str], name: str, key: str) -> list[str]:
    """The columns that names or globs stand for, at least one each."""
    matches: list[str] = []
    for pattern in patterns:
        matching = [c for c in columns if c == pattern] or [c for c in columns if fnmatchcase(c, pattern)]
        if not matching:
            raise UserError(
                f"data.{name}: {key} has no column {pattern}{nearest(pattern, columns)}; it has {_some(columns)}."
            )
        matches += matching
    return list(dict.fromkeys(matches))


def _some(columns: Mapping[str, str], most: int = 12) -> str:
    names = list(columns)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
