"""Firth's penalised likelihood, against published estimates, finite differences and general maximisers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from logreg.core.errors import UserError
from logreg.data.rows import TensorRows
from logreg.evaluation.coefficients.optimality import certify
from logreg.optim.firth import FirthProblem
from tests.helpers import shared_file
from tests.optim.problems import drawn
from tests.optim.problems import solve as solved


def solve(problem: FirthProblem) -> torch.Tensor:
    return solved("newton", problem)[0]


def firth_problem(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> FirthProblem:
    parts = [torch.tensor(np.asarray(a), dtype=torch.float64) for a in (x, y)]
    weights = None if weight is None else torch.tensor(weight / weight.mean(), dtype=torch.float64)
    return FirthProblem(TensorRows(*parts, weights), 1 / (len(y) if weight is None else weight.sum()))


def penalised_log_likelihood(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """By its definition; theta has the intercept last."""
    design = np.column_stack([x, np.ones(len(x))])
    z = design @ theta
    p = 1 / (1 + np.exp(-z))
    log_likelihood = -np.logaddexp(0, np.where(y > 0, -z, z)).sum()
    return float(log_likelihood + np.linalg.slogdet(design.T @ (design * (p * (1 - p))[:, None]))[1] / 2)


PUBLISHED = [  # intercept first
    (
        "endometrial.csv",
        "HG",
        [3.7745597136, 2.9292733532, -0.0347517599, -2.6041639253],
        -24.0372678007,
    ),
    (
        "sex2.csv",
        "case",
        [0.1202540491, -1.1059813314, -0.0688167271, 2.2688746522, -2.1114081853, -0.7883169514, 3.0960118274],
        -132.5393795328,
    ),
]


@pytest.mark.parametrize(("name", "target", "estimates", "likelihood"), PUBLISHED)
def test_the_published_estimates(name: str, target: str, estimates: list[float], likelihood: float) -> None:
    table = pd.read_csv(shared_file(name))
    x, y = table.drop(columns=target).to_numpy(float), table[target].to_numpy()
    problem = firth_problem(x, y)
    theta, iterations = solved("newton", problem)
    steps = sum(iteration.step > 0 for iteration in iterations)
    np.testing.assert_allclose(np.roll(theta.numpy(), 1), estimates, rtol=1e-6)
    assert penalised_log_likelihood(theta.numpy(), x, y) == pytest.approx(likelihood, rel=1e-9)
    zero = penalised_log_likelihood(np.zeros(len(theta)), x, y)  # where the penalty of the objective is 0
    assert -len(y) * problem.value(theta) == pytest.approx(likelihood - zero - len(y) * np.log(2), rel=1e-9)
    assert steps < 60
    assert certify(problem, theta).converged


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_estimates_are_those_of_a_general_maximiser(seed: int) -> None:
    x, y = drawn(seed, rows=25, columns=2)
    if y.min() == y.max():
        y[0] = 1 - y[0]
    theta = solve(firth_problem(x, y))
    oracle = minimize(lambda t: -penalised_log_likelihood(t, x, y), np.zeros(3), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(theta.numpy(), oracle.x, rtol=1e-4, atol=1e-5)
    assert penalised_log_likelihood(theta.numpy(), x, y) >= -oracle.fun - 1e-9


def test_a_saturated_model_of_two_groups_adds_a_half_to_each_cell() -> None:
    ones, size = [1, 2], 10  # of label 1 in each group; the closed form is log((k + 1/2) / (n - k + 1/2))
    x = np.repeat([-1.0, 1.0], size)[:, None]
    y = np.concatenate([np.arange(size) < k for k in ones]).astype(float)
    theta = solve(firth_problem(x, y))
    low, high = (np.log((k + 0.5) / (size - k + 0.5)) for k in ones)
    np.testing.assert_allclose(theta.numpy(), [(high - low) / 2, (low + high) / 2], rtol=1e-9)


def test_a_constant_alone_is_the_closed_form() -> None:
    y = np.repeat([1.0, 0.0], [3, 17])
    theta = solve(firth_problem(np.empty((20, 0)), y))
    np.testing.assert_allclose(theta.numpy(), [np.log(3.5 / 17.5)], rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_modified_score_is_that_of_finite_differences(weighted: bool) -> None:
    x, y = drawn(3)
    weight = np.random.default_rng(2).integers(0, 4, len(y)).astype(float) if weighted else None
    problem = firth_problem(x, y, weight)
    theta = torch.tensor([0.5, -1.0, 2.0, 0.3], dtype=torch.float64)
    at = problem.derivatives(theta)
    assert at.value == problem.value(theta)
    assert at.value == pytest.approx(problem.likelihood.value(theta) + problem.penalty(theta), rel=1e-14)
    for i in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[i] = 1e-6
        slope = (problem.value(theta + step) - problem.value(theta - step)) / 2e-6
        assert slope == pytest.approx(float(at.gradient[i]), rel=1e-6, abs=1e-9)


def test_integer_weights_are_repeated_rows() -> None:
    x, y = drawn(5)
    weight = np.random.default_rng(2).integers(0, 4, len(y)).astype(float)
    repeated = np.repeat(np.arange(len(y)), weight.astype(int))
    ours, theirs = firth_problem(x, y, weight), firth_problem(x[repeated], y[repeated])
    theta = solve(ours)
    np.testing.assert_allclose(theta.numpy(), solve(theirs).numpy(), rtol=1e-8)
    assert ours.value(theta) == pytest.approx(theirs.value(theta), rel=1e-12)


def test_units_of_the_columns_do_not_matter() -> None:
    x, y = drawn(6)
    scale, shift = np.array([1e-3, 1.0, 1e4]), np.array([5.0, -1.0, 1e4])
    theta = solve(firth_problem(x, y))
    other = solve(firth_problem(x * scale + shift, y))
    np.testing.assert_allclose(other[:-1].numpy() * scale, theta[:-1].numpy(), rtol=1e-6)
    assert firth_problem(x * scale + shift, y).value(other) == pytest.approx(firth_problem(x, y).value(theta), rel=1e-9)


def test_columns_that_are_combinations_are_refused() -> None:
    x, y = drawn(7)
    with pytest.raises(UserError, match="combinations of others"):
        firth_problem(np.column_stack([x, x[:, 0] - x[:, 1]]), y)
