"""Numbers keep their digits, in memory and in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.data.tables.people import people, table, written


@pytest.mark.parametrize("storage", ["float32", "float64"])
def test_a_large_offset_costs_no_digits(tmp_path: Path, storage: str) -> None:
    random = np.random.default_rng(0)
    x = 1.7e9 + random.normal(size=1000)
    path = written(tmp_path, pd.DataFrame({"time": x, "bought": random.integers(0, 2, 1000)}))
    data = table(tmp_path, path, storage=storage)
    train = x[data.rows["train"]]
    np.testing.assert_allclose(data.tensors("train")[0][:, 0], (train - train.mean()) / train.std(), atol=2e-6)


@pytest.mark.parametrize("late", [1e39, 1.6e9])
def test_float32_is_not_used_for_numbers_that_it_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    from logreg.data.tables.preparing import pipeline

    monkeypatch.setattr(pipeline, "FLOAT64_BYTES", 0)  # every table is a large one
    random = np.random.default_rng(0)
    x = random.normal(size=100_000)
    if late < 1e10:
        x[:70_000] = np.nan
        x[70_000:] = late + 20 * x[70_000:]
    else:
        x[-1] = late
    frame = pd.DataFrame({"x": x, "bought": random.integers(0, 2, 100_000)})
    data = table(tmp_path, written(tmp_path, frame, "t.parquet"))
    assert data.table.dtype == "float64"
    train = x[data.rows["train"]]
    column = data.preprocessor.numeric[0]
    filled = np.where(np.isnan(train), column.fill, train)
    np.testing.assert_allclose(data.tensors("train")[0][:, 0], (filled - filled.mean()) / filled.std(), atol=1e-5)


def test_a_table_is_prepared_the_same_from_memory_and_from_a_scratch_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logreg.data.tables.preparing import raw_table

    monkeypatch.setattr(raw_table, "batch_rows", lambda width: 64)
    path = written(tmp_path, people(300))
    in_memory = table(tmp_path, path)
    monkeypatch.setattr(raw_table, "KEPT_BYTES", 0)
    spilled = table(tmp_path / "other", path)
    assert spilled.preprocessor.to_json() == in_memory.preprocessor.to_json()
    assert np.array_equal(spilled.table.x, in_memory.table.x)
