"""Bins, the calibration error and the Brier score's parts, against scikit-learn, torchmetrics and statsmodels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from statsmodels.stats.proportion import proportion_confint
from torchmetrics.functional.classification import binary_calibration_error

from logreg.data.adapter import adapted
from logreg.evaluation.metrics import Evaluation
from logreg.evaluation.reliability import PARTS, accuracy_intervals, reliability, wilson
from logreg.evaluation.scores import BrierScore
from tests.helpers import Ordinary, breast_cancer, fit, toy


def draw(seed: int, rows: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.beta(0.7, 0.9, rows)
    return p, (random.random(rows) < p**1.5).astype(float), random.integers(0, 4, rows) * random.random(rows)


@pytest.mark.parametrize("bins", [1, 5, 15, 100])
def test_bins_are_scikit_learns(bins: int) -> None:
    p, y, _ = draw(0)
    diagram = reliability(p, y, bins)
    share, mean = calibration_curve(y, p, n_bins=bins)
    assert diagram.share == pytest.approx(share)
    assert diagram.mean == pytest.approx(mean)
    assert diagram.rows.sum() == len(p)


@pytest.mark.parametrize("bins", [1, 5, 15, 100])
def test_the_calibration_error_is_torchmetrics(bins: int) -> None:
    p, y, _ = draw(1)
    expected = binary_calibration_error(torch.from_numpy(p), torch.from_numpy(y).int(), n_bins=bins)
    assert reliability(p, y, bins).calibration_error == pytest.approx(float(expected), abs=1e-9)


@given(st.integers(0, 10**6), st.integers(1, 80), st.integers(1, 30), st.booleans())
def test_the_parts_add_up_to_the_brier_score(seed: int, rows: int, bins: int, weighted: bool) -> None:
    random = np.random.default_rng(seed)
    p = np.clip(random.normal(0.5, 0.5, rows).round(random.integers(1, 9)), 0, 1)  # exact zeros and ones among them
    y, w = random.integers(0, 2, rows).astype(float), random.integers(0, 4, rows) * random.random(rows)
    w[0] = 1.0
    diagram = reliability(p, y, bins, w if weighted else None)
    expected = np.average((p - y) ** 2, weights=w if weighted else None)
    assert diagram.brier == pytest.approx(expected, abs=1e-12)
    parts = diagram.decomposition
    assert parts["reliability"] >= 0
    assert parts["resolution"] >= 0
    assert 0 <= parts["uncertainty"] <= 0.25


def test_murphys_parts_where_each_bin_has_one_probability() -> None:
    # Ten forecasts of 0.1 with one event, ten of 0.8 with six.
    p, y = np.repeat([0.1, 0.8], 10), np.array([1.0] + 9 * [0.0] + 6 * [1.0] + 4 * [0.0])
    parts = reliability(p, y, 10).decomposition
    expected = ((0.8 - 0.6) ** 2 / 2, ((0.1 - 0.35) ** 2 + (0.6 - 0.35) ** 2) / 2, 0.35 * 0.65, 0.0)
    assert parts == pytest.approx(dict(zip(PARTS, expected, strict=True)), abs=1e-15)


def test_intervals_are_wilsons() -> None:
    p, y, _ = draw(2)
    diagram = reliability(p, y, 10)
    for confidence in (0.9, 0.95):
        for low, high, share, rows in zip(*diagram.intervals(confidence), diagram.share, diagram.rows, strict=True):
            exact = binomtest(round(share * rows), int(rows)).proportion_ci(confidence, method="wilson")
            assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_equal_weights_change_nothing_and_zero_weights_are_no_rows() -> None:
    p, y, w = draw(3)
    plain, equal = reliability(p, y, 10), reliability(p, y, 10, np.full(len(p), 2.5))
    for one, other in zip(plain.intervals(), equal.intervals(), strict=True):
        assert one == pytest.approx(other)
    assert plain.decomposition == pytest.approx(equal.decomposition)
    some = reliability(p, y, 10, w)
    assert some.rows.sum() == (w > 0).sum()
    assert some.brier == pytest.approx(sklearn.metrics.brier_score_loss(y, p, sample_weight=w), abs=1e-12)


def test_the_metric_is_scikit_learns_and_final_results_have_its_parts() -> None:
    p, y, w = draw(4)
    metric = BrierScore(n_bins=7)
    for part in np.array_split(np.arange(len(p)), 3):
        metric.update(torch.from_numpy(p[part]), torch.from_numpy(y[part]))
    assert float(metric.compute()) == pytest.approx(sklearn.metrics.brier_score_loss(y, p), abs=1e-12)
    z = torch.logit(torch.from_numpy(p))
    for weight in (None, torch.from_numpy(w)):
        evaluation = Evaluation(0.5, {"brier": BrierScore(n_bins=7)})
        evaluation.update(z, torch.from_numpy(y), weight)
        values = evaluation.compute(final=True)
        expected = reliability(p, y, 7, None if weight is None else w)
        assert values["brier"] == pytest.approx(expected.brier, abs=1e-12)
        assert {f"brier_{name}": value for name, value in expected.decomposition.items()} == pytest.approx(
            {name: value for name, value in values.items() if name.startswith("brier_")}, abs=1e-9
        )


# The interval of an accuracy, against statsmodels.


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
