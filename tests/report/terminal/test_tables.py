"""Tables on terminals of any width hold what they were given."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from logreg.report.terminal.tables import compact_table

SETTINGS = ["optimizer", "optimizer.lr", "n", "failed", "mean", "95 % interval", "verdict"]
ROWS = [
    ["adam", "0.001", "10", "0", "0.0197792", "-0.0001657 to 0.03972", "best"],
    ["sgd", "1e-05", "10", "1", "0.191594", "0.1102 to 0.273", "may be best"],
]


def printed(header: list[str], rows: list[list[str]], width: int, optional: tuple[str, ...] = ()) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width)
    console.print(compact_table("title", header, rows, console, optional))
    return file.getvalue()


def test_in_eighty_columns_every_cell_is_on_one_line() -> None:
    text = printed(SETTINGS, ROWS, 80, ("failed",))
    for row in ROWS:
        assert any(all(cell in line for cell in row) for line in text.splitlines()), text
    assert "failed" not in text
    assert "optimizer.lr" not in text  # goes on below after the point
    assert "optimizer.lr" in printed(SETTINGS, ROWS, 100)


def test_columns_are_left_out_before_numbers_are_broken() -> None:
    text = printed(SETTINGS, ROWS, 63, ("failed", "mean"))
    assert "mean" not in text
    assert all(cell in text for row in ROWS for cell in (row[1], row[5], row[6]))


def test_the_last_letter_of_a_row_that_just_fits_is_there() -> None:
    assert "may be best" in printed(SETTINGS, ROWS, 62, ("failed", "mean"))  # was "may be bes"


def test_markup_in_a_cell_is_text() -> None:
    assert "[red]x[/red]" in printed(["[b]k"], [["[red]x[/red]"]], 80)


@given(st.integers(20, 120), st.lists(st.lists(st.text("ab.0/19", max_size=30), min_size=3, max_size=3), max_size=4))
def test_nothing_is_lost_at_any_width(width: int, rows: list[list[str]]) -> None:
    text = "".join(printed(["a", "b.c", "d"], rows, width).split())
    for letter in "ab01/9":
        assert text.count(letter) >= sum(cell.count(letter) for row in rows for cell in row)
