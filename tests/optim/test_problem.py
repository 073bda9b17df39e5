"""The objective as a function of the coefficients, its derivatives and its best intercept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_svmlight_file

from logreg.data.rows import SparseRows
from logreg.optim.problem import LogisticProblem
from tests.helpers import shared_file
from tests.optim.problems import drawn, problem_of


@pytest.mark.parametrize("scale", [1.0, 60.0])  # logits of both sides of what exp can take
def test_derivatives_are_those_of_finite_differences(scale: float) -> None:
    x, y = drawn(1)
    weight = np.random.default_rng(2).integers(0, 4, len(y)).astype(float)
    problem = problem_of(x, y, 0.3, weight)
    theta = scale * torch.tensor([0.5, -1.0, 2.0, 0.3], dtype=torch.float64)
    at = problem.derivatives(theta)
    assert at.value == pytest.approx(problem.value(theta), rel=1e-14)
    torch.testing.assert_close(problem.first_order(theta).gradient, at.gradient, rtol=1e-12, atol=1e-15)
    for i in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[i] = 1e-6 * scale
        slope = (problem.value(theta + step) - problem.value(theta - step)) / (2e-6 * scale)
        assert slope == pytest.approx(float(at.gradient[i]), rel=1e-5, abs=1e-8)
        change = problem.first_order(theta + step).gradient - problem.first_order(theta - step).gradient
        bend = change / (2e-6 * scale)
        torch.testing.assert_close(bend, at.hessian[i], rtol=1e-5, atol=1e-8)


def test_sparse_rows_are_dense_ones() -> None:
    x, y = load_svmlight_file(str(shared_file("heart_scale.svm")))
    y = (y > 0).astype(float)
    index = np.arange(len(y))
    rows = SparseRows((x.indptr, x.indices, x.data), index, x.shape[1], torch.tensor(y), None, torch.float64)
    dense, sparse = problem_of(x.toarray(), y, 0.01), LogisticProblem(rows, 0.01)
    theta = torch.linspace(-1, 1, x.shape[1] + 1, dtype=torch.float64)
    for a, b in zip(*(vars(problem.derivatives(theta)).values() for problem in (dense, sparse)), strict=True):
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-12, atol=1e-14)


def test_a_best_intercept_is_found_from_anywhere() -> None:
    x, y = drawn(7)
    problem = problem_of(x * 30, y)
    for start in (-500.0, 0.0, 800.0):
        _, at = problem.with_best_intercept(torch.tensor([2.0, -1.0, 0.5, start], dtype=torch.float64))
        assert float(at.gradient[-1]) == pytest.approx(0.0, abs=1e-10)
