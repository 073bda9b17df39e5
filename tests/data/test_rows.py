"""Training on tables: weighted, sparse, and too large for one tensor; scikit-learn's optimum each time."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import random as random_sparse
from sklearn.datasets import dump_svmlight_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from logreg.data import TableData, rows
from logreg.data.tables import table
from logreg.optim.losses import loss_of
from logreg.optim.objective import AutogradGradient, LinearGradient, linear_coefficients
from tests.helpers import fit, table_data

LBFGS = functools.partial(
    torch.optim.LBFGS,
    max_iter=20,
    history_size=10,
    tolerance_grad=1e-10,
    tolerance_change=0.0,
    line_search_fn="strong_wolfe",
)


def data_of(folder: Path, name: str = "t.csv", **settings: Any) -> TableData:
    return table_data(path=str(folder / name), cache_dir=str(folder / "cache"), seed=1, **settings)


def drawn(count: int = 400, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4)) * [1, 10, 0.1, 3] + [0, 100, 0, -5]
    p = 1 / (1 + np.exp(-(x[:, 0] + (x[:, 1] - 100) / 10)))
    frame = pd.DataFrame(x, columns=list("abcd")).assign(city=random.choice(["x", "y", "z"], count))
    return frame.assign(weight=random.integers(0, 4, count), y=(random.random(count) < p).astype(int))


def solution(folder: Path, data: TableData, l2: float) -> np.ndarray:
    """Weights and intercept by L-BFGS in float64."""
    _, classifier, _ = fit(folder, data, 20, LBFGS, l2=l2, precision="64-true")
    pair = linear_coefficients(classifier.network)
    assert pair is not None
    return np.append(*(p.detach().reshape(-1).numpy() for p in pair))


def scikit_learns(x: Any, y: np.ndarray, l2: float, weight: np.ndarray | None = None) -> np.ndarray:
    total = len(y) if weight is None else weight.sum()
    oracle = LogisticRegression(C=1 / (total * l2), tol=1e-12, max_iter=10_000, solver="lbfgs")
    oracle.fit(x, y, sample_weight=weight)
    return np.append(oracle.coef_[0], oracle.intercept_[0])


def test_weighted_rows_give_scikit_learns_coefficients_and_those_of_repeated_rows(tmp_path: Path) -> None:
    frame = drawn()
    frame.to_csv(tmp_path / "t.csv", index=False)
    weighted = data_of(tmp_path, target="y", weight="weight", split={"train": 1.0})
    ours = solution(tmp_path / "a", weighted, 0.01)
    weighted.serve(torch.float64)
    x, y = (part.numpy() for part in weighted.tensors("train"))
    np.testing.assert_allclose(ours, scikit_learns(x, y, 0.01, frame.weight.to_numpy()), atol=1e-5)
    frame.loc[np.repeat(frame.index, frame.weight)].drop(columns="weight").to_csv(tmp_path / "r.csv", index=False)
    repeated = data_of(tmp_path, "r.csv", target="y", split={"train": 1.0})
    np.testing.assert_allclose(ours, solution(tmp_path / "b", repeated, 0.01), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("weight", [None, "weight"])
def test_a_batch_in_parts_gives_the_answer_of_one_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weight: str | None
) -> None:
    drawn().to_csv(tmp_path / "t.csv", index=False)
    settings = {"target": "y", "weight": weight, "exclude": [] if weight else ["weight"]}
    whole = solution(tmp_path / "a", data_of(tmp_path, **settings), 0.01)
    monkeypatch.setattr(table, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(rows, "MAX_ELEMENTS", 200)
    mapped = data_of(tmp_path, **settings)
    mapped.prepare_data()
    mapped.setup()
    assert isinstance(mapped.served("train").everything(), rows.LargeBatch)
    np.testing.assert_allclose(solution(tmp_path / "b", mapped, 0.01), whole, rtol=1e-6, atol=1e-7)


def test_mini_batches_from_the_map_are_those_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn().to_csv(tmp_path / "t.csv", index=False)
    adam = functools.partial(torch.optim.Adam, lr=0.01)
    results = []
    for limit in (2**28, 0):
        monkeypatch.setattr(table, "IN_MEMORY_BYTES", limit)
        data = data_of(tmp_path, target="y", weight="weight", batch_size=32)
        record, _, history = fit(tmp_path / str(limit), data, 3, adam)
        results.append((record.metrics, history))
    assert results[0] == results[1]


@pytest.mark.parametrize("of", ["log_loss", "mse"])
@pytest.mark.parametrize("closed_form", [True, False])
def test_both_gradients_of_a_batch_in_parts_are_that_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_form: bool, of: str
) -> None:
    drawn().to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.setattr(table, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(rows, "MAX_ELEMENTS", 200)
    data = data_of(tmp_path, target="y", weight="weight")
    data.prepare_data()
    data.setup()
    data.serve(torch.float64)
    batch = data.served("train").everything()
    assert isinstance(batch, rows.LargeBatch)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(data.num_features, 1), nn.Sigmoid()).double()
    pair = linear_coefficients(network)
    assert pair is not None
    options = {"l2": 0.3, "loss": loss_of(of)}
    gradient = LinearGradient(*pair, **options) if closed_form else AutogradGradient(network, **options)
    loss, accuracy = gradient.over(batch, 0.4)
    x, y, w = (torch.cat(parts) for parts in zip(*batch.parts(), strict=True))
    copy = [p.detach().clone().requires_grad_() for p in pair]
    z = x @ copy[0][0] + copy[1]
    losses = nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")
    if of == "mse":
        losses = nn.functional.mse_loss(torch.sigmoid(z), y, reduction="none")
    expected = (w * losses).sum() / w.sum()
    (expected + 0.15 * copy[0].square().sum()).backward()
    for ours, theirs in zip(pair, copy, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert loss == pytest.approx(float(expected.detach()))
    assert accuracy == pytest.approx(float((w * ((torch.sigmoid(z) >= 0.4) == (y > 0.5))).sum() / w.sum()))


@pytest.mark.parametrize("parts", [False, True])
def test_sparse_rows_give_scikit_learns_coefficients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: bool
) -> None:
    x = random_sparse(300, 30, density=0.2, format="csr", random_state=0)
    y = (np.random.default_rng(0).random(300) < 1 / (1 + np.exp(-x.toarray()[:, :3].sum(axis=1)))).astype(int)
    dump_svmlight_file(x, y, str(tmp_path / "t.svm"), zero_based=False)
    if parts:
        monkeypatch.setattr(rows, "MAX_ELEMENTS", 500)
    data = data_of(tmp_path, "t.svm", split={"train": 1.0}, storage="float64")
    ours = solution(tmp_path / "run", data, 0.01)
    np.testing.assert_allclose(ours, scikit_learns(x, y, 0.01), atol=1e-5)
    adam = functools.partial(torch.optim.Adam, lr=0.05)
    record, _, _ = fit(tmp_path / "batches", data_of(tmp_path, "t.svm", batch_size=20), 5, adam)
    assert record.metrics["train/loss"] < 0.67


def test_a_run_on_a_table_resumes_to_the_bit(tmp_path: Path) -> None:
    drawn().to_csv(tmp_path / "t.csv", index=False)
    adam = functools.partial(torch.optim.Adam, lr=0.01)

    def run(name: str, epochs: int, resume: Path | None = None) -> Any:
        data = data_of(tmp_path, target="y", batch_size=32)
        return fit(tmp_path / name, data, epochs, adam, resume=resume)

    _, whole, _ = run("whole", 6)
    run("first", 2)
    _, resumed, _ = run("second", 6, tmp_path / "first")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
