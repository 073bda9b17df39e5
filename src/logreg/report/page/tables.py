"""A table of any length: its first rows are HTML, all of them are data that a script shows page by page, and sorts."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import escape

from logreg.core.numbers import is_finite, is_number
from logreg.report.page.numbers import decimals_of, shown_number
from logreg.report.page.render import island

PAGE = 50  # rows shown at once
LONGEST = 160  # characters of a cell


@dataclass(frozen=True)
class PagedColumn:
    """One column; see `numbers`, `texts` and `settings`, which make them.

    Attributes:
        title: its heading.
        kind: ``number``, ``text``, ``setting`` (a text that is sorted as a number where all are) or ``status``.
        values: a value a row; numbers may be infinite, None is an empty cell.
        decimals: of numbers.
    """

    title: str
    kind: str
    values: Sequence[float | str | None]
    decimals: int = 0

    @functools.cached_property
    def is_right(self) -> bool:
        """Whether it holds numbers, which are aligned on the right."""
        return self.kind == "number" or (self.kind == "setting" and all(is_number(str(v)) for v in self.values if v))

    def cell(self, row: int) -> str:
        value = self.values[row]
        return (
            str(value or "") if isinstance(value, str) or self.kind != "number" else shown_number(value, self.decimals)
        )

    def head(self, count: int) -> PagedColumn:
        """Its first rows."""
        return dataclasses.replace(self, values=self.values[:count])

    def as_data(self) -> dict[str, object]:
        """What the script reads; texts are kept once each."""
        if self.kind == "number":
            return {"kind": "number", "decimals": self.decimals, "values": [_packed(v) for v in self.values]}
        place: dict[str, int] = {}
        codes = [place.setdefault(str(value or ""), len(place)) for value in self.values]
        kind = "digits" if self.kind == "setting" and self.is_right else self.kind
        return {"kind": kind, "texts": list(place), "codes": codes}


def numbers(title: str, values: Sequence[object], decimals: int | None = None) -> PagedColumn:
    """A column of numbers, with the decimals that suit them; what is no number is an empty cell."""
    known: list[float | None] = [
        v if is_finite(v) or (isinstance(v, float) and math.isinf(v)) else None for v in values
    ]
    return PagedColumn(title, "number", known, decimals_of(known) if decimals is None else decimals)


def texts(title: str, values: Sequence[object], kind: str = "text") -> PagedColumn:
    """A column of texts, each of bounded length."""
    return PagedColumn(title, kind, [bounded("" if value is None else str(value)) for value in values])


def settings(title: str, values: Sequence[object]) -> PagedColumn:
    """A column of values from the command line, as they were typed."""
    return texts(title, values, "setting")


def bounded(text: str, most: int = LONGEST) -> str:
    """A text that is cut in its middle where it is longer."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[1 - most // 2 :]}"


def _packed(value: object) -> float | str | None:
    """Of a float the seven digits that anybody looks at; infinity as text, which JSON has no number for."""
    if not isinstance(value, float):
        return value if isinstance(value, int) else None
    return float(f"{value:.7g}") if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


@dataclass(frozen=True)
class PagedTable:
    """Columns of equal length under a name.

    Attributes:
        name: unique on the page; the table's id.
        rest: where all rows are, for readers without scripts.
        page: rows shown at once.
        order: index of the column that the rows are sorted by as they come, and whether by rising value.
    """

    name: str
    columns: list[PagedColumn]
    rest: str = ""
    page: int = PAGE
    order: tuple[int, bool] | None = field(default=None)

    @property
    def count(self) -> int:
        return len(self.columns[0].values)

    def first(self) -> list[list[str]]:
        """The cells of the rows that are there without a script."""
        return [[column.cell(row) for column in self.columns] for row in range(min(self.page, self.count))]

    def as_data(self) -> dict[str, object]:
        """The content of the table's data island."""
        return {"page": self.page, "count": self.count, "columns": [column.as_data() for column in self.columns]}

    def within(self, budget: int) -> PagedTable:
        """The table, or as many of its first rows as take at most ``budget`` bytes on the page."""
        table = self
        while table.count > 1 and (size := table._bytes()) > budget:
            rows = max(1, min(table.count - 1, int(0.97 * table.count * budget / size)))
            table = dataclasses.replace(table, columns=[column.head(rows) for column in table.columns])
        return table

    def _bytes(self) -> int:
        shown = "".join(escape(cell) for row in self.first() for cell in row)
        return len(f"{island(self.as_data())}{shown}".encode(errors="replace"))
