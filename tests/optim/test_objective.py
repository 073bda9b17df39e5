"""The objective and its gradient, against closed forms, autograd of the textbook formula and finite differences."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LogisticRegression as ScikitLearn
from torch import nn

from logreg.core.errors import UserError
from logreg.evaluation.metrics import batch_losses
from logreg.models import HandWritten, LogisticRegression, SequentialRegression
from logreg.optim.objective import (
    AutogradGradient,
    LinearGradient,
    add_l1,
    check_network,
    gradient_of,
    l2_penalty,
    linear_coefficients,
    logit_function,
    stop_at_zero,
)
from tests.helpers import breast_cancer, fit

FORMS = [HandWritten, SequentialRegression, LogisticRegression]


def example(rows: int = 12, features: int = 4, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    x = scale * torch.randn(rows, features, generator=random, dtype=torch.float64)
    return x, (torch.rand(rows, generator=random) < 0.5).double()


def randomised(form: type[nn.Module], features: int) -> nn.Module:
    network = form(features).double()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random, dtype=torch.float64))
    return network


def objective(network: nn.Module, x: torch.Tensor, y: torch.Tensor, l2: float) -> float:
    with torch.no_grad():
        weights = [p for p in network.parameters() if p.ndim == 2]
        p = network(x).reshape(-1)
        cost = -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()
        return float(cost + l2 / 2 * sum(w.square().sum() for w in weights))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_closed_form_autograd_and_finite_differences_agree(form: type[nn.Module], l2: float) -> None:
    x, y = example()
    network = randomised(form, 4)
    closed = gradient_of(network, l2)
    assert isinstance(closed, LinearGradient)
    closed(x, y)
    by_formula = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    AutogradGradient(network, l2)(x, y)
    for parameter, expected in zip(network.parameters(), by_formula, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-12, atol=1e-14)
        flat = parameter.data.view(-1)
        for i in range(len(flat)):
            step, value = 1e-6, float(flat[i])
            flat[i] = value + step
            above = objective(network, x, y, l2)
            flat[i] = value - step
            below = objective(network, x, y, l2)
            flat[i] = value
            assert math.isclose((above - below) / (2 * step), float(expected.view(-1)[i]), rel_tol=1e-6, abs_tol=1e-8)


@given(st.lists(st.tuples(st.floats(-30, 30), st.booleans()), min_size=1, max_size=20))
def test_loss_from_logits_is_the_cross_entropy_of_the_sigmoid(rows: list[tuple[float, bool]]) -> None:
    z = torch.tensor([row[0] for row in rows], dtype=torch.float64)
    y = torch.tensor([float(row[1]) for row in rows], dtype=torch.float64)
    expected = float(F.binary_cross_entropy(torch.sigmoid(z), y))
    assert math.isclose(batch_losses([[z, y]])[0], expected, rel_tol=1e-3, abs_tol=1e-9)


@pytest.mark.parametrize("z", [37.0, 40.0, 500.0, 1e4])
def test_loss_and_gradient_are_exact_where_the_sigmoid_rounds_to_one(z: float) -> None:
    network = HandWritten(1).double()
    with torch.no_grad():
        network.W.fill_(z)
    x, wrong = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for gradient in (gradient_of(network), AutogradGradient(network)):
        network.zero_grad()
        logits = gradient(x, wrong)
        assert math.isclose(batch_losses([[logits, wrong]])[0], z, rel_tol=1e-12)  # log(1 + e^z) = z here
        assert math.isclose(float(network.W.grad), 1.0, rel_tol=1e-12)


def test_the_intercept_is_not_penalised() -> None:
    network = SequentialRegression(2).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[3.0, 4.0]]))
        network[0].bias.fill_(1000.0)
    assert l2_penalty(network, 0.1).item() == pytest.approx(0.5 * 0.1 * 25)


def test_hooks_frozen_weights_and_accumulation_switch_the_shortcut_off() -> None:
    hooked, frozen, plain = (SequentialRegression(2) for _ in range(3))
    hooked[0].register_forward_hook(lambda *_: None)
    frozen[0].weight.requires_grad_(False)
    assert isinstance(gradient_of(hooked), AutogradGradient)
    assert isinstance(gradient_of(frozen), AutogradGradient)
    assert isinstance(gradient_of(plain, scale=0.5), AutogradGradient)
    assert isinstance(gradient_of(plain), LinearGradient)


def test_a_plain_sequential_is_read_off_its_layers() -> None:
    network = nn.Sequential(nn.Linear(3, 1), nn.Sigmoid())
    x = torch.randn(5, 3)
    torch.testing.assert_close(logit_function(network)(x), network[0](x).squeeze(1))
    assert linear_coefficients(network) is not None
    assert linear_coefficients(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1), nn.Sigmoid())) is None


class LyingLogits(SequentialRegression):
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return self[0](x) + 1


class LyingCoefficients(LogisticRegression):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sigmoid(self.linear(x) * 2)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * 2


@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        (nn.Linear(3, 1), "between 0 and 1"),
        (nn.Sequential(nn.Linear(3, 2), nn.Sigmoid()), "one probability per row"),
        (nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()), "cannot take rows"),
        (LyingLogits(3), "logits disagrees"),
        (LyingCoefficients(3), "coefficients disagrees"),
    ],
)
def test_a_network_that_does_not_keep_its_word_is_refused(network: nn.Module, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        check_network(network, torch.randn(8, 3) * 3)


class Noisy(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.dropout(x, 0.5, self.training))


class Quadratic(LogisticRegression):
    """Claims to be linear, which is true only as long as q is zero."""

    def __init__(self) -> None:
        super().__init__(3)
        self.q = nn.Parameter(torch.zeros(3, 1))

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + x**2 @ self.q


def test_the_shortcut_is_taken_only_where_it_is_the_whole_network() -> None:
    assert isinstance(gradient_of(Noisy(nn.Linear(3, 1), nn.Sigmoid())), AutogradGradient)
    assert isinstance(gradient_of(Quadratic()), AutogradGradient)
    listened = SequentialRegression(2)
    listened[0].weight.register_post_accumulate_grad_hook(lambda _: None)
    assert isinstance(gradient_of(listened), AutogradGradient)


# The l1 penalty of first-order optimizers reaches the optimum that scikit-learn finds, zeros and all.
numbers = arrays(np.float64, 12, elements=st.floats(-3, 3) | st.just(0.0))


@given(w=numbers, g=numbers, l1=st.floats(0, 2), lr=st.floats(1e-3, 1))
def test_a_step_of_gradient_descent_is_soft_thresholding_that_stops_at_zero(
    w: np.ndarray, g: np.ndarray, l1: float, lr: float
) -> None:
    weight, gradient = torch.tensor(w), torch.tensor(g)
    side = add_l1(weight, gradient, l1)
    weight -= lr * gradient
    stop_at_zero(weight, side)
    moved = w - lr * g
    expected = np.sign(moved) * np.maximum(np.abs(moved) - lr * l1, 0)
    expected[np.sign(expected) * np.sign(w) < 0] = 0  # would come out on the other side
    np.testing.assert_allclose(weight.numpy(), expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "settings", "epochs", "near"),
    [
        (torch.optim.SGD, {"lr": 1.0}, 6000, 1e-8),
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, 6000, 1e-8),
        (torch.optim.Adam, {"lr": 0.005}, 7000, 1e-6),
        (torch.optim.Adagrad, {"lr": 0.3}, 6000, 1e-3),
    ],
)
@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_optimizers_reach_scikit_learns_optimum(
    tmp_path: Path, optimizer: Any, settings: dict[str, Any], epochs: int, near: float, l2: float
) -> None:
    l1, data = 0.02, breast_cancer(batch_size=None, split={"train": 1.0})
    make = functools.partial(optimizer, **settings)
    record, classifier, _ = fit(tmp_path, data, epochs, make, l1=l1, l2=l2, precision="64-true", log_every_n_steps=1000)
    x, y = (part.double().numpy() for part in data.tensors("train"))
    oracle = ScikitLearn(C=1 / (len(y) * (l1 + l2)), l1_ratio=l1 / (l1 + l2), solver="saga", tol=1e-9, max_iter=100_000)
    oracle.fit(x, y)
    weight, bias = (p.detach().double().reshape(-1).numpy() for p in linear_coefficients(classifier.network))

    def objective(w: np.ndarray, b: float) -> float:
        z = x @ w + b
        return float(np.mean(np.logaddexp(0, z) - y * z) + l1 * np.abs(w).sum() + l2 / 2 * w @ w)

    best = objective(oracle.coef_[0], oracle.intercept_[0])
    assert objective(weight, bias[0]) == pytest.approx(best, rel=near)
    assert record.metrics["train/loss"] == pytest.approx(objective(weight, bias[0]), rel=1e-9)
    if near < 1e-3:
        np.testing.assert_array_equal(weight == 0, oracle.coef_[0] == 0)
    assert (weight == 0).sum() >= 10


def test_lbfgs_of_torch_refuses_an_l1_penalty(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"penalty\.l1"):
        fit(tmp_path, breast_cancer(batch_size=None), 2, torch.optim.LBFGS, l1=0.1)
