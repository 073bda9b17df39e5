"""The losses, held against PyTorch's own, autograd, finite differences and a textbook loop."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import brier_score_loss, log_loss
from torch import nn

from logreg.core.errors import UserError
from logreg.data.blocks import BlockLoader
from logreg.evaluation.metrics import Evaluation
from logreg.models import SequentialRegression
from logreg.optim.losses import LOSSES, loss_of
from logreg.optim.newton import Newton
from logreg.optim.objective import AutogradGradient, LinearGradient, linear_coefficients
from tests.helpers import breast_cancer, column, composed, fit
from tests.sweeps.fused.test_fit import assert_alone, fused

Z = torch.tensor([-800.0, -50.0, -3.0, -0.1, 0.0, 0.1, 3.0, 50.0, 800.0], dtype=torch.float64)
REFERENCES = {
    "log_loss": lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="none"),
    "mse": lambda z, y: F.mse_loss(torch.sigmoid(z), y, reduction="none"),
}


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_slope_are_those_of_pytorch(name: str, label: float) -> None:
    loss, z, y = loss_of(name), Z.clone().requires_grad_(), torch.full_like(Z, label)
    expected = REFERENCES[name](z, y)
    (slope,) = torch.autograd.grad(expected.sum(), z)
    torch.testing.assert_close(loss.of_rows(Z, y), expected.detach(), rtol=1e-12, atol=1e-20)
    torch.testing.assert_close(loss.slope(Z, y), slope, rtol=1e-12, atol=1e-20)
    np.testing.assert_allclose(loss.of_arrays(Z.numpy(), y.numpy()), expected.detach(), rtol=1e-12, atol=1e-15)
    weight = torch.linspace(0, 2, len(Z), dtype=torch.float64)
    torch.testing.assert_close(loss.mean(Z, y, weight), (weight * expected.detach()).mean())


def test_the_squared_error_is_flat_where_it_is_confidently_wrong_and_the_log_loss_is_steep() -> None:
    z, wrong = torch.tensor([20.0]), torch.tensor([0.0])
    assert float(LOSSES["mse"].slope(z, wrong)) < 1e-8
    assert math.isclose(float(LOSSES["log_loss"].slope(z, wrong)), 1.0, rel_tol=1e-8)


def test_a_loss_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match=r"loss=msee: there is no such loss \(did you mean mse\?\)"):
        loss_of("msee")
    with pytest.raises(UserError, match="loss=hinge: one of log_loss, mse is needed"):
        composed("loss=hinge")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("optimizer=newton", "optimizer=newton solves"),
        ("optimizer=auto", "optimizer=auto solves"),
        ("penalty=firth", "penalty=firth"),
        ("inference=wald", "standard errors"),
        ("separation=true", "a separation"),
        ("certify_every=3", "certify_every"),
    ],
)
def test_what_is_of_the_log_loss_alone_is_refused_for_another(override: str, named: str) -> None:
    composed(override)
    with pytest.raises(UserError, match=f"loss=mse: {named}"):
        composed("loss=mse", override)


def test_a_solver_is_refused_in_python_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="loss=mse: optimizer=newton"):
        fit(tmp_path, breast_cancer(batch_size=None), 3, Newton, loss="mse")


def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    y = (torch.rand(50, generator=generator) < 0.4).double()
    weight = torch.rand(50, generator=generator, dtype=torch.float64) * 2
    return x, y, weight / weight.mean()


@pytest.mark.parametrize("weighted", [False, True])
def test_the_closed_form_is_the_gradient_of_autograd_and_of_finite_differences(weighted: bool) -> None:
    x, y, weight = drawn()
    torch.manual_seed(0)
    network = SequentialRegression(4).double()
    pair, loss = linear_coefficients(network), LOSSES["mse"]
    assert pair is not None
    arguments = (x, y, weight if weighted else None)
    AutogradGradient(network, l2=0.2, loss=loss)(*arguments)
    expected = [p.grad.clone() for p in pair if p.grad is not None]
    network.zero_grad()
    LinearGradient(*pair, l2=0.2, loss=loss)(*arguments)
    for parameter, theirs in zip(pair, expected, strict=True):
        torch.testing.assert_close(parameter.grad, theirs, rtol=1e-12, atol=1e-14)

    def objective(w: torch.Tensor) -> float:
        squares = (torch.sigmoid(x @ w + pair[1].detach()) - y) ** 2
        return float((squares * arguments[2] if weighted else squares).mean() + 0.1 * w.square().sum())

    w = pair[0].detach().reshape(-1)
    for i in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[i] = 1e-6
        slope = (objective(w + step) - objective(w - step)) / 2e-6
        assert float(expected[0].reshape(-1)[i]) == pytest.approx(slope, abs=1e-8)


def textbook(data: Any, passes: int, lr: float, l2: float) -> tuple[list[float], nn.Module]:
    loader = BlockLoader(data.served("train"), data.batch_size, data.seed)
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(data.num_features, 1), nn.Sigmoid())
    optimizer, losses = torch.optim.SGD(network.parameters(), lr=lr), []
    for number in range(passes):
        for i in range(loader.batches_per_pass):
            x, y = loader.batch(number, i)
            optimizer.zero_grad()
            loss = nn.MSELoss()(network(x).squeeze(1), y) + l2 / 2 * network[0].weight.square().sum()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses, network


def test_training_follows_the_textbook_loop(tmp_path: Path) -> None:
    data = breast_cancer()
    sgd = functools.partial(torch.optim.SGD, lr=0.3)
    record, classifier, history = fit(tmp_path, data, 6, sgd, l2=0.01, loss="mse")
    losses, network = textbook(data, 6, 0.3, 0.01)
    ours = column(history, "train/loss")
    np.testing.assert_allclose([ours[i] for i in range(len(losses))], losses, rtol=2e-4, atol=2e-6)
    torch.testing.assert_close(classifier.network[0].weight, network[0].weight, rtol=1e-3, atol=1e-5)
    assert record.optimality is None
    for split in ("val", "test"):
        x, y = data.tensors(split)
        p = classifier(x).detach().double().numpy()
        assert record.metrics[f"{split}/loss"] == pytest.approx(brier_score_loss(y, p), rel=1e-5)
        assert record.metrics[f"{split}/log_loss"] == pytest.approx(log_loss(y, p), rel=1e-5)


def test_torchs_lbfgs_minimises_it(tmp_path: Path) -> None:
    data = breast_cancer(batch_size=None, split={"train": 1.0})
    lbfgs = functools.partial(torch.optim.LBFGS, lr=1.0, line_search_fn="strong_wolfe")
    _, classifier, history = fit(tmp_path, data, 10, lbfgs, l2=0.001, loss="mse")
    values = list(column(history, "train/loss").values())
    assert values[-1] < 0.03 < values[0]
    x, y = data.tensors("train")
    expected = F.mse_loss(classifier(x), y) + 0.0005 * classifier.network[0].weight.square().sum()
    assert float(expected.detach()) <= values[-1] + 1e-7


@pytest.mark.parametrize("weighted", [False, True])
def test_its_loss_is_that_of_scikit_learn_on_held_out_rows(weighted: bool) -> None:
    x, y, weight = drawn()
    logits = x[:, 0] * 2
    evaluation = Evaluation(0.5, trained_on=LOSSES["mse"])
    for part in (slice(0, 30), slice(30, 50)):
        evaluation.update(logits[part], y[part], weight[part] if weighted else None)
    metrics, p = evaluation.compute(), torch.sigmoid(logits).numpy()
    w = weight.numpy() if weighted else None
    assert metrics["loss"] == pytest.approx(brier_score_loss(y, p, sample_weight=w), rel=1e-12)
    assert metrics["log_loss"] == pytest.approx(log_loss(y, p, sample_weight=w), rel=1e-12)


@pytest.mark.parametrize("hidden", [False, True])
def test_jobs_of_one_fit_are_what_they_are_alone(tmp_path: Path, hidden: bool) -> None:
    def network(features: int) -> nn.Module:
        deep = nn.Sequential(nn.Linear(features, 3), nn.Tanh(), nn.Linear(3, 1), nn.Sigmoid())
        return deep if hidden else SequentialRegression(features)

    tables = [breast_cancer(seed=1), breast_cancer(seed=2)]
    tables[1].class_weight = tables[0].class_weight = "balanced"
    specs = [{"lr": 0.3}, {"lr": 0.1, "l2": 0.01, "epochs": 4}]
    fused_fit = fused(tables, specs, network, optimizer=torch.optim.SGD, loss=LOSSES["mse"])
    for job, (seed, spec) in enumerate([(seed, spec) for seed in (1, 2) for spec in specs]):
        data = breast_cancer(seed=seed)
        data.weigh_labels("balanced")
        assert_alone(tmp_path / str(job), fused_fit, job, data, spec, network)
