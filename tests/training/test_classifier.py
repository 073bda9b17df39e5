"""The LightningModule against torch's own functions and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from logreg import BinaryClassifier
from logreg.core.errors import UserError
from logreg.data.rows import TensorRows
from logreg.evaluation.calibration import fit_calibration
from logreg.evaluation.metrics import default_metrics
from logreg.models import SequentialRegression
from logreg.optim.objective import theta_of
from tests.helpers import fit, toy

RANDOM = torch.Generator().manual_seed(0)
X = torch.randn(60, 3, generator=RANDOM)
Y = (X[:, 0] + 0.5 * torch.randn(60, generator=RANDOM) > 0).float()
W = torch.rand(60, generator=RANDOM) + 0.1


def classifier_of(**settings: object) -> BinaryClassifier:
    torch.manual_seed(2)
    return BinaryClassifier(SequentialRegression(3), **settings)  # type: ignore[arg-type]


def test_its_problem_is_the_mean_loss_and_the_penalties_without_the_intercept() -> None:
    classifier = classifier_of(l1=0.3, l2=0.2).double()
    linear = classifier.network[0]
    z = linear(X.double()).squeeze(1)
    expected = (W * binary_cross_entropy_with_logits(z, Y.double(), reduction="none")).sum() / W.sum()
    expected = expected + 0.3 * linear.weight.abs().sum() + 0.1 * linear.weight.square().sum()
    problem = classifier.problem(TensorRows(X.double(), Y.double(), (W / W.mean()).double()))
    assert problem.value(theta_of(classifier.network)) == pytest.approx(float(expected.detach()), rel=1e-6)


@pytest.mark.parametrize("loss", ["log_loss", "mse"])
def test_a_split_is_measured_as_scikit_learn_measures_it(loss: str) -> None:
    classifier = classifier_of(loss=loss, threshold=0.3, metrics=default_metrics())
    batches = [(X[i : i + 25], Y[i : i + 25], W[i : i + 25]) for i in (0, 25, 50)]
    metrics = classifier.evaluate(batches)
    with torch.no_grad():
        p = torch.sigmoid(classifier.network[0](X)).squeeze(1)
    weights = {"sample_weight": W.numpy()}
    assert metrics["accuracy"] == pytest.approx(accuracy_score(Y, p >= 0.3, **weights), abs=1e-6)
    assert metrics["auroc"] == pytest.approx(roc_auc_score(Y, p, **weights), abs=1e-6)
    assert metrics["log_loss"] == pytest.approx(log_loss(Y, p.double(), **weights), abs=1e-6)
    squared = float((W * mse_loss(p, Y, reduction="none")).sum() / W.sum())
    assert metrics["loss"] == pytest.approx(squared if loss == "mse" else metrics["log_loss"], abs=1e-6)
    some = classifier.evaluate(batches, only=["auroc"])
    assert some == {name: metrics[name] for name in ("loss", "log_loss", "auroc")}
    assert not classifier.training


def test_a_calibration_takes_the_place_of_the_sigmoid_until_the_next_fit() -> None:
    classifier = classifier_of()
    with torch.no_grad():
        z, p = classifier.logits(X), classifier(X)
        classifier.decide(0.5, fit_calibration("sigmoid", z.numpy(), Y.numpy()))
        assert classifier.calibration is not None
        expected = classifier.calibration.probabilities(z.double().numpy())
        assert classifier(X).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert torch.equal(p, torch.sigmoid(z))
    assert torch.equal(classifier.logits(X), z)


def test_a_checkpoint_holds_plain_values_and_what_it_was_trained_with(tmp_path: Path) -> None:
    _, classifier, _ = fit(tmp_path, toy(), 3, lambda parameters: torch.optim.Adam(parameters, lr=0.1), loss="mse")
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert (checkpoint["logreg"]["optimizer"], checkpoint["logreg"]["loss"]) == ("Adam", "mse")
    assert checkpoint["global_step"] == 3
    for name, value in classifier.state_dict().items():
        assert torch.equal(checkpoint["state_dict"][name], value)


def test_a_network_that_is_no_probability_is_refused_before_the_first_update(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="probabilit"):
        fit(tmp_path, toy(), 3, network=nn.Linear(2, 1))
