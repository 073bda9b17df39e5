"""The engine of metrics gives what scikit-learn gives with ``sample_weight``, and torchmetrics without."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn import metrics as sklearn_metrics

from logreg.evaluation.engine import ScoredRows
from logreg.evaluation.metrics import Evaluation, default_metrics, measured


def draw(seed: int, rows: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits with ties, labels, weights with zeros among them."""
    random = np.random.default_rng(seed)
    z = random.normal(size=rows).round(1)
    y = (random.random(rows) < expit(z)).astype(float)
    return z, y, random.integers(0, 4, rows) * random.random(rows)


@pytest.mark.parametrize("seed", range(8))
def test_weighted_metrics_are_scikit_learns(seed: int) -> None:
    z, y, w = draw(seed)
    p = expit(z)
    predicted = p >= 0.4
    by_metric = measured(Evaluation(0.4).scored_rows(z, y, predicted, w), default_metrics())
    expected = {
        "log_loss": sklearn_metrics.log_loss(y, p, sample_weight=w),
        "accuracy": sklearn_metrics.accuracy_score(y, predicted, sample_weight=w),
        "f1": sklearn_metrics.f1_score(y, predicted, sample_weight=w),
        "auroc": sklearn_metrics.roc_auc_score(y, p, sample_weight=w),
        "average_precision": sklearn_metrics.average_precision_score(y, p, sample_weight=w),
    }
    for name, value in expected.items():
        assert by_metric[name][0] == pytest.approx(value, abs=1e-12), name


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


def test_one_model_under_many_weights_is_many_models() -> None:
    z, y, _ = draw(5)
    weights = np.random.default_rng(1).integers(0, 3, (7, len(z))).astype(float)
    weights[2, y == 1] = 0.0  # of one class: no area and no precision
    rows = Evaluation(0.4).scored_rows(z, y, z > 0, weights[0])
    together = measured(rows.reweighted(weights), default_metrics())
    for i, w in enumerate(weights):
        one = measured(ScoredRows(rows.p, y, z > 0, w, rows.losses), default_metrics())
        assert {name: values[i] for name, values in together.items()} == pytest.approx(
            {name: values[0] for name, values in one.items()}, rel=1e-14, nan_ok=True
        )
    assert np.isnan(together["auroc"][2])
    assert measured(rows, default_metrics())["auroc"] == together["auroc"][0]  # which the copy has left alone
