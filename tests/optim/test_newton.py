"""Newton's method and the certificate, against published optima, scikit-learn, statsmodels and finite differences."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_svmlight_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from logreg.data.rows import SparseRows, TensorRows
from logreg.diagnostics.optimality import certify, separation_of
from logreg.errors import UserError
from logreg.optim.newton import Newton
from logreg.optim.problem import LogisticProblem
from tests.helpers import breast_cancer, column, fit, shared_file, toy


def problem_of(x: np.ndarray, y: np.ndarray, l2: float = 0.0, weight: np.ndarray | None = None) -> LogisticProblem:
    parts = [torch.tensor(np.asarray(a), dtype=torch.float64) for a in (x, y)]
    weights = None if weight is None else torch.tensor(weight / weight.mean(), dtype=torch.float64)
    return LogisticProblem(TensorRows(*parts, weights), l2)


def solve(problem: LogisticProblem, start: torch.Tensor | None = None) -> tuple[torch.Tensor, int]:
    """The optimum, and how many steps it took."""
    theta = torch.zeros(problem.features + 1, dtype=torch.float64) if start is None else start
    solver, steps = Newton([nn.Parameter(torch.zeros(1))]), 0
    for _ in range(200):
        done = solver.iterate(problem, theta)
        theta, steps = done.theta, steps + (done.step > 0)
        if done.finished:
            return theta, steps
    raise AssertionError("no end")


def drawn(seed: int, rows: int = 40, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, columns))
    return x, (x.sum(1) + random.logistic(size=rows) * 2 > 0).astype(float)


# --- the objective --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 60.0])  # logits of both sides of what exp can take
def test_derivatives_are_those_of_finite_differences(scale: float) -> None:
    x, y = drawn(1)
    weight = np.random.default_rng(2).integers(0, 4, len(y)).astype(float)
    problem = problem_of(x, y, 0.3, weight)
    theta = scale * torch.tensor([0.5, -1.0, 2.0, 0.3], dtype=torch.float64)
    at = problem.derivatives(theta)
    assert at.value == pytest.approx(problem.value(theta), rel=1e-14)
    torch.testing.assert_close(problem.gradient(theta)[1], at.gradient, rtol=1e-12, atol=1e-15)
    for i in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[i] = 1e-6 * scale
        slope = (problem.value(theta + step) - problem.value(theta - step)) / (2e-6 * scale)
        assert slope == pytest.approx(float(at.gradient[i]), rel=1e-5, abs=1e-8)
        bend = (problem.gradient(theta + step)[1] - problem.gradient(theta - step)[1]) / (2e-6 * scale)
        torch.testing.assert_close(bend, at.hessian[i], rtol=1e-5, atol=1e-8)


def test_sparse_rows_are_dense_ones() -> None:
    x, y = load_svmlight_file(str(shared_file("heart_scale.svm")))
    y = (y > 0).astype(float)
    index = np.arange(len(y))
    rows = SparseRows(x.indptr, x.indices, x.data, index, x.shape[1], torch.tensor(y), None, torch.float64)
    dense, sparse = problem_of(x.toarray(), y, 0.01), LogisticProblem(rows, 0.01)
    theta = torch.linspace(-1, 1, x.shape[1] + 1, dtype=torch.float64)
    for a, b in zip(dense.derivatives(theta), sparse.derivatives(theta), strict=True):
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-12, atol=1e-14)


# --- the optimum ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "least"), [("heart_scale.svm", 94.6552242173), ("a9a.svm", 10528.5724305433)])
def test_the_published_optima_of_raw_columns(name: str, least: float) -> None:
    x, y = load_svmlight_file(str(shared_file(name)))
    problem = problem_of(x.toarray(), (y > 0).astype(float), 1 / len(y))
    theta, _ = solve(problem)
    assert len(y) * problem.value(theta) == pytest.approx(least, rel=1e-11)
    assert certify(problem, theta).converged


def test_the_published_optimum_of_breast_cancer() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    problem = problem_of(x, y, 1 / len(y))
    theta, _ = solve(problem)
    assert len(y) * problem.value(theta) == pytest.approx(37.7589459619, rel=1e-11)
    at = problem.derivatives(theta)
    assert at.accuracy == pytest.approx(0.987698, abs=1e-6)
    raw, raw_y = load_breast_cancer(return_X_y=True)  # condition 1e12: Newton reaches the optimum all the same
    raw_problem = problem_of(raw, raw_y, 1 / len(y))
    optimum, _ = solve(raw_problem)
    certificate = certify(raw_problem, optimum)
    assert certificate.converged
    assert certificate.relative_gap is not None
    assert certificate.relative_gap < 1e-8


def test_the_published_nine_rows() -> None:
    x = np.array([np.arange(-4, 5), [0, 0, 1, 0, 1, 1, 1, 0, 0]]).T
    theta, _ = solve(problem_of(x, np.array([0, 0, 0, 1, 1, 1, 1, 1, 1]), 1.0))
    np.testing.assert_allclose(theta.numpy(), [0.444645692, 0.0145756345, 0.892304055], rtol=3e-8)


def test_the_published_estimates_of_spector() -> None:
    table = pd.read_csv(shared_file("spector.csv"), sep=" ", quotechar="'")
    theta, _ = solve(problem_of(table[["GPA", "TUCE", "PSI"]].to_numpy(float), table["GRADE"].to_numpy()))
    expected = [2.8261125949, 0.0951576613, 2.3786876551, -13.0213468581]
    np.testing.assert_allclose(theta.numpy(), expected, rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-4, 0.01, 1.0]), st.booleans())
def test_the_optimum_is_scikit_learns(seed: int, l2: float, weighted: bool) -> None:
    x, y = drawn(seed)
    weight = np.random.default_rng(seed).integers(1, 5, len(y)).astype(float) if weighted else np.ones(len(y))
    problem = problem_of(x, y, l2, weight if weighted else None)
    theta, _ = solve(problem)
    model = LogisticRegression(C=1 / (weight.sum() * l2), tol=1e-12, max_iter=500, solver="newton-cholesky")
    model.fit(x, y, weight)
    theirs = torch.tensor([*model.coef_[0], *model.intercept_], dtype=torch.float64)
    assert problem.value(theta) == pytest.approx(problem.value(theirs), rel=1e-8)
    assert problem.value(theta) <= problem.value(theirs) * (1 + 1e-12)


@given(st.integers(0, 2**32 - 1))
def test_the_estimate_is_statsmodels(seed: int) -> None:
    x, y = drawn(seed, rows=60)
    problem = problem_of(x, y)
    if separation_of(problem, ["a", "b", "c"]).kind != "none":  # type: ignore[union-attr]
        return
    theta, _ = solve(problem)
    model = sm.Logit(y, sm.add_constant(x)).fit(disp=False, method="newton", tol=1e-12, maxiter=100)
    np.testing.assert_allclose(theta.numpy(), [*model.params[1:], model.params[0]], rtol=1e-6, atol=1e-8)


@given(st.integers(0, 2**32 - 1))
def test_weights_are_repeated_rows(seed: int) -> None:
    x, y = drawn(seed)
    weight = np.random.default_rng(seed).integers(1, 4, len(y))
    weighted, _ = solve(problem_of(x, y, 0.1, weight.astype(float)))
    repeated, _ = solve(problem_of(np.repeat(x, weight, 0), np.repeat(y, weight), 0.1))
    torch.testing.assert_close(weighted, repeated, rtol=1e-9, atol=1e-11)


def test_doubled_columns_at_twice_the_penalty_halve_the_coefficients() -> None:
    x, y = drawn(3)
    once, _ = solve(problem_of(x, y, 0.1))
    twice, _ = solve(problem_of(np.hstack([x, x]), y, 0.2))
    torch.testing.assert_close(twice[:3], once[:3] / 2, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(twice[3:6], once[:3] / 2, rtol=1e-9, atol=1e-12)


def test_a_start_at_the_optimum_takes_at_most_one_step_and_the_mean_probability_is_the_mean_label() -> None:
    x, y = drawn(4)
    problem = problem_of(x, y, 0.01)
    theta, _ = solve(problem)
    assert solve(problem, theta.clone())[1] <= 1
    p = torch.sigmoid(torch.tensor(x) @ theta[:-1] + theta[-1])
    assert float(p.mean()) == pytest.approx(y.mean(), abs=1e-12)


def test_a_far_start_is_brought_back() -> None:
    x, y = drawn(5)
    problem = problem_of(x, y, 0.01)
    theta, _ = solve(problem)
    far, _ = solve(problem, torch.full((4,), 100.0, dtype=torch.float64))
    torch.testing.assert_close(far, theta, rtol=1e-6, atol=1e-8)


# --- the certificate ------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 0.1, 1.0]), st.floats(0.01, 5.0))
def test_the_duality_gap_bounds_the_distance_from_the_optimum(seed: int, l2: float, spread: float) -> None:
    x, y = drawn(seed)
    problem = problem_of(x, y, l2)
    optimum, _ = solve(problem)
    theta = spread * torch.tensor(np.random.default_rng(seed).normal(size=4))
    found = certify(problem, theta)
    assert found.gap is not None
    assert problem.value(theta) - problem.value(optimum) <= found.gap * (1 + 1e-9) + 1e-15
    there, _, gradient = problem.with_best_intercept(theta)
    assert float(gradient[-1]) == pytest.approx(0.0, abs=1e-12)
    assert certify(problem, there).gap == pytest.approx(float(gradient[:-1].square().sum()) / (2 * l2), rel=1e-6)


def test_the_newton_decrement_is_the_distance_near_the_estimate() -> None:
    x, y = drawn(6, rows=100)
    problem = problem_of(x, y)
    optimum, _ = solve(problem)
    theta = optimum + 1e-3
    found = certify(problem, theta, separation_of(problem, ["a", "b", "c"]))
    assert found.method == "half squared Newton decrement"
    assert found.gap == pytest.approx(problem.value(theta) - problem.value(optimum), rel=1e-2)
    assert certify(problem, optimum).converged


def test_a_best_intercept_is_found_from_anywhere() -> None:
    x, y = drawn(7)
    problem = problem_of(x * 30, y)
    for start in (-500.0, 0.0, 800.0):
        gradient = problem.with_best_intercept(torch.tensor([2.0, -1.0, 0.5, start], dtype=torch.float64))[2]
        assert float(gradient[-1]) == pytest.approx(0.0, abs=1e-10)


# --- in the training loop -------------------------------------------------------------------------------------------


def test_training_logs_every_iteration_and_stops_at_the_optimum(tmp_path: Path) -> None:
    source = breast_cancer(batch_size=None)
    record, _, rows = fit(tmp_path, source, 100, Newton, l2=0.01, precision="64-true")
    assert record.status == "completed"
    assert 4 <= record.updates <= 15
    losses, gaps = column(rows, "train/loss"), column(rows, "train/gap")
    assert list(losses) == list(gaps) == list(range(record.updates))
    assert list(losses.values()) == sorted(losses.values(), reverse=True)
    assert list(gaps.values())[-1] < 1e-12
    assert record.optimality is not None
    assert record.optimality["converged"]
    assert record.optimality["sentence"].startswith("within ")
    last = column(rows, "train/loss")[record.updates - 1]
    assert record.optimality["objective"] == pytest.approx(last, rel=1e-12)


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    whole, _, _ = fit(tmp_path / "whole", breast_cancer(batch_size=None), 100, Newton, l2=0.01, precision="64-true")
    fit(tmp_path / "first", breast_cancer(batch_size=None), 3, Newton, l2=0.01, precision="64-true")
    rest, _, _ = fit(
        tmp_path / "rest", breast_cancer(batch_size=None), 100, Newton, l2=0.01, precision="64-true",
        resume=tmp_path / "first",
    )  # fmt: skip
    assert (rest.updates, rest.metrics) == (whole.updates, whole.metrics)


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


def test_what_newton_cannot_solve_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="optimizer=newton needs the full batch"):
        fit(tmp_path, breast_cancer(), 5, Newton)
    hidden = nn.Sequential(nn.Linear(30, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid())
    with pytest.raises(UserError, match="optimizer=newton solves linear models"):
        fit(tmp_path, breast_cancer(batch_size=None), 5, Newton, network=hidden)
