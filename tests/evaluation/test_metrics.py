"""Metrics against scikit-learn, and the notebook's rule for a probability of exactly one half."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
import torch

from logreg.evaluation.metrics import Evaluation, accuracies
from logreg.evaluation.scores import BinaryLogLoss


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_evaluation_agrees_with_scikit_learn(threshold: float) -> None:
    random = np.random.default_rng(0)
    z, y = 2 * random.standard_normal(500), (random.random(500) < 0.4).astype(float)
    evaluation = Evaluation(threshold)
    for part in np.array_split(np.arange(500), 3):
        evaluation.update(torch.tensor(z[part]), torch.tensor(y[part]))
    values = evaluation.compute()
    p = 1 / (1 + np.exp(-z))
    expected = {
        "loss": sklearn.metrics.log_loss(y, p),
        "log_loss": sklearn.metrics.log_loss(y, p),
        "accuracy": sklearn.metrics.accuracy_score(y, p >= threshold),
        "f1": sklearn.metrics.f1_score(y, p >= threshold),
        "auroc": sklearn.metrics.roc_auc_score(y, p),
        "average_precision": sklearn.metrics.average_precision_score(y, p),
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-6), name
    edges = np.digitize(p, np.linspace(0, 1, 16)[1:-1])  # 15 bins, torchmetrics' default
    gaps = [abs(p[edges == b].mean() - y[edges == b].mean()) * (edges == b).mean() for b in np.unique(edges)]
    assert values["calibration_error"] == pytest.approx(sum(gaps), abs=1e-6)


def test_a_probability_of_exactly_the_threshold_is_positive() -> None:
    zeros = torch.zeros(4)
    assert Evaluation(0.5).predictions(zeros).all()
    assert accuracies([[zeros, torch.tensor([1.0, 1.0, 1.0, 0.0])]], 0.5) == [0.75]
    evaluation = Evaluation(0.5)
    evaluation.update(zeros, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    assert evaluation.compute()["accuracy"] == 0.75


def test_accuracies_are_exact_fractions_for_batches_of_any_size() -> None:
    logits = [torch.tensor([1.0, -1, 1, 1, 1, 1]), torch.tensor([1.0, 1, -1])]
    labels = [torch.tensor([1.0, 0, 1, 1, 1, 0]), torch.tensor([1.0, 1, 1])]
    assert accuracies(list(zip(logits, labels, strict=True)), 0.5) == [5 / 6, 2 / 3]


def test_log_loss_is_finite_where_probabilities_round_to_zero() -> None:
    metric = BinaryLogLoss()
    metric.update(torch.tensor([800.0, -800.0]), torch.tensor([0.0, 1.0]))
    assert float(metric.compute()) == 800.0
