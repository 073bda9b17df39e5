"""Statistics of training rows are those of repeated rows, whatever the size of the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from logreg.data.tables.preparing.statistics import weighted_median
from tests.data.tables.people import assert_alike, people, table, written


def test_weighted_statistics_are_those_of_repeated_rows(tmp_path: Path) -> None:
    frame = people(300).drop(columns="id")
    weights = np.random.default_rng(1).integers(0, 4, len(frame))
    one = {"split": {"train": 1.0}, "min_count": 6}
    a = table(tmp_path, written(tmp_path, frame.assign(w=weights), "weighted.csv"), weight="w", **one)
    b = table(tmp_path, written(tmp_path, frame.loc[np.repeat(frame.index, weights)], "repeated.csv"), **one)
    assert_alike(a.preprocessor, b.preprocessor)
    assert a.training_weight == b.training_weight == weights.sum()


@pytest.mark.parametrize("seed", range(20))
def test_the_weighted_median_is_that_of_repeated_values(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, weights = random.integers(0, 6, 9).astype(float), random.integers(0, 4, 9)
    expected = np.median(np.repeat(values, weights)) if weights.any() else np.nan
    np.testing.assert_equal(weighted_median(values, weights.astype(float)), expected)


@pytest.mark.parametrize(("sorted_at_once", "sampled"), [(50, 2**16), (50, 100), (2**23, 2**16), (2**23, 100)])
def test_medians_of_a_table_too_large_to_sort_are_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sorted_at_once: int, sampled: int
) -> None:
    from logreg.data.tables.preparing import statistics

    monkeypatch.setattr(statistics, "EXACT_VALUES", 8)
    monkeypatch.setattr(statistics, "SAMPLED_ROWS", sampled)
    monkeypatch.setattr(statistics, "SORTED_AT_ONCE", sorted_at_once)
    monkeypatch.setattr(statistics, "BINS", 8)
    frame = people(1000)
    frame["many"] = np.where(np.arange(1000) % 3 == 0, 7.0, np.random.default_rng(0).lognormal(3, 3, 1000))
    frame.loc[5, ["age", "income", "many"]] = np.nan  # of columns without gaps the sample's median is taken
    data = table(tmp_path, written(tmp_path, frame))
    train = frame.iloc[data.rows["train"]]
    fills = {c.feature: c.fill for c in data.preprocessor.numeric if c.part is None}
    for name in ("age", "income", "many"):
        assert fills[name] == np.nanmedian(train[name])


def test_a_median_between_two_values_of_half_the_rows_each_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logreg.data.tables.preparing import statistics

    monkeypatch.setattr(statistics, "SORTED_AT_ONCE", 8)
    monkeypatch.setattr(statistics, "EXACT_VALUES", 8)
    frame = pd.DataFrame({"a": [0.0] * 20 + [1.0] * 20 + [np.nan] * 2, "b": np.arange(42) % 5, "bought": [0, 1] * 21})
    data = table(tmp_path, written(tmp_path, frame), split={"train": 1.0})
    assert next(c.fill for c in data.preprocessor.numeric if c.feature == "a") == 0.5
