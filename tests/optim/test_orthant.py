"""The l1 penalty of first-order optimizers reaches the optimum that scikit-learn finds, zeros and all."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LogisticRegression as ScikitLearn

from logreg.core.errors import UserError
from logreg.optim.objective import add_l1, linear_coefficients, stop_at_zero
from tests.helpers import breast_cancer, fit

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
