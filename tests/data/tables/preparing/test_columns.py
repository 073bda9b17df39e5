"""Columns of any type as levels or labels."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.data.tables.reading.sources import table


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([1.0, float("nan"), 2.0, None], ["1", "2"]),
        ([0.1, float("nan"), 0.2, float("nan")], ["0.1", "0.2"]),
        ([2**60, 2**60 + 1, 2**60 + 2, 2**60], [str(2**60 + i) for i in range(3)]),
        ([date(2024, 1, 31), date(2023, 5, 1), None, date(2024, 1, 31)], ["2023-05-01", "2024-01-31"]),
        ([Decimal("1.50"), Decimal("2.25"), Decimal("1.50"), Decimal("3.00")], ["1.5", "2.25", "3"]),
        ([1e19, 2e19, 1e19, 2e19], ["1e+19", "2e+19"]),
        (pl.Series([0.1, 0.2, 0.1, 0.2], dtype=pl.Float32), ["0.1", "0.2"]),
    ],
)
def test_any_column_can_be_levels_or_labels(tmp_path: Path, values: Any, levels: list[str]) -> None:
    values = pl.Series("c", values, strict=False)
    column = pl.concat([values] * (100 // len(values)))
    random, rows = np.random.default_rng(0), len(column)
    x, y = random.normal(size=rows), random.integers(0, 2, rows)
    frame = pl.DataFrame([column, pl.Series("x", x), pl.Series("y", y)])
    frame.write_parquet(tmp_path / "t.parquet")
    data = table(tmp_path / "t.parquet", target="y", categorical=["c"])
    fitted = next(c for c in data.preprocessor.columns if c.feature == "c")
    assert fitted.levels == levels
    assert fitted.missing == (column.fill_nan(None) if column.dtype.is_float() else column).is_null().any()
    # A frame, and the file read lazily for Parquet to Parquet, are encoded as the training rows were.
    x = data.preprocessor.transform(frame)
    np.testing.assert_allclose(x[data.rows["train"]], data.tensors("train")[0].numpy(), atol=1e-6)
    weight = random.normal(size=x.shape[1])
    lazily = pl.scan_parquet(tmp_path / "t.parquet")
    expression = data.preprocessor.logit_expression(weight, 0.5, lazily.collect_schema())
    np.testing.assert_allclose(lazily.select(expression).collect().to_series(), x @ weight + 0.5, atol=1e-9)


def test_labels_of_any_kind_and_gaps_among_them(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    y = np.where(random.random(100) < 0.1, np.nan, random.integers(0, 2, 100))
    weight = np.where(np.isnan(y), np.nan, 1.0)
    pl.DataFrame({"x": random.normal(size=100), "y": y, "w": weight}).write_parquet(tmp_path / "t.parquet")
    data = table(tmp_path / "t.parquet", target="y", weight="w", drop_missing_target=True)
    assert sum(map(len, data.rows.values())) == np.count_nonzero(~np.isnan(y))
