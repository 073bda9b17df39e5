"""The optimum, against statsmodels, published estimates and what must hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from hypothesis import given
from hypothesis import strategies as st

from logreg.evaluation.coefficients.optimality import separation_of
from logreg.optim.problem import LogisticProblem
from tests.helpers import shared_file
from tests.optim.problems import drawn, problem_of
from tests.optim.problems import solve as solved


def solve(problem: LogisticProblem) -> torch.Tensor:
    return solved("newton", problem)[0]


def test_the_published_estimates_of_spector() -> None:
    table = pd.read_csv(shared_file("spector.csv"), sep=" ", quotechar="'")
    theta = solve(problem_of(table[["GPA", "TUCE", "PSI"]].to_numpy(float), table["GRADE"].to_numpy()))
    expected = [2.8261125949, 0.0951576613, 2.3786876551, -13.0213468581]
    np.testing.assert_allclose(theta.numpy(), expected, rtol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_the_estimate_is_statsmodels(seed: int) -> None:
    x, y = drawn(seed, rows=60)
    problem = problem_of(x, y)
    if separation_of(problem, ["a", "b", "c"]).kind != "none":  # type: ignore[union-attr]
        return
    theta = solve(problem)
    model = sm.Logit(y, sm.add_constant(x)).fit(disp=False, method="newton", tol=1e-12, maxiter=100)
    np.testing.assert_allclose(theta.numpy(), [*model.params[1:], model.params[0]], rtol=1e-6, atol=1e-8)


@given(st.integers(0, 2**32 - 1))
def test_weights_are_repeated_rows(seed: int) -> None:
    x, y = drawn(seed)
    weight = np.random.default_rng(seed).integers(1, 4, len(y))
    weighted = solve(problem_of(x, y, 0.1, weight.astype(float)))
    repeated = solve(problem_of(np.repeat(x, weight, 0), np.repeat(y, weight), 0.1))
    torch.testing.assert_close(weighted, repeated, rtol=1e-9, atol=1e-11)


def test_doubled_columns_at_twice_the_penalty_halve_the_coefficients() -> None:
    x, y = drawn(3)
    once = solve(problem_of(x, y, 0.1))
    twice = solve(problem_of(np.hstack([x, x]), y, 0.2))
    torch.testing.assert_close(twice[:3], once[:3] / 2, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(twice[3:6], once[:3] / 2, rtol=1e-9, atol=1e-12)


def test_the_mean_probability_is_the_mean_label() -> None:
    x, y = drawn(4)
    theta = solve(problem_of(x, y, 0.01))
    p = torch.sigmoid(torch.tensor(x) @ theta[:-1] + theta[-1])
    assert float(p.mean()) == pytest.approx(y.mean(), abs=1e-12)
