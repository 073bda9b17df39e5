"""Which numbers stand for levels, and parts of dates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from logreg.data.tables.preparing.columns import DATE_PARTS, TIME_PARTS, Numeric
from logreg.runs.export.columns import date_part, numbers_of, raw_numbers
from tests.runs.export.runs import moments


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


@pytest.mark.parametrize("part", DATE_PARTS + TIME_PARTS)
def test_the_parts_of_dates_are_those_of_polars(part: str) -> None:
    column = moments()
    expected = getattr(column.dt, part)().to_numpy()
    assert date_part(raw_numbers(column, Numeric("moment", part="day")), part, np.floor).tolist() == expected.tolist()
