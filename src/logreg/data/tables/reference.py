"""Which level of a text column has no feature of its own: the one that the others are compared with.

With a feature for every level the features of a column add up to the constant, so that an unpenalised fit has no single
best coefficients. Under a penalty it has, and there no level is a special one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from logreg.data.columns import Categorical, Column
from logreg.data.tables.labels import label_text, shown
from logreg.errors import UserError, nearest

FIRST = "first"
Reference = str | Mapping[str, str] | None


def parsed_reference(given: object) -> Reference:
    """``data.reference`` as the user wrote it, with levels as texts.

    Raises:
        UserError: it is neither ``first`` nor a mapping.
    """
    if given is None or given == FIRST:
        return None if given is None else FIRST
    if not isinstance(given, Mapping):
        raise UserError(f"data.reference={given}: first is needed, or a mapping such as '{{race: white}}'.")
    return {str(column): label_text(level) or "" for column, level in given.items()}


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
