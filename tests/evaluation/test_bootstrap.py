"""Bootstrap intervals are the normal ones where those are good; the baseline is scikit-learn's dummy."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.dummy import DummyClassifier

from logreg.evaluation.bootstrap import intervals, majority_baseline
from logreg.evaluation.metrics import Evaluation, default_metrics, measured
from tests.evaluation.test_engine import draw


def test_bootstrap_intervals_agree_with_the_normal_one_where_that_is_good() -> None:
    z, y, _ = draw(0, 4000)
    predicted = z >= 0
    rows = Evaluation(0.5).scored_rows(z, y, predicted, np.ones(len(z)))
    by_metric, resamples = intervals(rows, default_metrics(), 500, 0.95, seed=0)
    assert resamples == 500
    accuracy = (predicted == y).mean()
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / len(z))
    assert by_metric["accuracy"] == pytest.approx((accuracy - half, accuracy + half), abs=0.003)
    for name, (low, high) in by_metric.items():
        assert low < measured(rows, default_metrics())[name][0] < high, name
    assert intervals(rows, default_metrics(), 500, 0.95, seed=0)[0] == by_metric


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_baseline_is_scikit_learns_dummy(share: float) -> None:
    random = np.random.default_rng(0)
    train = (np.arange(1000) < 1000 * share).astype(int)
    y = (random.random(500) < 0.4).astype(int)
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((1000, 1)), train)
    p, predicted = dummy.predict_proba(np.zeros((500, 1)))[:, 1], dummy.predict(np.zeros((500, 1)))
    baseline = majority_baseline(default_metrics(), share, y.mean())
    expected = {
        "log_loss": sklearn_metrics.log_loss(y, p),
        "accuracy": sklearn_metrics.accuracy_score(y, predicted),
        "f1": sklearn_metrics.f1_score(y, predicted),
        "auroc": sklearn_metrics.roc_auc_score(y, p),
        "average_precision": sklearn_metrics.average_precision_score(y, p),
    }
    for name, value in expected.items():
        assert baseline[name] == pytest.approx(value, abs=1e-12), name
