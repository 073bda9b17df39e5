"""No other threshold is better than the one that a rule chooses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics as sklearn_metrics

from logreg.core.errors import UserError
from logreg.evaluation.thresholds import ThresholdRule
from tests.evaluation.test_engine import draw


@pytest.mark.parametrize("rule", ["max_f1", "max_youden", "cost"])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_threshold_is_better(rule: str, seed: int) -> None:
    z, y, _ = draw(seed)
    p = expit(z)
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
    grid = np.linspace(1e-6, 1 - 1e-6, 100)
    assert quality(threshold) >= max(quality(t) for t in grid) - 1e-12


def test_a_label_of_no_weight_is_no_label_for_a_threshold() -> None:
    p, y = np.array([0.1, 0.4, 0.6, 0.9]), np.array([0, 0, 1, 1])
    with pytest.raises(UserError, match="one label only"):
        ThresholdRule("max_youden").choose(p, y, np.array([0.0, 0.0, 1.0, 1.0]))
