"""Proximal Newton and the certificate under an l1 penalty, against scikit-learn's saga and optimality conditions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer, load_svmlight_file
from sklearn.linear_model import LogisticRegression

from logreg.core.errors import UserError
from logreg.evaluation.coefficients.optimality import certify
from logreg.optim import proximal_newton
from logreg.optim.objective import linear_coefficients
from logreg.optim.problem import LogisticProblem, Theta
from logreg.optim.proximal_newton import minimise
from tests.helpers import breast_cancer, column, fit, shared_file
from tests.optim.problems import SOLVERS, drawn, problem_of, solve


def assert_optimal(problem: LogisticProblem, theta: Theta, tolerance: float = 1e-7) -> None:
    """The conditions of glmnet's paper: slopes are -l1 sign(w) where w is not zero, and at most l1 where it is."""
    gradient, w = problem.first_order(theta).gradient, theta[:-1]
    slope = gradient[:-1]
    np.testing.assert_allclose(slope[w != 0], -problem.l1 * w[w != 0].sign(), atol=tolerance)
    assert float(slope[w == 0].abs().max() if bool((w == 0).any()) else 0.0) <= problem.l1 + tolerance
    assert abs(float(gradient[-1])) <= tolerance


def saga(x: np.ndarray, y: np.ndarray, l1: float, l2: float) -> torch.Tensor:
    strength = l1 + l2
    model = LogisticRegression(
        C=1 / (len(y) * strength), l1_ratio=l1 / strength, solver="saga", tol=1e-12, max_iter=100_000
    ).fit(x, y)
    intercept = model.intercept_[0]
    if not model.coef_.any():  # its stopping rule looks at these alone, and leaves the intercept on its way
        intercept = np.log(y.mean() / (1 - y.mean()))
    return torch.tensor([*model.coef_[0], intercept], dtype=torch.float64)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 0.02, 0.1]), st.sampled_from([0.0, 1e-3, 0.1]))
def test_the_optimum_is_that_of_saga(seed: int, l1: float, l2: float) -> None:
    x, y = drawn(seed, rows=60, columns=6)
    problem = problem_of(x, y, l2, l1=l1)
    theta, _ = solve("proximal_newton", problem)
    theirs = saga(x, y, l1, l2)
    assert problem.value(theta) == pytest.approx(problem.value(theirs), rel=1e-8)
    assert problem.value(theta) <= problem.value(theirs) * (1 + 1e-12)
    np.testing.assert_allclose(theta.numpy(), theirs.numpy(), atol=1e-4)
    assert_optimal(problem, theta)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-6, 0.05]), st.booleans())
def test_the_conditions_hold_for_weighted_sparse_rows_and_more_columns_than_rows(
    seed: int, l2: float, weighted: bool
) -> None:
    random = np.random.default_rng(seed)
    x = sp.random(50, 80, density=0.2, format="csr", random_state=seed % 2**31)
    y = (random.random(50) < 0.4).astype(float)
    weight = random.integers(1, 5, 50).astype(float) if weighted else None
    results = []
    for rows in (x, x.toarray()):
        problem = problem_of(rows, y, l2, weight, l1=0.01)
        theta, _ = solve("proximal_newton", problem)
        assert_optimal(problem, theta)
        certificate = certify(problem, theta)
        assert certificate.relative_gap is not None
        assert certificate.relative_gap < 1e-8
        results.append(problem.value(theta))
    assert results[0] == pytest.approx(results[1], rel=1e-10)


@pytest.mark.parametrize("l2", [0.0, 1e-3])
def test_columns_of_condition_1e6_and_copies_of_columns_reach_the_optimum(l2: float) -> None:
    x, y = drawn(1, rows=300, columns=8)
    x = np.hstack([x @ np.random.default_rng(1).normal(size=(8, 8)), x[:, :2], x[:, :1] + 1e-6]) * np.geomspace(
        1, 1e6, 11
    )
    problem = problem_of(x, y, l2, l1=0.01)
    theta, _ = solve("proximal_newton", problem)
    certificate = certify(problem, theta)
    assert certificate.relative_gap is not None
    assert certificate.relative_gap < 1e-8


def test_breast_cancer_and_a9a() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    for l1, l2 in ((0.01, 0.0), (0.001, 0.01)):
        problem = problem_of(x, y, l2, l1=l1)
        theta, iterations = solve("proximal_newton", problem)
        assert problem.value(theta) == pytest.approx(problem.value(saga(x, y, l1, l2)), rel=1e-8)
        assert len(iterations) <= 15
    x, y = load_svmlight_file(str(shared_file("a9a.svm")))
    problem = problem_of(x, y > 0, l1=1e-3)
    theta, _ = solve("proximal_newton", problem)
    assert_optimal(problem, theta)
    assert 5 < int((theta[:-1] != 0).sum()) < 60


def test_a_penalty_as_large_as_every_slope_leaves_the_intercept_alone() -> None:
    x, y = drawn(2)
    largest = np.abs(x.T @ (y.mean() - y)).max() / len(y)
    theta, _ = solve("proximal_newton", problem_of(x, y, l1=largest * (1 + 1e-9)))
    assert torch.equal(theta[:-1], torch.zeros(3, dtype=torch.float64))
    assert float(theta[-1]) == pytest.approx(np.log(y.mean() / (1 - y.mean())))
    theta, _ = solve("proximal_newton", problem_of(x, y, l1=largest * 0.99))
    assert int((theta[:-1] != 0).sum()) == 1


def test_the_working_set_grows_to_what_the_optimum_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(3, rows=200, columns=40)
    problem = problem_of(x, y, l1=0.005)
    expected, _ = solve("proximal_newton", problem)
    monkeypatch.setattr(proximal_newton, "LEAST_NEW", 2)
    theta, iterations = solve("proximal_newton", problem)
    np.testing.assert_allclose(theta.numpy(), expected.numpy(), atol=1e-8)
    assert len(iterations) > 4


def test_a_start_at_the_optimum_takes_at_most_one_step() -> None:
    x, y = drawn(4, rows=500, columns=20)
    problem = problem_of(x, y, 0.001, l1=0.01)
    theta, _ = solve("proximal_newton", problem)
    _, iterations = solve("proximal_newton", problem, theta.clone())
    assert sum(iteration.step > 0 for iteration in iterations) <= 1


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-3, 0.1]), st.floats(0.01, 5.0))
def test_the_gap_bounds_the_distance_from_the_optimum(seed: int, l2: float, spread: float) -> None:
    x, y = drawn(seed)
    problem = problem_of(x, y, l2, l1=0.03)
    optimum, _ = solve("proximal_newton", problem)
    theta = spread * torch.tensor(np.random.default_rng(seed).normal(size=4))
    certificate = certify(problem, theta)
    assert certificate.gap is not None
    assert problem.value(theta) - problem.value(optimum) <= certificate.gap * (1 + 1e-9) + 1e-15
    assert certify(problem, optimum).gap == pytest.approx(0.0, abs=1e-9)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.5, 3.0]))
def test_the_quadratic_problem_is_solved(seed: int, l1: float) -> None:
    random = np.random.default_rng(seed)
    factor = random.normal(size=(6, 5))
    h, c, weights = factor.T @ factor, random.normal(size=5) * 3, np.array([l1, l1, l1, l1, 0.0])
    z, solved = minimise(h, c, weights, random.normal(size=5) * (random.random(5) < 0.5))

    assert solved

    def value(z: np.ndarray) -> float:
        return z @ h @ z / 2 + c @ z + weights @ np.abs(z)

    # The same with every coordinate as a difference of two that are not negative.
    split = minimize(
        lambda p: value(p[:5] - p[5:]), np.ones(10), bounds=[(0, None)] * 10, method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000, "maxfun": 100_000},
    )  # fmt: skip
    assert value(z) <= split.fun + 1e-9 * abs(split.fun)


def gram_of(kind: str, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Gram matrix and product with a response: of columns that are alike, that are many, or that are there twice."""
    random = np.random.default_rng(1)
    x = random.normal(size=(rows, columns))
    if kind == "alike":
        x = np.sqrt(0.99) * random.normal(size=(rows, 1)) + 0.1 * x
    if kind == "twice":
        x[:, columns // 2 :] = x[:, : columns - columns // 2]
    y = x @ random.normal(size=columns) + random.normal(size=rows)
    return x.T @ x / rows, -x.T @ y / rows


@pytest.mark.parametrize("share", [0.3, 0.01, 1e-4])
@pytest.mark.parametrize(
    ("kind", "rows", "columns"), [("alike", 400, 100), ("alike", 40, 100), ("many", 40, 100), ("twice", 80, 60)]
)
def test_the_quadratic_problem_is_solved_for_columns_that_are_alike_or_combinations(
    kind: str, rows: int, columns: int, share: float
) -> None:
    h, c = gram_of(kind, rows, columns)
    l1 = np.append(np.full(columns - 1, share * np.abs(c).max()), 0.0)
    z, solved = minimise(h, c, l1, np.zeros(columns))
    assert solved
    slope = h @ z + c
    off = np.where(z != 0, np.abs(slope + l1 * np.sign(z)), np.maximum(np.abs(slope) - l1, 0))
    assert off.max() <= 1e-10 * np.abs(c).max()


def test_a_model_that_is_not_solved_is_not_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(*drawn(3, rows=200, columns=40), l1=0.005)

    def hardly(h: np.ndarray, c: np.ndarray, l1: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, bool]:
        return z + 1e-3 * (minimise(h, c, l1, z)[0] - z), False

    monkeypatch.setattr(proximal_newton, "minimise", hardly)
    solver = proximal_newton.ProximalNewton([torch.nn.Parameter(torch.zeros(1))], tolerance=1e-2)
    _, (first, second) = solver.solve(problem, most=2)
    assert max(first.gap, second.gap) < 1e-2 * second.value
    assert not first.finished
    assert second.value < first.value


def test_training_reports_exact_zeros_and_a_certificate(tmp_path: Path) -> None:
    make = SOLVERS["proximal_newton"]
    record, classifier, history = fit(
        tmp_path, breast_cancer(batch_size=None), 50, make, l1=0.02, precision="64-true", check_val_every_n_epoch=50
    )
    pair = linear_coefficients(classifier.network)
    assert pair is not None
    assert 0 < int((pair[0] == 0).sum()) < 30
    assert record.optimality is not None
    assert record.optimality["method"] == "duality gap"
    assert record.optimality["converged"]
    assert list(column(history, "train/gap")) == list(range(record.updates))
    assert record.metrics["train/loss"] == pytest.approx(record.optimality["objective"], rel=1e-9)


@pytest.mark.parametrize("name", ["newton", "newton_cg", "lbfgs"])
def test_a_solver_of_smooth_objectives_names_the_one_that_can(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"optimizer={name} needs a smooth objective.*proximal_newton"):
        fit(tmp_path, breast_cancer(batch_size=None), 5, SOLVERS[name], l1=0.1)
