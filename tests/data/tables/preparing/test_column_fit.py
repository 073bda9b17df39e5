"""Which columns are used, and what features they get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import random as random_sparse
from sklearn.datasets import dump_svmlight_file
from sklearn.metrics import roc_auc_score

from logreg.core.errors import UserError
from logreg.data.tables.preparing.column_fit import folded_auroc
from tests.data.tables.people import people, table, written
from tests.helpers import table_data


def test_a_row_id_is_one_whatever_other_files_number_their_rows(tmp_path: Path) -> None:
    frame = people(200)
    path, other = written(tmp_path, frame), written(tmp_path, people(200, seed=1), "test.csv")
    assert "id" in table(tmp_path, path, test_path=other).preprocessor.left_out


def test_levels_beyond_a_thousand_share_a_feature(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    zips = random.integers(0, 3000, 60_000).astype(str)
    frame = pd.DataFrame({"zip": zips, "x": random.normal(size=60_000), "bought": random.integers(0, 2, 60_000)})
    data = table(tmp_path, written(tmp_path, frame), categorical=["zip"], split={"train": 1.0})
    zipped = next(c for c in data.preprocessor.columns if c.feature == "zip")
    assert zipped.width == 1001
    common = frame.zip.value_counts()
    assert common[zipped.levels].min() >= common[zipped.rare].max()


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("first", [1, 10**18])
def test_large_ids_and_ids_with_gaps_are_ids(tmp_path: Path, name: str, first: int) -> None:
    random = np.random.default_rng(0)
    ids = pd.Series(random.permutation(200) + first, dtype="Int64")
    ids[3] = pd.NA
    other = pd.Series(random.integers(0, 5, 200))
    frame = pd.DataFrame({"key": ids, "other": other, "bought": random.integers(0, 2, 200)})
    data = table(tmp_path, written(tmp_path, frame, name))
    assert "row id" in data.preprocessor.left_out["key"]
    assert data.preprocessor.raw_columns == ["other"]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_scale_of_weights_does_not_decide_which_levels_are_rare(tmp_path: Path, scale: float) -> None:
    frame = people(300).drop(columns=["id", "planet"])
    frame["w"] = scale * np.random.default_rng(0).uniform(0.5, 1.5, 300)
    data = table(tmp_path, written(tmp_path, frame), weight="w")
    city = next(c for c in data.preprocessor.columns if c.feature == "city")
    assert city.levels == ["Bonn", "Hof", "Köln", "Ulm"]


@pytest.mark.parametrize("dtype", ["float64", "object"])
def test_a_column_without_any_value_is_refused_in_parquet_too(tmp_path: Path, dtype: str) -> None:
    frame = people(100).assign(nothing=pd.Series([None] * 100, dtype=dtype))
    with pytest.raises(UserError, match="column nothing has no value at all"):
        table(tmp_path, written(tmp_path, frame, "t.parquet"))


def test_a_date_with_gaps_has_one_indicator(tmp_path: Path) -> None:
    frame = people(200)
    frame.loc[::7, "day"] = pd.NaT
    data = table(tmp_path, written(tmp_path, frame))
    day = [level for column, level in data.preprocessor.features if column == "day"]
    assert day == ["year", "(missing)", "month", "day", "weekday"]
    raw = frame.drop(columns="bought")
    x = data.preprocessor.transform(pl.from_pandas(raw.assign(day=frame.day.dt.strftime("%Y-%m-%d"))))
    rows = data.rows["train"]
    np.testing.assert_allclose(x[rows], data.tensors("train")[0], atol=1e-6)


def test_more_levels_than_features_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from logreg.data.tables.preparing import column_fit as prepare

    monkeypatch.setattr(prepare, "MOST_FEATURES", 3)
    data = table(tmp_path, written(tmp_path, people(300)), min_count=1)
    assert "column city has 4 levels: the commonest 3 have a feature each" in data.table.notes


# Columns that alone tell the labels apart are warned of by name, and no others.


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
