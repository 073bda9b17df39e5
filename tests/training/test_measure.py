"""How far a run ended from the best coefficients, at its end and along the way."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.linear_model import LogisticRegression
from torch import nn

from logreg import RunRecord
from logreg.core.errors import UserError
from logreg.data import rows
from logreg.data.adapter import adapted
from logreg.models import SequentialRegression
from logreg.optim.newton import Newton
from logreg.training.classifier import BinaryClassifier
from logreg.training.measure import certificate
from tests.helpers import Ordinary, breast_cancer, column, fit, toy


def test_gradient_descent_is_certified_too(tmp_path: Path) -> None:
    record, _, _ = fit(tmp_path / "toy", toy(), 1001)
    assert record.optimality is not None
    assert record.optimality["sentence"].startswith("completely separated: the maximum-likelihood estimate does not")
    assert record.optimality["separation"]["kind"] == "complete"
    make = functools.partial(torch.optim.Adam, lr=0.1)
    record, _, _ = fit(tmp_path / "cancer", breast_cancer(), 50, make, l2=0.1)
    assert record.optimality is not None
    assert record.optimality["sentence"].startswith("not converged: at most")
    assert not record.optimality["converged"]


@pytest.mark.parametrize(("make", "every"), [(Newton, 1), (functools.partial(torch.optim.SGD, lr=0.5), 20)])
def test_certificates_along_the_way_end_in_that_of_the_run(tmp_path: Path, make: Any, every: int) -> None:
    data = breast_cancer(batch_size=None, split={"train": 1.0})
    record, _, history = fit(tmp_path, data, 60, make, l2=0.05, precision="64-true", certify_every=every)
    gaps, norms = column(history, "optimality/gap"), column(history, "optimality/gradient_norm")
    assert list(gaps) == list(norms) == list(range(every, record.updates + 1, every))  # of the state after the update
    assert list(gaps.values()) == sorted(gaps.values(), reverse=True)
    assert record.optimality is not None
    assert record.updates % every == 0
    assert gaps[record.updates] == pytest.approx(record.optimality["gap"], rel=1e-6, abs=0)
    assert norms[record.updates] == pytest.approx(record.optimality["gradient_norm"], rel=1e-6, abs=0)
    assert column(history, "optimality/relative_gap")[record.updates] == pytest.approx(
        record.optimality["relative_gap"], rel=1e-6, abs=0
    )


def test_certificates_along_the_way_are_of_linear_models(tmp_path: Path) -> None:
    hidden = nn.Sequential(nn.Linear(30, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid())
    with pytest.raises(UserError, match="certify_every is for linear models"):
        fit(tmp_path, breast_cancer(), 5, network=hidden, certify_every=1)


def test_a_resumed_solver_reports_where_it_ends(tmp_path: Path) -> None:
    """Also where an iterate on the way does better on the validation rows."""

    def run(name: str, epochs: int, resume: Path | None = None) -> RunRecord:
        data = breast_cancer(batch_size=None)
        return fit(tmp_path / name, data, epochs, Newton, l2=1e-6, resume=resume, precision="64-true")[0]

    whole, first = run("whole", 30), run("first", 5)
    resumed = run("second", 30, tmp_path / "first" / "checkpoints" / "last.ckpt")
    assert resumed.metrics["val/loss"] > first.metrics["val/loss"]
    for record in (whole, resumed):
        assert record.optimality is not None
        assert record.optimality["converged"]
    assert resumed.metrics["train/loss"] == pytest.approx(whole.metrics["train/loss"], rel=1e-9)


def test_what_is_said_of_a_run_is_what_scikit_learns_optimum_says(tmp_path: Path) -> None:
    """The gap is no less than the distance from the optimum that another solver finds, and not much more."""
    data = breast_cancer(batch_size=None, split={"train": 1.0})
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    record, classifier, _ = fit(tmp_path, data, 300, adam, l2=0.1, precision="64-true")
    assert record.optimality is not None
    x, y = (part.double() for part in data.tensors("train"))
    oracle = LogisticRegression(C=1 / (0.1 * len(y)), tol=1e-12, max_iter=10_000).fit(x, y)

    def objective(weights: torch.Tensor, intercept: torch.Tensor) -> float:
        losses = nn.functional.binary_cross_entropy_with_logits(x @ weights + intercept, y)
        return float(losses + 0.05 * weights.square().sum())

    with torch.no_grad():
        ours = objective(classifier.network[0].weight[0].cpu(), classifier.network[0].bias.cpu())
        best = objective(torch.tensor(oracle.coef_[0]), torch.tensor(oracle.intercept_))
    assert record.optimality["objective"] == pytest.approx(ours, rel=1e-9)
    assert ours - best - 1e-10 <= record.optimality["gap"] <= 100 * (ours - best) + 1e-9


@pytest.mark.parametrize("loss", ["log_loss", "mse"])
def test_other_networks_and_losses_have_no_certificate(tmp_path: Path, loss: str) -> None:
    hidden = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid())
    network = hidden if loss == "log_loss" else SequentialRegression(2)
    assert fit(tmp_path, toy(), 5, network=network, loss=loss)[0].optimality is None


def test_rows_that_are_too_many_to_be_read_again_are_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ELEMENTS", 11)
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    record = certificate(adapted(Ordinary()), BinaryClassifier(SequentialRegression(2)), trainer, 0)
    assert record is not None
    assert (record.gap, record.converged) == (None, None)
    assert record.sentence.startswith("not certified: Ordinary serves its rows batch by batch, more than ")
