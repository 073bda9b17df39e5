"""Tables of any length."""

from __future__ import annotations

import pytest

from logreg.report.page.tables import PagedTable, numbers, settings, texts


def test_a_table_has_its_first_rows_as_text_and_all_of_them_as_data() -> None:
    count = 1234
    scores = [i / 7 for i in range(count)]
    rates = ["0.1", "1"] * (count // 2)
    table = PagedTable("t", [numbers("score", scores), settings("lr", rates), texts("s", ["x"] * count)])
    assert table.count == count
    assert len(table.first()) == 50
    data = table.as_data()
    assert data["columns"][0]["values"] == pytest.approx(scores, rel=1e-6)
    assert data["columns"][1]["kind"] == "digits"
    assert [data["columns"][1]["texts"][i] for i in data["columns"][1]["codes"]] == ["0.1", "1"] * (count // 2)
