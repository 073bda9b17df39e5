"""Columns that alone tell the labels apart are warned of by name, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import random as random_sparse
from sklearn.datasets import dump_svmlight_file
from sklearn.metrics import roc_auc_score

from logreg.data.tables.preparing.column_fit import folded_auroc
from tests.helpers import table_data


def warned(folder: Path, frame: pd.DataFrame, **settings: Any) -> list[str]:
    frame.to_csv(folder / "t.csv", index=False)
    data = table_data(path=str(folder / "t.csv"), target="y", cache_dir=str(folder / "cache"), **settings)
    data.prepare_data()
    return data.table.warnings


@pytest.fixture
def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({"x": random.normal(size=600), "y": random.integers(0, 2, 600)})


def test_a_number_or_a_date_that_is_there_for_one_class_only_is_a_leak(tmp_path: Path, frame: pd.DataFrame) -> None:
    paid = np.where(frame.y == 1, np.random.default_rng(1).normal(size=600), np.nan)
    day = np.where(frame.y == 1, "2024-01-31", None)
    day[frame.index[frame.y == 1][::2]] = "2024-02-01"
    warnings = warned(tmp_path, frame.assign(refund=paid, cancelled=day))
    assert [text.split()[1] for text in warnings] == ["refund", "cancelled"]
    assert all("AUROC 1.0000" in text for text in warnings)


def test_levels_of_a_row_or_two_are_no_leak_and_levels_that_know_the_label_are(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    random = np.random.default_rng(2)
    rare = [f"v{i}" for i in random.integers(0, 400, 600)]  # in-sample, they tell nearly all labels
    leaking = np.where(frame.y == 1, random.choice(["a", "b"], 600), random.choice(["c", "d"], 600))
    (text,) = warned(tmp_path, frame.assign(rare=rare, told=leaking), min_count=1)
    assert "column told" in text


def test_a_column_of_a_sparse_table_is_warned_of_by_its_number(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    x = random_sparse(500, 30, 0.2, random_state=0, format="lil")
    y = random.integers(0, 2, 500)
    x[:, 6] = (1 + y).reshape(-1, 1)
    dump_svmlight_file(x.tocsr(), y, str(tmp_path / "t.svm"), zero_based=False)
    data = table_data(path=str(tmp_path / "t.svm"), cache_dir=str(tmp_path / "cache"))
    data.prepare_data()
    (text,) = data.table.warnings
    assert "column column_7 (AUROC 1.0000)" in text


@pytest.mark.parametrize("seed", range(10))
def test_the_area_is_scikit_learns(seed: int) -> None:
    random = np.random.default_rng(seed)
    score, y = random.integers(0, 6, 50).astype(float), random.integers(0, 2, 50)
    expected = roc_auc_score(y, score)
    assert folded_auroc(score, y) == pytest.approx(max(expected, 1 - expected), abs=1e-12)
