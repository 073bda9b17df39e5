"""Tables for a terminal of eighty columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich import box
from rich.table import Table


def compact_table(title: str, names: Sequence[str], words: Collection[str] = ()) -> Table:
    """A table without frames.

    Args:
        words: the columns that may be folded, on the left; all others hold numbers, which are never broken.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        if name in words:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table
