"""What every solver must do: the same optimum as the others, as scikit-learn and as the published figures."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_svmlight_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from logreg.core.errors import UserError
from logreg.data import rows
from logreg.evaluation.coefficients.optimality import certify, separation_of
from logreg.optim import precondition
from logreg.optim import problem as problem_module
from tests.helpers import breast_cancer, column, fit, shared_file, table_data
from tests.optim.problems import SOLVERS, drawn, problem_of, solve

every_solver = pytest.mark.parametrize("name", list(SOLVERS))


@every_solver
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("file", "least"), [("heart_scale.svm", 94.6552242173), ("a9a.svm", 10528.5724305433)])
def test_the_published_optima_of_raw_columns(name: str, sparse: bool, file: str, least: float) -> None:
    x, y = load_svmlight_file(str(shared_file(file)))
    problem = problem_of(x if sparse else x.toarray(), y > 0, 1 / len(y))
    theta, _ = solve(name, problem)
    assert len(y) * problem.value(theta) == pytest.approx(least, rel=1e-11)
    assert certify(problem, theta).converged


@every_solver
def test_the_published_optimum_of_breast_cancer_and_that_of_its_raw_columns(name: str) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    standardised = problem_of((x - x.mean(0)) / x.std(0), y, 1 / len(y))
    theta, _ = solve(name, standardised)
    assert len(y) * standardised.value(theta) == pytest.approx(37.7589459619, rel=1e-11)
    raw = problem_of(x, y, 1 / len(y))  # condition 1e12
    certificate = certify(raw, solve(name, raw)[0])
    assert certificate.relative_gap is not None
    assert certificate.relative_gap < 1e-8


def test_the_published_accuracy_of_breast_cancer(tmp_path: Path) -> None:
    data = breast_cancer(batch_size=None, split={"train": 1.0})
    record, _, _ = fit(tmp_path, data, 100, SOLVERS["newton"], l2=1 / 569, precision="64-true")
    assert record.metrics["train/accuracy"] == pytest.approx(0.987698, abs=1e-6)
    assert 569 * record.metrics["train/loss"] == pytest.approx(37.7589459619, rel=1e-9)


def test_the_published_accuracy_of_a9a_on_rows_of_fewer_columns(tmp_path: Path) -> None:
    path, test_path = (str(shared_file(name)) for name in ("a9a.svm", "a9a.t.svm"))
    data = table_data(
        path=path, test_path=test_path, split={"train": 1.0}, standardize=False, cache_dir=str(tmp_path / "cache")
    )
    data.prepare_data()
    record, _, _ = fit(tmp_path, data, 100, SOLVERS["lbfgs"], l2=1 / 32561, precision="64-true")
    assert data.num_features == 123
    assert record.metrics["test/accuracy"] == pytest.approx(0.849764, abs=1e-6)
    assert 32561 * record.metrics["train/loss"] == pytest.approx(10528.5724305433, rel=1e-9)


@every_solver
def test_the_published_nine_rows(name: str) -> None:
    x = np.array([np.arange(-4, 5), [0, 0, 1, 0, 1, 1, 1, 0, 0]]).T
    theta, _ = solve(name, problem_of(x, np.array([0, 0, 0, 1, 1, 1, 1, 1, 1]), 1.0))
    np.testing.assert_allclose(theta.numpy(), [0.444645692, 0.0145756345, 0.892304055], rtol=3e-8)


@every_solver
@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-4, 0.01, 1.0]), st.booleans(), st.sampled_from([1.0, 1e5]))
def test_the_optimum_is_scikit_learns(name: str, seed: int, l2: float, weighted: bool, condition: float) -> None:
    x, y = drawn(seed, columns=4)
    x = x * np.geomspace(1, condition, 4)
    weight = np.random.default_rng(seed).integers(1, 5, len(y)).astype(float) if weighted else np.ones(len(y))
    problem = problem_of(x, y, l2, weight if weighted else None)
    theta, _ = solve(name, problem)
    model = LogisticRegression(C=1 / (weight.sum() * l2), tol=1e-12, max_iter=500, solver="newton-cholesky")
    model.fit(x, y, weight)
    theirs = torch.tensor([*model.coef_[0], *model.intercept_], dtype=torch.float64)
    assert problem.value(theta) == pytest.approx(problem.value(theirs), rel=1e-8)
    assert problem.value(theta) <= problem.value(theirs) * (1 + 1e-10)


@every_solver
@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_all_solvers_agree_with_and_without_a_penalty_dense_and_sparse(name: str, seed: int, penalised: bool) -> None:
    x, y = drawn(seed, rows=200, columns=6)
    x[np.random.default_rng(seed).random(x.shape) < 0.7] = 0
    dense = problem_of(x, y, 0.01 if penalised else 0.0)
    separation = separation_of(dense, list("abcdef"))
    if separation is not None and separation.kind != "none":
        return
    expected, _ = solve("newton", dense)
    sparse = problem_of(sp.csr_matrix(x), y, dense.l2)
    for problem in (dense, sparse):
        np.testing.assert_allclose(solve(name, problem)[0].numpy(), expected.numpy(), rtol=1e-6, atol=1e-7)


@every_solver
def test_a_start_at_the_optimum_takes_at_most_one_step(name: str) -> None:
    x, y = drawn(4, rows=3000, columns=5)
    problem = problem_of(x, y, 0.01)
    theta, _ = solve(name, problem)
    _, iterations = solve(name, problem, theta.clone())
    assert sum(iteration.step > 0 for iteration in iterations) <= 1


@every_solver
@pytest.mark.parametrize("start", [100.0, -3.0])
def test_a_far_start_is_brought_back(name: str, start: float) -> None:
    x, y = drawn(5, rows=2000)
    problem = problem_of(x, y, 0.01)
    far, _ = solve(name, problem, torch.full((4,), start, dtype=torch.float64))
    torch.testing.assert_close(far, solve("newton", problem)[0], rtol=1e-6, atol=1e-8)


@every_solver
def test_rows_in_float32_are_solved_in_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(6, rows=3000, columns=8)
    x = x.astype(np.float32)
    exact = problem_of(x, y, 0.001)
    monkeypatch.setattr(problem_module, "BLOCK_BYTES", 2**12)
    problem = problem_of(x, y, 0.001, dtype=torch.float32)
    theta, _ = solve(name, problem)
    certificate = certify(problem, theta)
    assert certificate.relative_gap is not None
    assert certificate.relative_gap < 1e-8
    np.testing.assert_allclose(theta.numpy(), solve("newton", exact)[0].numpy(), rtol=1e-6, atol=1e-7)


@every_solver
def test_an_objective_that_is_no_number_at_the_start_is_refused(name: str) -> None:
    x, y = drawn(7)
    with pytest.raises(UserError, match=f"optimizer={name}: the objective is .* at the start"):
        solve(name, problem_of(x * 1e200, y, 1.0), torch.full((4,), 1e200, dtype=torch.float64))


# --- in the training loop -------------------------------------------------------------------------------------------


@every_solver
def test_training_logs_every_iteration_and_stops_at_the_optimum(name: str, tmp_path: Path) -> None:
    record, _, history = fit(
        tmp_path, breast_cancer(batch_size=None), 200, SOLVERS[name], l2=0.01, precision="64-true",
        check_val_every_n_epoch=200,
    )  # fmt: skip
    assert record.status == "completed"
    assert record.updates < 100
    columns = [column(history, f"train/{key}") for key in ("loss", "gap", "gradient_norm", "step_length")]
    assert all(list(by_step) == list(range(record.updates)) for by_step in columns)
    losses, gaps = (list(by_step.values()) for by_step in columns[:2])
    assert losses[0] == pytest.approx(max(losses))
    assert gaps[-1] < 1e-12
    assert record.optimality is not None
    assert record.optimality["converged"]


@every_solver
def test_a_run_that_was_cut_off_goes_on(name: str, tmp_path: Path) -> None:
    def run(folder: str, epochs: int, resume: Path | None = None):
        data = breast_cancer(batch_size=None)
        return fit(tmp_path / folder, data, epochs, SOLVERS[name], l2=0.01, precision="64-true", resume=resume)

    whole, classifier, _ = run("whole", 200)
    run("first", 4)
    rest, resumed, _ = run("rest", 200, tmp_path / "first")
    assert (rest.updates, rest.metrics) == (whole.updates, whole.metrics)
    for key, value in classifier.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@every_solver
def test_what_a_solver_cannot_train_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"optimizer={name} needs the full batch"):
        fit(tmp_path, breast_cancer(), 5, SOLVERS[name])
    hidden = nn.Sequential(nn.Linear(30, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid())
    with pytest.raises(UserError, match=f"optimizer={name} solves linear models; .* torch_lbfgs"):
        fit(tmp_path, breast_cancer(batch_size=None), 5, SOLVERS[name], network=hidden)
    decay = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    with pytest.raises(UserError, match=f"optimizer={name} has no learning rate to schedule"):
        fit(tmp_path, breast_cancer(batch_size=None), 5, SOLVERS[name], scheduler=decay)


# --- the subsample ---------------------------------------------------------------------------------------------


def test_rows_of_a_sparse_tensor_are_cut_and_taken_as_those_of_a_dense_one() -> None:
    x = sp.random(30, 5, density=0.3, format="csr", random_state=0)
    dense, y = torch.tensor(x.toarray()), torch.zeros(30, dtype=torch.float64)
    sparse = rows.TensorRows(dense.to_sparse_csr(), y)
    assert torch.equal(sparse.span(7, 19)[0].to_dense(), dense[7:19])
    chosen = torch.tensor([3, 3, 29, 0])
    assert torch.equal(sparse.take(chosen)[0].to_dense(), dense[chosen])


@pytest.mark.parametrize("most", [1000, 1])  # a factor of the Hessian, its diagonal
def test_lbfgs_needs_few_passes_whatever_the_condition(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precondition, "MOST_COLUMNS", most)
    x, y = drawn(8, rows=20_000, columns=6)
    problem = problem_of(x * np.geomspace(1, 1e8, 6), y)
    theta, iterations = solve("lbfgs", problem)
    expected, _ = solve("newton", problem)
    assert problem.value(theta) == pytest.approx(problem.value(expected), rel=1e-12)
    assert len(iterations) <= (15 if most > 1 else 30)


def test_lbfgs_starts_at_the_optimum_of_a_subsample_unless_it_is_given_a_better_start() -> None:
    x, y = drawn(9, rows=20_000, columns=6)
    problem = problem_of(x, y, 0.001)
    optimum, iterations = solve("lbfgs", problem)
    sample = precondition.subsample(problem)
    assert len(sample) < len(problem) / 2
    start, _ = solve("newton", sample)
    assert iterations[0].value == pytest.approx(problem.value(start), rel=1e-3)
    _, iterations = solve("lbfgs", problem, optimum + 1e-4)
    assert iterations[0].value == pytest.approx(problem.value(optimum + 1e-4), rel=1e-12)


@pytest.mark.parametrize("condition", [1.0, 1e3])
def test_a_hessian_in_float32_is_made_anew_in_float64_where_it_is_too_coarse(condition: float) -> None:
    x, y = drawn(10, rows=3000, columns=5)
    x = x @ np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0] * np.geomspace(1, condition, 5)
    x = x @ np.random.default_rng(1).normal(size=(5, 5))
    single, double = (problem_of(x.astype(np.float32), y, dtype=d) for d in (torch.float32, torch.float64))
    theta = torch.zeros(6, dtype=torch.float64)
    expected = torch.linalg.solve(double.derivatives(theta).hessian, double.first_order(theta).gradient)
    direction = precondition.Preconditioner(single, theta)(double.first_order(theta).gradient)
    np.testing.assert_allclose(direction.numpy(), expected.numpy(), rtol=1e-3)


def test_lbfgs_goes_on_from_what_a_checkpoint_kept_for_parameters_in_float32() -> None:
    x, y = drawn(11, rows=5000, columns=4)
    problem = problem_of(x, y, 0.01)
    first, theta = SOLVERS["lbfgs"]([nn.Parameter(torch.zeros(1))]), torch.zeros(5, dtype=torch.float64)
    for _ in range(3):
        theta = first.iterate(problem, theta).theta
    second = SOLVERS["lbfgs"]([nn.Parameter(torch.zeros(1))])
    second.load_state_dict(first.state_dict())
    for _ in range(10):
        theta = second.iterate(problem, theta).theta
    assert problem.value(theta) == pytest.approx(problem.value(solve("newton", problem)[0]), rel=1e-12)


@every_solver
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("standardised", [False, True])
def test_a_rare_level_that_a_subsample_misses(name: str, sparse: bool, standardised: bool) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(60_000, 5))
    x[:, 4] = 0.0
    x[random.choice(len(x), 12, replace=False), 4] = 1.0
    y = (x @ [1.0, -0.5, 0.3, 0.2, 1.0] + random.logistic(size=len(x)) > 0).astype(float)
    assert 0 < y[x[:, 4] == 1].mean() < 1
    columns = (x - x.mean(0)) / x.std(0) if standardised else x
    problem = problem_of(sp.csr_matrix(columns) if sparse else columns, y)
    theta, _ = solve(name, problem)
    oracle = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=100).fit(columns, y)
    np.testing.assert_allclose(theta.numpy(), [*oracle.coef_[0], *oracle.intercept_], rtol=1e-6)


@every_solver
def test_raw_sparse_columns_without_a_penalty(name: str) -> None:
    """Quasi-separated by rare columns and of less than full rank: the objective has a least value all the same."""
    x, y = load_svmlight_file(str(shared_file("a9a.svm")))
    problem = problem_of(x, y > 0)
    theta, _ = solve(name, problem)
    exact, _ = solve("newton", problem)
    assert problem.value(theta) == pytest.approx(problem.value(exact), rel=1e-8)


@every_solver
def test_rows_without_weight_are_as_if_they_were_not_there(name: str) -> None:
    x, y = drawn(3, 60_000)
    weight = np.zeros(len(y))
    weight[1000:1300] = np.random.default_rng(1).integers(1, 4, 300)
    weighted = weight > 0
    some, _ = solve(name, problem_of(x[weighted], y[weighted], 1e-3, weight[weighted]))
    every, _ = solve(name, problem_of(x, y, 1e-3, weight))
    np.testing.assert_allclose(every.numpy(), some.numpy(), rtol=1e-7)


@every_solver
def test_columns_whose_squares_are_infinite_are_refused(name: str) -> None:
    x, y = drawn(4, 200)
    x[:, 2] *= 1e160
    with pytest.raises(UserError, match="not finite; scale the columns"):
        solve(name, problem_of(x, y, 1e-3, l1=1e-3 if name == "proximal_newton" else 0.0))


def test_products_of_many_sparse_columns_are_those_of_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    x = sp.random(3000, 5000, 0.002, "csr", random_state=0)
    y = (np.random.default_rng(0).random(3000) < 0.5).astype(float)
    theta = torch.randn(5001, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = problem_of(x, y, 0.1).first_order(theta)
    monkeypatch.setattr(problem_module, "BLOCK_BYTES", 2**8)
    problem = problem_of(x, y, 0.1)
    assert 1 < len(problem.blocks()) < 100
    torch.testing.assert_close(problem.first_order(theta).gradient, expected.gradient, rtol=1e-12, atol=1e-15)
