"""Which numbers stand for levels."""

from __future__ import annotations

from typing import Any

import pytest

from logreg.runs.export.linear import numbers_of


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (["1", "-2", "007", "x"], {"1": 1, "-2": -2}),
        (["0.5", "1e3", "nan", "1", "1.0"], {"0.5": 0.5, "1": 1}),
        (["false", "true", "maybe"], {"false": False, "true": True}),
        (["true", "1"], {"1": 1}),
        (["a"], {}),
    ],
)
def test_levels_that_numbers_stand_for(levels: list[str], expected: dict[str, Any]) -> None:
    assert numbers_of(levels) == expected
