"""Parts of dates."""

from __future__ import annotations

import numpy as np
import pytest

from logreg.data.tables.columns import DATE_PARTS, TIME_PARTS, Numeric
from logreg.runs.export.raw import date_part, raw_numbers
from tests.runs.export.runs import moments


@pytest.mark.parametrize("part", DATE_PARTS + TIME_PARTS)
def test_the_parts_of_dates_are_those_of_polars(part: str) -> None:
    column = moments()
    expected = getattr(column.dt, part)().to_numpy()
    assert date_part(raw_numbers(column, Numeric("moment", part="day")), part, np.floor).tolist() == expected.tolist()
