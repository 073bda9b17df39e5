"""Separation of labels: the cases of the literature, and what must not matter."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_svmlight_file
from sklearn.linear_model import LogisticRegression

from logreg.evaluation.coefficients.separation import CONSTANT, find_separation
from tests.helpers import fit, shared_file, toy
from tests.optim.problems import problem_of, solve

TOY = np.array([(1, 2), (2, 3), (3, 1), (4, 3), (5, 3), (6, 2)], dtype=float)


@pytest.mark.parametrize(
    ("x", "y", "kind"),
    [
        (TOY, [0, 0, 0, 1, 1, 1], "complete"),
        ([(1, -1, 2), (1, -1, -2), (1, -2, -2), (1, 2, 2)], [0, 1, 1, 1], "complete"),
        ([[-1], [0], [1], [2]], [0, 1, 0, 1], "none"),
        ([[-3], [-2], [-1], [1], [2], [3]], [0, 0, 0, 1, 1, 1], "complete"),
        ([[-3], [-2], [0], [0], [2], [3]], [0, 0, 0, 1, 1, 1], "quasi-complete"),
    ],
)
def test_the_cases_of_the_literature(x: list, y: list, kind: str) -> None:
    x, y = np.array(x, dtype=float), np.array(y)
    separation = find_separation(x, y, [f"x{i}" for i in range(x.shape[1])])
    assert separation.kind == kind
    weights = np.array([separation.direction.get(f"x{i}", 0.0) for i in range(x.shape[1])])
    weights /= np.where(x.std(0) > 0, x.std(0), 1.0)  # the direction is in units of the columns' deviations
    margins = (x @ weights + separation.direction.get(CONSTANT, 0.0)) * np.where(y > 0, 1, -1)
    if kind == "none":
        assert separation.direction == {}
    else:
        assert margins.min() >= -1e-9
        assert (margins > 1e-9).any()
        assert (margins.min() > 1e-9) == (kind == "complete")


@pytest.mark.parametrize(("name", "target", "column"), [("endometrial.csv", "HG", "NV"), ("sex2.csv", "case", "dia")])
def test_quasi_separated_tables_name_the_column_whose_estimate_is_infinite(name: str, target: str, column: str) -> None:
    table = pd.read_csv(shared_file(name))
    features = table.drop(columns=target)
    separation = find_separation(features.to_numpy(float), table[target].to_numpy(), list(features))
    assert (separation.kind, separation.columns) == ("quasi-complete", [column])
    assert separation.direction[column] > 0
    assert separation.dependent == []


def test_the_published_estimate_of_four_points_that_are_not_separated() -> None:
    theta, _ = solve("newton", problem_of(np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 0.0, 1.0])))
    np.testing.assert_allclose(theta.numpy(), [0.9081843, -0.4540921], rtol=1e-7)  # as many digits as are published


def test_the_cost_of_separated_labels_falls_without_end_and_the_weights_grow(tmp_path: Path) -> None:
    costs, norms = [], []
    for epochs in (50, 500, 5000):
        record, classifier, _ = fit(tmp_path / str(epochs), toy(), epochs, log_every_n_steps=epochs)
        costs.append(record.metrics["train/loss"])
        norms.append(float(torch.cat([p.detach().reshape(-1) for p in classifier.network.parameters()]).norm()))
    assert costs[0] > 5 * costs[1] > 25 * costs[2] > 0
    assert norms[0] < norms[1] - 1 < norms[2] - 2


def test_heart_scale_is_not_separated() -> None:
    x, y = load_svmlight_file(str(shared_file("heart_scale.svm")))
    separation = find_separation(x.toarray(), (y > 0).astype(int), [str(i) for i in range(x.shape[1])])
    assert (separation.kind, separation.rank) == ("none", 14)


@pytest.mark.slow
def test_a9a_is_separated_by_the_columns_that_see_one_class_only() -> None:
    x, y = load_svmlight_file(str(shared_file("a9a.svm")))
    names = [str(i + 1) for i in range(x.shape[1])]
    separation = find_separation(x.toarray(), (y > 0).astype(int), names)
    assert (separation.kind, separation.rank) == ("quasi-complete", 108)
    assert separation.columns == ["12", "13", "34", "89", "123"]
    assert len(separation.dependent) == 124 - 108


@pytest.mark.parametrize("huge", [1e5, 1e10, 1e12])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_huge_value_separates_nothing(seed: int, huge: float) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(500, 3))
    y = (x.sum(1) + 2 * random.logistic(size=500) > 0).astype(int)
    x[7, 1] = huge
    # The other rows alone have an estimate, and more rows never separate what is not separated.
    assert sm.Logit(np.delete(y, 7), sm.add_constant(np.delete(x, 7, 0))).fit(disp=0).mle_retvals["converged"]
    assert find_separation(x, y, ["a", "b", "c"]).kind == "none"
    both = np.column_stack([x, x[:, 1] + random.normal(size=500)])  # huge in the same row
    assert find_separation(both, y, ["a", "b", "c", "d"]).dependent == []
    separating = np.where((random.random(500) < 0.1) & (y == 1), 1.0, 0.0)  # by label 1 only, as its definition says
    separation = find_separation(np.column_stack([x, separating]), y, ["a", "b", "c", "seen"])
    assert (separation.kind, separation.columns) == ("quasi-complete", ["seen"])
    assert separation.direction["seen"] > 0


def test_dependent_columns_are_named() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 50))
    x = np.column_stack([a, b, 1e6 * a - 3 * b + 7, np.full(50, 5.0)])
    separation = find_separation(x, random.integers(0, 2, 50), ["a", "b", "both", "five"])
    assert separation.dependent == ["both", "five"]
    assert (separation.kind, separation.rank) == ("none", 3)


def test_rows_of_weight_0_say_nothing() -> None:
    x, y = np.array([[-2.0], [-1.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1, 0])
    assert find_separation(x, y, ["x"]).kind == "none"
    assert find_separation(x, y, ["x"], np.array([1.0, 1.0, 2.0, 1.0, 0.0])).kind == "complete"


@given(st.integers(0, 2**32 - 1), st.integers(4, 30), st.integers(1, 3))
def test_separated_or_not_as_a_margin_without_a_penalty_says(seed: int, rows: int, columns: int) -> None:
    # Scikit-learn's classifier with hardly any penalty separates every row exactly where something separates all.
    random = np.random.default_rng(seed)
    x, y = random.integers(-3, 4, (rows, columns)).astype(float), random.integers(0, 2, rows)
    if len(set(y.tolist())) < 2:
        return
    separation = find_separation(x, y, [f"x{i}" for i in range(columns)])
    fit = LogisticRegression(C=1e8, max_iter=2000, tol=1e-9, solver="newton-cholesky").fit(x, y)
    margins = fit.decision_function(x) * np.where(y > 0, 1, -1)
    assert (separation.kind == "complete") == bool(margins.min() > 0.5)


@given(st.integers(0, 2**32 - 1))
def test_units_and_the_order_of_rows_do_not_matter(seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.integers(-2, 3, (12, 2)).astype(float), random.integers(0, 2, 12)
    order = random.permutation(12)
    kinds = {
        find_separation(x, y, ["a", "b"]).kind,
        find_separation(x[order], y[order], ["a", "b"]).kind,
        find_separation(x * [1e4, 1e-4] + [5.0, -3.0], y, ["a", "b"]).kind,
        find_separation(x, 1 - y, ["a", "b"]).kind,
    }
    assert len(kinds) == 1


def test_labels_of_one_kind_are_separated_by_the_constant() -> None:
    for x in (np.random.default_rng(0).normal(size=(6, 2)), np.empty((6, 0))):
        separated = find_separation(x, np.ones(6), ["a", "b"][: x.shape[1]])
        assert separated.kind == "complete"
        assert all(math.isfinite(value) for value in separated.direction.values())
        assert separated.direction[CONSTANT] == 1.0
