"""``baseline=true``: the linear classifier at its optimum, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from logreg import BinaryClassifier
from logreg.core.build import build_metrics
from logreg.core.components import Component
from logreg.core.errors import UserError
from logreg.data.adapter import adapted
from logreg.evaluation.thresholds import ThresholdRule
from logreg.models import ConvSequential
from logreg.training.baseline import check_baseline, linear_baseline
from tests.helpers import Ordinary, digits

METRICS = {
    "accuracy": Component("torchmetrics.classification.BinaryAccuracy"),
    "auroc": Component("torchmetrics.classification.BinaryAUROC"),
}


def numbers(data, split: str) -> tuple[np.ndarray, np.ndarray]:
    with data.serving(torch.float64):
        x, y = data.tensors(split)
    return x.numpy(), y.numpy()


def test_the_baseline_is_scikit_learns_classifier_of_the_pixels() -> None:
    data = digits(augment={"crop": 0.2, "jitter": 0.5})  # which it does not see
    data.setup()
    classifier = BinaryClassifier(ConvSequential(data.num_features), metrics=build_metrics(METRICS))
    before = torch.get_rng_state()
    baseline = linear_baseline(data, classifier, None, ("train", "val", "test"))
    assert torch.equal(torch.get_rng_state(), before)
    tried = [
        LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(*numbers(data, "train")) for c in (1, 0.1, 0.01, 0.001)
    ]
    x, y = numbers(data, "val")
    theirs = min(tried, key=lambda each: log_loss(y, each.predict_proba(x)[:, 1]))
    assert theirs.C < 1
    for split in ("val", "test"):
        x, y = numbers(data, split)
        p = theirs.predict_proba(x)[:, 1]
        assert baseline["metrics"][f"{split}/log_loss"] == pytest.approx(log_loss(y, p), rel=1e-4)
        assert baseline["metrics"][f"{split}/auroc"] == pytest.approx(roc_auc_score(y, p), abs=1e-4)
        assert baseline["metrics"][f"{split}/accuracy"] == pytest.approx(theirs.score(x, y), abs=2 / len(y))
        assert baseline["intervals"][f"{split}/accuracy"]["rows"] == len(y)
    assert baseline["l2"] == pytest.approx(1 / (theirs.C * len(data.rows["train"])))


def test_without_validation_rows_it_has_scikit_learns_own_penalty() -> None:
    data = digits(split={"train": 0.3, "val": 0.0, "test": 0.7})
    data.setup()
    classifier = BinaryClassifier(ConvSequential(data.num_features), metrics=build_metrics(METRICS))
    assert linear_baseline(data, classifier, None, ("test",))["l2"] == 1 / len(data.rows["train"])


def test_its_threshold_is_chosen_as_the_classifiers_is() -> None:
    data = digits()
    data.setup()
    classifier = BinaryClassifier(ConvSequential(data.num_features), metrics=build_metrics(METRICS))
    plain = linear_baseline(data, classifier, None, ("val",))
    chosen = linear_baseline(data, classifier, ThresholdRule("cost", 1.0, 50.0), ("val",))
    assert chosen["metrics"]["val/log_loss"] == plain["metrics"]["val/log_loss"]
    assert chosen["metrics"]["val/accuracy"] < plain["metrics"]["val/accuracy"]  # missing an 8 costs so much more
    assert classifier.threshold == 0.5


def test_it_needs_rows_that_can_be_read_again() -> None:
    with pytest.raises(UserError, match="baseline=true needs data that can be read once more; derive Ordinary"):
        check_baseline(adapted(Ordinary()))
