"""Tables for a terminal, which may have eighty columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

LONG = 16  # characters of a text, from where on it is folded where there is no room
BETWEEN, EDGES = 2, 2  # blanks between two columns of a table, and at its two edges
NUMBERS = re.compile(r"[-+.]?\d.*|")  # and intervals of them, and nothing


def say(console: Console, *lines: str) -> None:
    """Print lines as they are: brackets are no markup, and a long line is not broken."""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def numeric(*names: str, title: str | None = None, rows: Iterable[Sequence[str]] = ()) -> Table:
    """A table whose columns but the first hold numbers."""
    columns = (Column(name, justify="right") for name in names[1:])
    table = Table(names[0], *columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table


def frameless(title: str, *names: str) -> Table:
    """A table with a line below its heading and no others."""
    return Table(*names, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def compact_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], console: Console, optional: Collection[str] = ()
) -> Table:
    """A table without frames, in which numbers and short words are not broken.

    Where it is too wide, headings go on below after a point or a slash, then columns are left out, the last first; one
    that is still too wide is folded all over, so that nothing is lost.

    Args:
        optional: the columns that may be left out.
    """
    shown, headings = list(range(len(header))), [*header]
    columns = [[row[i] for row in rows] for i in shown]
    longest = [max(map(len, column), default=0) for column in columns]
    has_numbers = [all(map(NUMBERS.fullmatch, column)) for column in columns]
    unbroken = [has_numbers[i] or longest[i] <= LONG for i in shown]

    def width() -> int:
        needed = (max(longest[i] if unbroken[i] else LONG, *map(len, headings[i].split("\n"))) for i in shown)
        return sum(needed) + BETWEEN * (len(shown) - 1) + EDGES

    if width() > console.width:
        headings = [re.sub(r"(?<=[./])(?=.)", "\n", name) for name in header]
    while width() > console.width and (left := [i for i in shown if header[i] in optional]):
        shown.remove(left[-1])
    fits = width() <= console.width
    table = frameless(title)
    for i in shown:
        side: Literal["right", "left"] = "right" if has_numbers[i] else "left"
        table.add_column(escape(headings[i]), justify=side, no_wrap=unbroken[i] and fits, overflow="fold")
    for row in rows:
        table.add_row(*(escape(row[i]) for i in shown))
    return table
