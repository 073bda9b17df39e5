"""Tables of any length, and numbers as they show them."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logreg.report.page.render import TEMPLATES
from logreg.report.page.tables import PagedTable, decimals_of, numbers, shown_number, texts


@given(st.floats(-1e300, 1e300), st.integers(0, 6))
def test_a_shown_number_is_the_number(value: float, decimals: int) -> None:
    shown = shown_number(value, decimals)
    error = abs(float(shown) - value)
    assert error <= 0.5000001 * 10.0**-decimals or error <= 0.0050001 * abs(value)


def test_a_column_has_the_decimals_that_its_middle_number_needs() -> None:
    assert decimals_of([1, 2, None, 300]) == 0
    assert decimals_of([0.9649, 0.95, 1.0]) == 4
    assert decimals_of([0.0482917, 0.05, math.inf]) == 5
    assert [shown_number(v, 4) for v in (0.25, None, math.inf, -math.inf, 3.38e-13, 2e30)] == [
        "0.2500", "–", "∞", "-∞", "3.38e-13", "2.00e30",  # noqa: RUF001
    ]  # fmt: skip


# Numbers that lie in the middle of two that could be shown, as accuracies on 32 rows do.
HALVES = [(29 / 32, 4), (1 / 32, 4), (2.5, 0), (0.5, 0), (1.5, 0), (0.125, 2), (0.0, 3), (12_500_000.0, 0), (0.0, 0)]


def test_ties_are_rounded_away_from_zero() -> None:
    assert [shown_number(value, d) for value, d in HALVES[:4]] == ["0.9063", "0.0313", "3", "1"]


def test_the_script_formats_numbers_as_python_does(tmp_path: Path) -> None:
    """A row looks the same before and after it was sorted."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed; the browser test compares whole tables")
    random = np.random.default_rng(0)
    cases = [(float(v), int(d)) for v, d in zip(random.normal(size=200) * 10.0 ** random.integers(-9, 9, 200),
                                                random.integers(0, 7, 200), strict=True)]  # fmt: skip
    cases += [(sign * value, d) for value, d in HALVES for sign in (1, -1)]
    code = (TEMPLATES / "page.js").read_text()
    function = code[code.index("const NOTHING") : code.index("function reader")]
    script = f"{function}\nfor (const [v, d] of {json.dumps(cases)}) console.log(shownNumber(v, d));"
    printed = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert printed.stdout.split("\n")[:-1] == [shown_number(v, d) for v, d in cases]


def test_a_table_has_its_first_rows_as_text_and_all_of_them_as_data() -> None:
    count = 1234
    scores = [i / 7 for i in range(count)]
    rates = ["0.1", "1"] * (count // 2)
    table = PagedTable("t", [numbers("score", scores), texts("lr", rates, "setting"), texts("s", ["x"] * count)])
    assert table.count == count
    assert len(table.first()) == 50
    data = table.as_data()
    assert data["columns"][0]["values"] == pytest.approx(scores, rel=1e-6)
    assert data["columns"][1]["kind"] == "digits"
    assert [data["columns"][1]["texts"][i] for i in data["columns"][1]["codes"]] == ["0.1", "1"] * (count // 2)
