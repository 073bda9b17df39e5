"""The interval of an accuracy, against statsmodels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from logreg.data.adapter import adapted
from logreg.evaluation.reliability import accuracy_intervals, wilson
from tests.helpers import Ordinary, breast_cancer, fit, toy


@pytest.mark.parametrize(("right", "count"), [(0, 5), (9, 16), (16, 16), (354, 360), (1, 1)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_is_that_of_statsmodels(right: int, count: int, confidence: float) -> None:
    expected = proportion_confint(right, count, alpha=1 - confidence, method="wilson")
    assert wilson(right / count, count, confidence) == pytest.approx(expected, abs=1e-12)


def test_a_run_says_how_wide_the_interval_on_its_accuracy_is(tmp_path: Path) -> None:
    data = breast_cancer()
    record, _, _ = fit(tmp_path, data, epochs=2)
    assert list(record.intervals) == ["val/accuracy", "test/accuracy"]
    for name, interval in record.intervals.items():
        y = data.labels_of(name.partition("/")[0])
        expected = proportion_confint(round(record.metrics[name] * len(y)), len(y), method="wilson")
        assert (interval["low"], interval["high"]) == pytest.approx(expected, abs=1e-6)
        assert interval["rows"] == len(y)
        assert interval["majority"] == pytest.approx(y.mean())  # most of the training rows are of label 1


def test_rows_of_unequal_weight_count_for_fewer() -> None:
    data = breast_cancer()
    data.setup()
    weights = np.random.default_rng(0).gamma(1.0, size=len(data.rows["val"]))
    data.own_weights = lambda split: weights if split == "val" else None  # type: ignore[method-assign]
    interval = accuracy_intervals({"val/accuracy": 0.9}, data)["val/accuracy"]
    count = weights.sum() ** 2 / (weights**2).sum()
    assert (interval["low"], interval["high"]) == pytest.approx(proportion_confint(0.9 * count, count, method="wilson"))


def test_there_is_none_without_held_out_rows() -> None:
    data = toy()
    data.setup()
    assert accuracy_intervals({"train/accuracy": 1.0}, data) == {}
    assert accuracy_intervals({"val/accuracy": 1.0}, adapted(Ordinary())) == {}
