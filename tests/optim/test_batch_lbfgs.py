"""Many penalties of one table solved together, held against scikit-learn one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression as ScikitLearn

from logreg.core.errors import UserError
from logreg.data.rows import TensorRows
from logreg.optim.batch_lbfgs import BatchIteration, BatchObjective, neighbour, solve_penalties
from logreg.optim.problem import LogisticProblem


def drawn(
    seed: int, rows: int, columns: int, spread: float = 1.0, weighted: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A table whose columns differ in scale by this many orders of magnitude."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, columns)) @ random.normal(size=(columns, columns)) / np.sqrt(columns)
    y = (random.random(rows) < 1 / (1 + np.exp(-x @ random.normal(size=columns) - 0.5))).astype(float)
    y[:2] = 0, 1
    weight = random.integers(1, 5, rows).astype(float) if weighted else None
    return x * np.logspace(-spread, spread, columns), y, weight


def objective(theta: np.ndarray, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, l2: float) -> float:
    z = x @ theta[:-1] + theta[-1]
    losses = np.logaddexp(0, (1 - 2 * y) * z)
    return float(np.average(losses, weights=weight) + l2 / 2 * theta[:-1] @ theta[:-1])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), rows=st.sampled_from([30, 300, 5000, 30_000]), columns=st.integers(1, 12),
    spread=st.sampled_from([0.0, 1.0, 3.0]), weighted=st.booleans(),
    l2=st.lists(st.sampled_from([1e-6, 1e-4, 1e-2, 1.0, 30.0]), min_size=1, max_size=5),
)  # fmt: skip
def test_every_problem_is_at_scikit_learns_optimum(
    seed: int, rows: int, columns: int, spread: float, weighted: bool, l2: list[float]
) -> None:
    x, y, weight = drawn(seed, rows, columns, spread, weighted)
    scaled = None if weight is None else torch.tensor(weight / weight.mean())
    solution = solve_penalties(torch.tensor(x), torch.tensor(y), torch.tensor(l2, dtype=torch.float64), scaled)
    assert solution.finished.all()
    for theta, value, penalty in zip(solution.theta.numpy(), solution.value.tolist(), l2, strict=True):
        assert value == pytest.approx(objective(theta, x, y, weight, penalty), rel=1e-12)
        total = rows if weight is None else weight.sum()
        oracle = ScikitLearn(C=1 / (total * penalty), solver="newton-cholesky", tol=1e-10, max_iter=1000)
        oracle.fit(x, y, weight)
        theirs = objective(np.append(oracle.coef_[0], oracle.intercept_), x, y, weight, penalty)
        assert value <= theirs * (1 + 1e-10)


def test_without_a_penalty_it_is_the_maximum_likelihood_estimate() -> None:
    x, y, _ = drawn(1, 3000, 4)
    solution = solve_penalties(torch.tensor(x), torch.tensor(y), torch.tensor([0.0], dtype=torch.float64))
    oracle = ScikitLearn(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(solution.theta[0].numpy(), np.append(oracle.coef_[0], oracle.intercept_), rtol=1e-6)


def test_columns_that_are_combinations_of_others() -> None:
    x, y, _ = drawn(2, 500, 3)
    twice = np.hstack([x, x])
    l2 = torch.tensor([0.01, 0.1], dtype=torch.float64)
    once = solve_penalties(torch.tensor(x), torch.tensor(y), l2)
    both = solve_penalties(torch.tensor(twice), torch.tensor(y), 2 * l2)
    np.testing.assert_allclose(both.theta[:, :3].numpy(), once.theta[:, :3].numpy() / 2, rtol=1e-5, atol=1e-9)


def test_a_start_at_the_optimum_ends_at_once() -> None:
    x, y, _ = drawn(3, 400, 5)  # of no more rows than a sample has
    arguments = torch.tensor(x), torch.tensor(y), torch.tensor([0.01, 0.1])
    again = solve_penalties(*arguments, start=solve_penalties(*arguments).theta)
    assert max(again.iterations) <= 1


@pytest.mark.parametrize("weighted", [False, True])
def test_a_fold_that_begins_where_another_ended_ends_where_it_ends_alone(weighted: bool) -> None:
    x, y, weight = drawn(5, 20_000, 8, weighted=weighted)
    l2 = torch.logspace(-6, 1, 12, dtype=torch.float64)
    folds = np.random.default_rng(0).permutation(len(x)).reshape(2, -1)

    def of(fold: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        weights_of_fold = None if weight is None else torch.tensor(weight[fold] / weight[fold].mean())
        return torch.tensor(x[fold]), torch.tensor(y[fold]), weights_of_fold

    (x1, y1, s1), (x2, y2, s2) = of(folds[0]), of(folds[1])
    first, alone = solve_penalties(x1, y1, l2, s1), solve_penalties(x2, y2, l2, s2)
    after = solve_penalties(x2, y2, l2, s2, near=neighbour(x1, y1, l2, first.theta, s1))
    assert after.finished.all()
    torch.testing.assert_close(after.value, alone.value, rtol=1e-12, atol=0)
    torch.testing.assert_close(after.theta, alone.theta, rtol=1e-5, atol=1e-7)
    assert max(after.iterations) < max(alone.iterations)


def test_a_neighbour_that_is_none_is_left_alone() -> None:
    x, y, _ = drawn(6, 3000, 4)
    l2 = torch.tensor([1e-3, 1e-1], dtype=torch.float64)
    table = torch.tensor(x), torch.tensor(y)
    opposite = neighbour(table[0], 1 - table[1], l2, 30 * solve_penalties(table[0], 1 - table[1], l2).theta)
    solution, expected = (solve_penalties(*table, l2, near=near) for near in (opposite, None))
    torch.testing.assert_close(solution.theta, expected.theta, rtol=1e-7, atol=1e-10)


def test_problems_that_are_alike_share_a_hessian_and_others_do_not() -> None:
    x, y, _ = drawn(7, 4000, 3)
    l2 = torch.tensor([1e-6, 2e-6, 1e-4, 0.1, 10.0], dtype=torch.float64)
    table, everyone = (torch.tensor(x), torch.tensor(y)), torch.arange(5)
    theta = solve_penalties(*table, l2).theta
    rows = BatchObjective(*table, None, l2)
    shared, of_problem = rows._shared(theta)
    assert 1 < len(shared) < 5
    assert of_problem[0] == of_problem[1]
    vectors = torch.ones_like(theta)
    products = rows.factors(theta, everyone)(vectors)
    for i, penalty in enumerate(l2.tolist()):
        exact = LogisticProblem(TensorRows(*table), penalty).hessian(theta[i])
        expected = torch.linalg.solve(exact, vectors[i])
        error = products[i] - expected
        assert float(error @ exact @ error) <= 0.1**2 * float(expected @ exact @ expected)


def test_rows_in_an_order_that_hides_a_label_from_a_part_of_them() -> None:
    x, y, _ = drawn(4, 30_000, 3)
    order = np.argsort(y, kind="stable")
    l2 = torch.tensor([1e-3])
    one = solve_penalties(torch.tensor(x), torch.tensor(y), l2)
    other = solve_penalties(torch.tensor(x[order]), torch.tensor(y[order]), l2)
    np.testing.assert_allclose(one.theta.numpy(), other.theta.numpy(), rtol=1e-6)


def test_iterations_are_told_and_can_be_stopped() -> None:
    x, y, _ = drawn(5, 20_000, 6)
    iterations: list[BatchIteration] = []

    def stop_after_two(iteration: BatchIteration) -> bool:
        iterations.append(iteration)
        return len(iterations) == 2

    solution = solve_penalties(torch.tensor(x), torch.tensor(y), torch.tensor([1e-4, 1e-2]), watch=stop_after_two)
    assert len(iterations) == 2
    assert not solution.finished.any()
    assert solution.iterations == [2, 2]
    assert bool((iterations[1].value < iterations[0].value).all())
    assert bool((solution.value < iterations[1].value).all())


def test_a_start_that_is_far_out_is_left_for_no_coefficients() -> None:
    x, y = (torch.tensor(part, dtype=torch.float64) for part in load_breast_cancer(return_X_y=True))  # raw columns
    l2 = torch.tensor([1e-6, 1e-2], dtype=torch.float64)
    torch.manual_seed(2)
    start = torch.nn.Linear(30, 2).double()
    far = torch.cat([start.weight, start.bias.unsqueeze(1)], 1).detach()
    solution, expected = (solve_penalties(x, y, l2, start=at) for at in (far, None))
    assert bool(solution.finished.all())
    torch.testing.assert_close(solution.value, expected.value, rtol=1e-8, atol=0)


def test_numbers_that_are_not_finite_are_refused() -> None:
    x = torch.full((40, 2), torch.nan, dtype=torch.float64)
    with pytest.raises(UserError, match="not finite"):
        solve_penalties(x, torch.ones(40, dtype=torch.float64), torch.tensor([0.1]))


def test_rows_without_weight_are_as_if_they_were_not_there() -> None:
    x, y, _ = drawn(8, 60_000, 4)
    weight = np.zeros(len(y))
    weight[500:900] = np.random.default_rng(1).integers(1, 4, 400)
    weighted, l2 = weight > 0, torch.tensor([1e-4, 1e-2], dtype=torch.float64)
    some, every = (
        solve_penalties(torch.tensor(x[of]), torch.tensor(y[of]), l2, torch.tensor(weight[of] / weight[of].mean()))
        for of in (weighted, np.ones_like(weighted))
    )
    assert every.finished.all()
    torch.testing.assert_close(every.theta, some.theta, rtol=1e-6, atol=1e-9)


def test_each_problem_has_its_own_tolerance_and_first_step() -> None:
    x, y, _ = drawn(9, 30_000, 6)
    l2, tolerances = torch.full((3,), 1e-4, dtype=torch.float64), torch.tensor([1e-2, 1e-6, 1e-14])
    solution = solve_penalties(torch.tensor(x), torch.tensor(y), l2, tolerance=tolerances)
    assert solution.finished.all()
    assert solution.iterations[0] < solution.iterations[1] < solution.iterations[2]
    lengths: list[float] = []

    def look(iteration: BatchIteration) -> bool:
        lengths.append(float(iteration.step.max()))
        return False

    solve_penalties(torch.tensor(x), torch.tensor(y), l2[:1], lr=0.5, watch=look)
    assert max(lengths) == 0.5
