"""Weighted metrics are scikit-learn's with ``sample_weight``; the bootstrap and the baseline are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from sklearn.dummy import DummyClassifier

from logreg.core.errors import UserError
from logreg.evaluation.bootstrap import intervals, majority_baseline
from logreg.evaluation.metrics import Evaluation, default_metrics
from logreg.evaluation.thresholds import ThresholdRule
from logreg.evaluation.weighted import WeightedMetrics


def draw(seed: int, rows: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits with ties, labels, weights with zeros among them."""
    random = np.random.default_rng(seed)
    z = random.normal(size=rows).round(1)
    y = (random.random(rows) < 1 / (1 + np.exp(-z))).astype(float)
    return z, y, random.integers(0, 4, rows) * random.random(rows)


@pytest.mark.parametrize("seed", range(8))
def test_weighted_metrics_are_scikit_learns(seed: int) -> None:
    z, y, w = draw(seed)
    p = 1 / (1 + np.exp(-z))
    predicted = p >= 0.4
    found = WeightedMetrics(z, y, predicted).compute(w, default_metrics())
    expected = {
        "log_loss": sklearn_metrics.log_loss(y, p, sample_weight=w),
        "accuracy": sklearn_metrics.accuracy_score(y, predicted, sample_weight=w),
        "f1": sklearn_metrics.f1_score(y, predicted, sample_weight=w),
        "auroc": sklearn_metrics.roc_auc_score(y, p, sample_weight=w),
        "average_precision": sklearn_metrics.average_precision_score(y, p, sample_weight=w),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("seed", range(4))
def test_weights_of_one_give_what_torchmetrics_gives(seed: int) -> None:
    z, y, _ = draw(seed)
    plain, weighted = Evaluation(0.4), Evaluation(0.4)
    plain.update(torch.from_numpy(z), torch.from_numpy(y))
    weighted.update(torch.from_numpy(z), torch.from_numpy(y), torch.ones(len(z), dtype=torch.float64))
    a, b = plain.compute(), weighted.compute()
    assert list(a) == list(b)
    for name, value in a.items():
        assert b[name] == pytest.approx(value, abs=1e-6), name


def test_integer_weights_are_repeated_rows() -> None:
    z, y, _ = draw(3)
    w = np.random.default_rng(0).integers(0, 4, len(z))
    weighted, repeated = Evaluation(0.5), Evaluation(0.5)
    weighted.update(*(torch.from_numpy(part).double() for part in (z, y, w)))
    repeated.update(*(torch.from_numpy(np.repeat(part, w)).double() for part in (z, y)))
    ours, theirs = weighted.compute(), repeated.compute()
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_bootstrap_intervals_agree_with_the_normal_one_where_that_is_good() -> None:
    z, y, _ = draw(0, 4000)
    predicted = z >= 0
    rows = WeightedMetrics(z, y, predicted)
    found, made = intervals(rows, np.ones(len(z)), default_metrics(), 500, 0.95, seed=0)
    assert made == 500
    accuracy = (predicted == y).mean()
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / len(z))
    assert found["accuracy"] == pytest.approx((accuracy - half, accuracy + half), abs=0.003)
    for name, (low, high) in found.items():
        assert low < rows.compute(np.ones(len(z)), default_metrics())[name] < high, name
    assert intervals(rows, np.ones(len(z)), default_metrics(), 500, 0.95, seed=0)[0] == found


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_baseline_is_scikit_learns_dummy(share: float) -> None:
    random = np.random.default_rng(0)
    train = (np.arange(1000) < 1000 * share).astype(int)
    y = (random.random(500) < 0.4).astype(int)
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((1000, 1)), train)
    p, predicted = dummy.predict_proba(np.zeros((500, 1)))[:, 1], dummy.predict(np.zeros((500, 1)))
    found = majority_baseline(default_metrics(), share, y.mean())
    expected = {
        "log_loss": sklearn_metrics.log_loss(y, p),
        "accuracy": sklearn_metrics.accuracy_score(y, predicted),
        "f1": sklearn_metrics.f1_score(y, predicted),
        "auroc": sklearn_metrics.roc_auc_score(y, p),
        "average_precision": sklearn_metrics.average_precision_score(y, p),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("rule", ["max_f1", "max_youden", "cost"])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_threshold_is_better(rule: str, seed: int) -> None:
    z, y, _ = draw(seed)
    p = 1 / (1 + np.exp(-z))
    threshold, value = ThresholdRule(rule, false_positive=1.0, false_negative=3.0).choose(p, y)
    assert 0 < threshold < 1

    def quality(t: float) -> float:
        predicted = p >= t
        if rule == "max_f1":
            return sklearn_metrics.f1_score(y, predicted)
        if rule == "max_youden":
            return sklearn_metrics.recall_score(y, predicted) - predicted[y == 0].mean()
        return -(1.0 * predicted[y == 0].sum() + 3.0 * (~predicted[y == 1]).sum())

    assert quality(threshold) == pytest.approx(-value if rule == "cost" else value)
    grid = np.linspace(1e-6, 1 - 1e-6, 400)
    assert quality(threshold) >= max(quality(t) for t in grid) - 1e-12


def test_a_label_of_no_weight_is_no_label_for_a_threshold() -> None:
    p, y = np.array([0.1, 0.4, 0.6, 0.9]), np.array([0, 0, 1, 1])
    with pytest.raises(UserError, match="one label only"):
        ThresholdRule("max_youden").choose(p, y, np.array([0.0, 0.0, 1.0, 1.0]))
