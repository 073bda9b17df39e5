"""Raw columns become what scikit-learn's own preprocessing makes of them, fitted on training rows only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from logreg.core.errors import UserError
from logreg.data.tables.preparing.columns import MISSING, RARE
from logreg.data.tables.preparing.preprocessor import Preprocessor
from tests.data.tables.people import people, table, written
from tests.helpers import table_data


def test_the_features_are_scikit_learns_fitted_on_training_rows_only(tmp_path: Path) -> None:
    frame = people()
    data = table(tmp_path, written(tmp_path, frame), min_count=10)
    train = frame.iloc[data.rows["train"]]
    numbers, texts = ["age", "income"], ["city", "member"]
    oracle = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(strategy="median", add_indicator=False), StandardScaler()),
                numbers,
            ),
            ("texts", OneHotEncoder(handle_unknown="ignore", min_frequency=10, sparse_output=False), texts),
        ]
    )
    as_text = frame.assign(member=frame.member.map({True: "true", False: "false"}), city=frame.city.fillna("zz"))
    oracle.fit(as_text.iloc[data.rows["train"]])
    named = {
        f"{column}={level}" if level else column: i for i, (column, level) in enumerate(data.preprocessor.features)
    }
    for split in ("train", "val", "test"):
        x = data.tensors(split)[0].double().numpy()
        expected = oracle.transform(as_text.iloc[data.rows[split]])
        names = [name.partition("__")[2] for name in oracle.get_feature_names_out()]
        ours = {
            "age": "age",
            "income": "income",
            "city_Bonn": "city=Bonn",
            "city_Köln": "city=Köln",
            "city_Ulm": "city=Ulm",
            "city_zz": f"city={MISSING}",
            "city_infrequent_sklearn": f"city={RARE}",
            "member_false": "member=false",
            "member_true": "member=true",
        }
        for name, column in ours.items():
            np.testing.assert_allclose(x[:, named[column]], expected[:, names.index(name)], atol=1e-6, err_msg=name)
        gaps = frame.age.isna().to_numpy()[data.rows[split]]
        np.testing.assert_array_equal(x[:, named[f"age={MISSING}"]], gaps)
        weekday = frame.day.dt.isocalendar().day.to_numpy()[data.rows[split]].astype(float)
        reference = frame.day.dt.isocalendar().day.to_numpy()[data.rows["train"]].astype(float)
        np.testing.assert_allclose(
            x[:, named["day=weekday"]], (weekday - reference.mean()) / reference.std(), atol=1e-6
        )
    assert "all its values are different whole numbers" in data.preprocessor.left_out["id"]
    assert data.preprocessor.left_out["planet"] == "it has one value only in the training rows"
    assert train.planet.nunique() == 1
    assert data.preprocessor.target.labels == ("no", "yes")
    np.testing.assert_array_equal(data.tensors("test")[1], (frame.bought == "yes").to_numpy()[data.rows["test"]])


def test_a_frame_of_raw_columns_gets_the_features_of_training(tmp_path: Path) -> None:
    frame = people()
    data = table(tmp_path, written(tmp_path, frame), storage="float64")

    from logreg.runs.frames import as_frame

    again = Preprocessor.from_json(data.preprocessor.to_json())
    assert again == data.preprocessor
    for raw in (pl.read_csv(tmp_path / "people.csv", try_parse_dates=True), as_frame(frame, again.raw_columns, "")):
        x = again.transform(raw)
        np.testing.assert_allclose(x[data.rows["train"]], data.table.x[data.rows["train"]], atol=1e-12)
        weight = np.random.default_rng(0).normal(size=again.width)
        np.testing.assert_allclose(again.logits(raw, weight, 0.3), x @ weight + 0.3, atol=1e-12)


def test_a_pandas_frame_of_objects_is_read_like_any_other(tmp_path: Path) -> None:
    frame = people()
    pre = table(tmp_path, written(tmp_path, frame)).preprocessor
    from logreg.runs.frames import as_frame

    objects = frame.astype(object).where(frame.notna(), None)
    expected = pre.transform(as_frame(frame, pre.raw_columns, ""))
    np.testing.assert_allclose(pre.transform(as_frame(objects, pre.raw_columns, "")), expected, atol=1e-12)


def test_coefficients_in_raw_units_give_the_same_logits(tmp_path: Path) -> None:
    frame = people()
    data = table(tmp_path, written(tmp_path, frame))
    weight = np.random.default_rng(0).normal(size=data.num_features)
    raw, intercept = data.preprocessor.raw_coefficients(weight, 0.3)
    by_name = dict(zip(data.preprocessor.features, raw, strict=True))

    row = frame.dropna().iloc[0]
    z = intercept + row.age * by_name["age", ""] + row.income * by_name["income", ""]
    z += by_name["city", row.city] + by_name["member", str(row.member).lower()]
    for part in ("year", "month", "day"):
        z += getattr(row.day, part) * by_name.get(("day", part), 0.0)
    z += row.day.isoweekday() * by_name["day", "weekday"]
    first = pl.from_pandas(frame.dropna().iloc[:1])
    assert data.preprocessor.logits(first, weight, 0.3)[0] == pytest.approx(z, abs=1e-9)


def test_unseen_levels_are_none_and_gaps_take_the_median(tmp_path: Path) -> None:
    data = table(tmp_path, written(tmp_path, people()))
    pre = data.preprocessor

    row = {"age": None, "income": 1.0, "city": "Atlantis", "member": True, "day": "2024-05-01"}
    x = dict(zip(pre.features, pre.transform(pl.DataFrame([row]))[0], strict=True))
    age = next(c for c in pre.numeric if c.feature == "age")
    assert x["age", ""] == pytest.approx((age.fill - age.mean) / age.scale)
    assert x["age", MISSING] == 1
    assert all(value == 0 for (column, _), value in x.items() if column == "city")
    with pytest.raises(UserError, match="city, day are missing"):
        pre.transform(pl.DataFrame([{"age": 1, "income": 2, "member": True}]))


def test_booleans_may_be_written_as_numbers_and_unseen_levels_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:

    from logreg.runs.tables import UnseenLevels

    pre = table(tmp_path, written(tmp_path, people())).preprocessor
    raw = pl.read_csv(tmp_path / "people.csv", try_parse_dates=True)
    as_numbers = raw.with_columns(pl.col("member").cast(pl.Int64))
    np.testing.assert_array_equal(pre.transform(as_numbers), pre.transform(raw))
    weight = np.random.default_rng(0).normal(size=pre.width)
    np.testing.assert_allclose(pre.logits(as_numbers, weight, 0.0), pre.logits(raw, weight, 0.0), atol=1e-12)
    levels = UnseenLevels(pre)
    levels.add(raw.with_columns(city=pl.lit("Atlantis")))
    levels.report("t.csv")
    assert "t.csv: 100 % of the values of column city are levels that training did not see" in caplog.text
    assert "member" not in caplog.text


def test_a_million_columns_of_a_sparse_table_cost_no_object_each(tmp_path: Path) -> None:
    lines = [f"{i % 2} {i + 1}:1 {999_000 + i}:2" for i in range(60)]
    (tmp_path / "t.svm").write_text("\n".join(lines))
    data = table_data(path=str(tmp_path / "t.svm"), cache_dir=str(tmp_path / "cache"))
    data.prepare_data()
    data.setup()
    again = type(data.preprocessor).from_json(data.preprocessor.to_json())
    assert again.width == data.num_features == 999_059
    assert again.feature(999_058) == ("column_999059", "")
    assert len(data.preprocessor.to_json()) < 300
