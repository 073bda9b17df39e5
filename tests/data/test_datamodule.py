"""Class weights are weights of rows, and what scikit-learn takes them to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression as ScikitLearn
from sklearn.utils.class_weight import compute_class_weight

from logreg.core.errors import UserError
from logreg.data import TableData
from logreg.data.datamodule import label_weights
from logreg.optim.newton import Newton
from logreg.optim.objective import linear_coefficients
from tests.helpers import fit, table_data

PENALTY = 0.01


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(3)
    x = generator.normal(size=(400, 3))
    y = generator.random(400) < 1 / (1 + np.exp(2 - x @ [1.0, -1.0, 0.5]))
    columns = {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "sold": np.where(y, "yes", "no")}
    columns |= {"n": generator.integers(1, 4, 400), "tripled": np.where(y, 3, 1)}
    path = tmp_path_factory.mktemp("table") / "t.csv"
    pl.DataFrame(columns).write_csv(path)
    return path


def solved(
    folder: Path, table: Path, class_weight: Any = None, weight: str | None = None, l2: float | None = None
) -> tuple[np.ndarray, TableData]:
    data = table_data(
        path=str(table), target="sold", weight=weight, exclude=[n for n in ("n", "tripled") if n != weight],
        split={"train": 1.0}, standardize=False, cache_dir=str(folder / "cache"),
    )  # fmt: skip
    data.weigh_labels(class_weight)
    data.setup("fit")
    l2 = 1 / data.training_weight if l2 is None else l2
    _, classifier, _ = fit(folder, data, 50, Newton, l2=l2, precision="64-true")
    pair = linear_coefficients(classifier.network)
    assert pair is not None
    return np.concatenate([p.detach().numpy().reshape(-1) for p in pair]), data


def scikit_learns(table: Path, class_weight: Any, weight: str | None = None) -> np.ndarray:
    frame = pl.read_csv(table)
    oracle = ScikitLearn(C=1.0, tol=1e-12, solver="newton-cholesky", class_weight=class_weight)
    oracle.fit(frame[["a", "b", "c"]].to_numpy(), frame["sold"].to_list(), None if weight is None else frame[weight])
    return np.concatenate([oracle.coef_[0], oracle.intercept_])


@pytest.mark.parametrize("given", ["balanced", {"yes": 3.0}, {"no": 0.5, "yes": 2.0}, {"0": 0.5, "1": 2.0}, {1: 4}])
@pytest.mark.parametrize("weight", [None, "n"])
def test_scikit_learns_coefficients(tmp_path: Path, table: Path, given: Any, weight: str | None) -> None:
    theirs = (
        given if given == "balanced" else {("no", "yes")[int(k)] if str(k) in "01" else k: v for k, v in given.items()}
    )
    coefficients, _ = solved(tmp_path, table, given, weight)
    np.testing.assert_allclose(coefficients, scikit_learns(table, theirs, weight), rtol=1e-7)


def test_class_weights_are_row_weights(tmp_path: Path, table: Path) -> None:
    by_class, data = solved(tmp_path, table, {"yes": 3.0}, l2=PENALTY)
    by_row, weighted = solved(tmp_path, table, weight="tripled", l2=PENALTY)
    np.testing.assert_allclose(by_class, by_row, rtol=1e-12)
    assert data.training_weight == weighted.training_weight
    assert data.describe()["class_weight"] == [1.0, 3.0]


def test_only_training_rows_are_weighted(tmp_path: Path, table: Path) -> None:
    data = table_data(path=str(table), target="sold", exclude=["n", "tripled"], cache_dir=str(tmp_path))
    data.weigh_labels("balanced")
    data.setup("fit")
    weight, y = data.weights("train"), data.served("train").y
    assert weight is not None
    assert float(weight[y == 1].sum()) == pytest.approx(float(weight[y == 0].sum()), rel=1e-5)
    assert data.weights("val") is None
    assert data.weights("test") is None


def test_balanced_is_scikit_learns(table: Path) -> None:
    labels = pl.read_csv(table)["sold"].to_numpy()
    theirs = compute_class_weight("balanced", classes=np.array(["no", "yes"]), y=labels)
    totals = float((labels == "no").sum()), float((labels == "yes").sum())
    assert label_weights("balanced", ("no", "yes"), totals) == pytest.approx(tuple(theirs))


def test_labels_that_look_like_numbers_are_labels_first() -> None:
    assert label_weights({"1": 5.0}, ("1", "2"), (1.0, 1.0)) == (5.0, 1.0)
    assert label_weights({True: 2.0}, ("false", "true"), (1.0, 1.0)) == (1.0, 2.0)
    assert label_weights({True: 2.0}, ("False", "True"), (1.0, 1.0)) == (1.0, 2.0)
    assert label_weights({1.0: 2.0}, ("0", "1"), (1.0, 1.0)) == (1.0, 2.0)


def test_a_label_that_there_is_not(table: Path) -> None:
    with pytest.raises(UserError, match=r"class_weight.*maybe.*no and yes"):
        label_weights({"maybe": 2.0}, ("no", "yes"), (1.0, 1.0))
