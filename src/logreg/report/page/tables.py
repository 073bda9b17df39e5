"""A table of any length: its first rows are HTML, all of them are data that a script shows page by page, and sorts.

Numbers are written by the rules that ``templates/page.js`` has, too, so that a sorted row reads as before.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from statistics import median

from markupsafe import Markup, escape

from logreg.core.numbers import is_finite, is_number

PAGE = 50  # rows shown at once
LONGEST = 160  # characters of a cell
NOTHING = "–"  # noqa: RUF001
LARGEST = 1e7  # from here on, and below half of the last digit, a number has an exponent
DIGITS = 4  # that count, of the middle one of a column
UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def shown_number(value: float | None, decimals: int = 4) -> str:
    """A number with ``decimals``, or with an exponent where those would say nothing; ``NOTHING`` for none."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    exact = Decimal(float(value) + 0.0)  # without the sign of a zero
    with localcontext(rounding=ROUND_HALF_UP):  # away from zero, as scripts round
        if size and (size >= LARGEST or size < 5 * 10.0 ** -(decimals + 1)):
            mantissa, _, exponent = f"{exact:.2e}".partition("e")
            return f"{mantissa}e{int(exponent)}"
        return f"{exact:.{decimals}f}"


def decimals_of(values: Sequence[object]) -> int:
    """How many decimals a column needs, so that its numerals align and its middle number has `DIGITS` that count."""
    sizes = [abs(value) for value in values if is_finite(value) and value]
    if not sizes or all(float(size).is_integer() and size < LARGEST for size in sizes):
        return 0
    return max(0, min(6, DIGITS - 1 - math.floor(math.log10(median(sizes)))))


def island(value: object) -> Markup:
    """A value as JSON that can stand inside a ``<script type="application/json">`` element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(UNSAFE))


@dataclass(frozen=True)
class PagedColumn:
    """One column; see `numbers` and `texts`, which make them.

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
        return value if isinstance(value, str) else shown_number(value, self.decimals)

    def as_data(self) -> dict[str, object]:
        """What the script reads; texts are kept once each."""
        if self.kind == "number":
            return {"kind": "number", "decimals": self.decimals, "values": list(map(_packed, self.values))}
        place: dict[str, int] = {}
        codes = [place.setdefault(str(value), len(place)) for value in self.values]
        kind = "digits" if self.kind == "setting" and self.is_right else self.kind
        return {"kind": kind, "texts": list(place), "codes": codes}


def numbers(title: str, values: Iterable[object], decimals: int | None = None) -> PagedColumn:
    """A column of numbers, with the decimals that suit them; what is no number is an empty cell."""
    known = [v if is_finite(v) or (isinstance(v, float) and math.isinf(v)) else None for v in values]
    return PagedColumn(title, "number", known, decimals_of(known) if decimals is None else decimals)


def texts(title: str, values: Iterable[object], kind: str = "text") -> PagedColumn:
    """A column of texts, each of bounded length."""
    return PagedColumn(title, kind, [bounded("" if value is None else str(value)) for value in values])


def bounded(text: str, most: int = LONGEST) -> str:
    """A text without its middle where it is longer."""
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
        is_ranked: whether the rows come sorted by rising values of the first column.
    """

    name: str
    columns: list[PagedColumn]
    rest: str = ""
    page: int = PAGE
    is_ranked: bool = False

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
        shown = "".join(escape(cell) for row in self.first() for cell in row)
        size = len(f"{island(self.as_data())}{shown}".encode(errors="replace"))
        if self.count < 2 or size <= budget:
            return self
        rows = max(1, min(self.count - 1, int(0.97 * self.count * budget / size)))
        columns = [dataclasses.replace(column, values=column.values[:rows]) for column in self.columns]
        return dataclasses.replace(self, columns=columns).within(budget)
