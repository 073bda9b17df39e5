"""The certificate and the separation that it is given, against the optimum itself and what must hold."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer
from torch import nn

from logreg.cli.assemble import check_separation
from logreg.core.errors import UserError
from logreg.data.adapter import adapted
from logreg.evaluation.coefficients import optimality, separation
from logreg.evaluation.coefficients.optimality import certify, separation_of
from logreg.models import SequentialRegression
from logreg.optim import precondition
from logreg.optim.firth import FirthProblem
from logreg.optim.problem import LogisticProblem
from logreg.training.classifier import BinaryClassifier
from tests.helpers import Ordinary, breast_cancer
from tests.optim.problems import drawn, problem_of
from tests.optim.problems import solve as solved

OF_ITSELF = "try more epochs, a smaller optimizer.tolerance, or columns of one scale (data.standardize=true)"


def solve(problem: LogisticProblem) -> torch.Tensor:
    return solved("newton", problem)[0]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 0.1, 1.0]), st.floats(0.01, 5.0))
def test_the_duality_gap_bounds_the_distance_from_the_optimum(seed: int, l2: float, spread: float) -> None:
    x, y = drawn(seed)
    problem = problem_of(x, y, l2)
    optimum = solve(problem)
    theta = spread * torch.tensor(np.random.default_rng(seed).normal(size=4))
    certificate = certify(problem, theta)
    assert certificate.gap is not None
    assert problem.value(theta) - problem.value(optimum) <= certificate.gap * (1 + 1e-9) + 1e-15
    best, at = problem.with_best_intercept(theta)
    assert float(at.gradient[-1]) == pytest.approx(0.0, abs=1e-12)
    assert certify(problem, best).gap == pytest.approx(float(at.gradient[:-1].square().sum()) / (2 * l2), rel=1e-6)


def test_the_newton_decrement_is_the_distance_near_the_estimate() -> None:
    x, y = drawn(6, rows=100)
    problem = problem_of(x, y)
    optimum = solve(problem)
    theta = optimum + 1e-3
    certificate = certify(problem, theta, separation_of(problem, ["a", "b", "c"]))
    assert certificate.method == "half squared Newton decrement"
    assert certificate.gap == pytest.approx(problem.value(theta) - problem.value(optimum), rel=1e-2)
    assert certify(problem, optimum).converged


@pytest.mark.parametrize("has_factor", [False, True])  # of the preconditioner: as many columns have only a diagonal
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_newton_decrement_of_many_columns_is_that_of_a_factor(
    monkeypatch: pytest.MonkeyPatch, has_factor: bool, dtype: torch.dtype
) -> None:
    x, y = of_many_columns()
    problem = problem_of(x, y, dtype=dtype)
    optimum = solve(problem)
    away = optimum * torch.tensor(np.random.default_rng(1).normal(size=61))
    at = [optimum + share * away for share in (0.0, 1e-6, 1e-4, 1e-2, 0.05)]
    expected = [certify(problem, theta) for theta in at]
    monkeypatch.setattr(optimality, "MOST_GRAM_COLUMNS", 59)
    if not has_factor:
        monkeypatch.setattr(precondition, "MOST_COLUMNS", 59)
    certificates = [certify(problem, theta) for theta in at]
    assert [f.method for f in certificates] == ["half squared Newton decrement"] * 5
    assert [f.converged for f in certificates] == [f.converged for f in expected] == [True, True, False, False, False]
    assert [f.gap for f in certificates] == [pytest.approx(f.gap, rel=1e-4, abs=1e-15) for f in expected]


@pytest.mark.parametrize("has_factor", [False, True])
def test_nothing_is_certified_where_the_hessian_is_flat_and_the_gradient_is_not(
    monkeypatch: pytest.MonkeyPatch, has_factor: bool
) -> None:
    x, y = of_many_columns()
    theta = solve(problem_of(x, y))
    # A column of one row, which it is so wrong about that the Hessian has lost it.
    x = np.column_stack([x, np.eye(len(x))[0]])
    theta = torch.cat([theta[:-1], torch.tensor([-1000.0 if y[0] else 1000.0]).double(), theta[-1:]])
    problem = problem_of(x, y)
    assert problem.value(theta) < math.log(2)
    for most in (61, 60):
        monkeypatch.setattr(optimality, "MOST_GRAM_COLUMNS", most)
        if not has_factor:
            monkeypatch.setattr(precondition, "MOST_COLUMNS", most)
        certificate = certify(problem, theta)
        assert (certificate.gap, certificate.converged) == (None, None)
        assert certificate.sentence.startswith("not certified: the norm of the gradient is")


def of_many_columns() -> tuple[np.ndarray, np.ndarray]:
    """2,500 rows of 60 columns that are alike and of unlike units."""
    random, units = np.random.default_rng(0), np.geomspace(1, 1e4, 60)
    x = random.normal(size=(2500, 60)) @ (np.eye(60) + 0.2 * random.normal(size=(60, 60)))
    return x * units, (x @ random.normal(size=60) / 5 + random.logistic(size=2500) / 3 > 0).astype(float)


@pytest.mark.parametrize(
    ("optimizer", "l1", "columns", "remedy"),
    [
        ("", 0.0, 3, "try optimizer=newton or more epochs"),
        ("newton_cg", 0.0, 3, "try optimizer=newton or more epochs"),
        ("newton", 0.0, 3, OF_ITSELF),
        ("", 0.01, 3, "try optimizer=proximal_newton or more epochs"),
        ("proximal_newton", 0.01, 3, OF_ITSELF),
        ("", 0.0, 1500, "try optimizer=newton_cg or more epochs"),
        ("newton_cg", 0.0, 1500, OF_ITSELF),
    ],
)
def test_what_is_advised_is_possible(optimizer: str, l1: float, columns: int, remedy: str) -> None:
    x, y = drawn(1, columns=3)
    x = np.column_stack([x, np.random.default_rng(0).normal(size=(len(x), columns - 3))])
    problem = problem_of(x, y, 0.01, l1=l1)
    for theta in (torch.zeros(columns + 1), torch.full((columns + 1,), 100.0)):
        certificate = certify(problem, theta.double(), optimizer=optimizer)
        assert certificate.sentence.startswith("not converged: ")
        assert certificate.sentence.endswith(remedy)


def test_firths_estimate_is_advised_to_be_newtons() -> None:
    problem = FirthProblem(problem_of(*drawn(1)).rows, 1 / 40)
    for optimizer, remedy in (("", "try optimizer=newton or more epochs"), ("newton", OF_ITSELF)):
        assert remedy in certify(problem, torch.zeros(4).double(), optimizer=optimizer).sentence


def test_a_separation_is_looked_for_where_it_matters_and_wherever_it_is_asked_for() -> None:
    x, y = np.array([[0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [1.0, 3.0]]), np.array([0.0, 0.0, 1.0, 1.0])
    names = ["a", "b"]
    for problem in (problem_of(x, y, 0.1), problem_of(x, y, l1=0.1)):
        assert separation_of(problem, names) is None
        separated = separation_of(problem, names, math.inf)
        assert separated is not None
        assert separated.kind == "complete"
        solver = "newton" if problem.l1 == 0 else "proximal_newton"
        certificate = certify(problem, solved(solver, problem)[0], separated)
        assert certificate.converged
        assert re.fullmatch(
            r"within .* of the optimum; without the penalty .* completely separated", certificate.sentence
        )
    plain = problem_of(x, y)
    assert separation_of(plain, names, 7) is None
    assert separation_of(plain, names, 8) is not None


def test_a_separation_by_columns_is_of_linear_models() -> None:
    hidden = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid())
    with pytest.raises(UserError, match="separation=true"):
        check_separation(True, BinaryClassifier(hidden), adapted(Ordinary()))
    check_separation(True, BinaryClassifier(SequentialRegression(2)), adapted(Ordinary()))
    check_separation("auto", BinaryClassifier(hidden), adapted(Ordinary()))


def test_a_separation_is_not_looked_for_where_there_is_no_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    x, y = drawn(0)
    problem, data = problem_of(x, y), breast_cancer()
    data.setup()
    monkeypatch.setattr(separation, "free_memory", lambda device: 50 * 8 * 40 * 4 - 1)
    assert separation_of(problem, list("abc"), math.inf) is None
    assert "linear programs over 40 training rows of 3 features" in caplog.text
    classifier = BinaryClassifier(SequentialRegression(30))
    check_separation("auto", classifier, data)
    with pytest.raises(UserError, match=r"separation=true: .* over 341 .* GiB are free; use separation=auto"):
        check_separation(True, classifier, data)
    monkeypatch.setattr(separation, "free_memory", lambda device: 50 * 8 * 341 * 31)
    check_separation(True, classifier, data)
    assert separation_of(problem, list("abc"), math.inf) is not None


def test_firths_estimate_of_separated_labels_is_an_optimum() -> None:
    x, y = np.array([[0.0], [0.0], [1.0], [1.0], [1.0]]), np.array([0.0, 1.0, 1.0, 1.0, 1.0])
    problem = FirthProblem(problem_of(x, y).rows, 1 / 5)
    certificate = certify(problem, solve(problem), separation_of(problem, ["a"], math.inf))
    assert certificate.converged
    assert certificate.sentence.endswith("the labels are quasi-completely separated by a (+)")


def test_combinations_of_columns_are_named() -> None:
    x, y = drawn(9, rows=100)
    problem = problem_of(np.column_stack([x, x[:, 0] - 2 * x[:, 2]]), y)
    certificate = certify(problem, solve(problem), separation_of(problem, list("abcd")))
    assert certificate.converged
    assert "d is a combination of other columns, so that its coefficient is not determined" in certificate.sentence


def test_far_from_the_estimate_nothing_is_certified() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    problem = problem_of(x, y)
    for theta in (torch.zeros(31), torch.ones(31), -torch.ones(31)):
        theta = theta.double()
        theta[-1] = 1000.0  # so certain of all rows that the Hessian is 0
        certificate = certify(problem, theta)
        assert not certificate.converged
        assert certificate.gap is None or certificate.gap > problem.value(theta) - math.log(2) * (1 + 1e-5)
        assert certificate.sentence.startswith("not converged: far from the optimum")
    saturated = problem_of(np.array([[-1.0], [1.0], [1.0], [-1.0]]), np.array([0.0, 1.0, 1.0, 1.0]))
    certificate = certify(saturated, torch.tensor([-30.0, 1000.0], dtype=torch.float64))
    assert not certificate.converged


def test_a_linear_program_that_fails_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(3)

    class Failed:
        status, message = 4, "numerical trouble"

    monkeypatch.setattr(separation, "linprog", lambda *_, **__: Failed())
    assert separation_of(problem_of(x, y), list("abc")) is None


def test_coefficients_that_classify_every_row_prove_the_separation_themselves() -> None:
    x = np.array([[-2.0], [-1.0], [1.0], [3.0]])
    problem = problem_of(x, np.array([0, 0, 1, 1]))
    near, far = (certify(problem, torch.tensor([w, 0.0], dtype=torch.float64)) for w in (0.3, 30.0))
    assert near.separation is None  # four rows could lose so little and one be wrong
    assert far.converged is False
    assert far.method == "separation"
    assert far.sentence.startswith("completely separated: the maximum-likelihood estimate does not exist")
