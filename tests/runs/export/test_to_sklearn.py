"""An exported scikit-learn pipeline is the closed form on `Preprocessor.transform`, whatever a pandas frame holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from logreg.core.errors import UserError
from tests.runs.export.runs import (
    DATES,
    ROWS,
    closed_form,
    mixed,
    mixed_rows,
    run_of,
    written,
)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    skops = pytest.importorskip("skops.io")
    path = tmp_path_factory.mktemp("export") / "run.skops"
    written(run_of(mixed()), "sklearn", path)
    return skops.load(path, trusted=[])


def as_pandas(frame: pl.DataFrame) -> Any:
    return frame.to_pandas()


def as_objects(frame: pl.DataFrame) -> Any:
    pd = pytest.importorskip("pandas")
    return pd.DataFrame({name: pd.Series(frame[name].to_list(), dtype=object) for name in frame.columns})


def nullable(frame: pl.DataFrame) -> Any:
    pd = pytest.importorskip("pandas")
    pandas_frame = as_objects(frame)
    types = {"age": "Float64", "zip": "Int64", "dose": "Float64", "whole": "Int64", "never_missing": "Float64"}
    for name, dtype in types.items():
        pandas_frame[name] = pd.array([None if v is None else v for v in pandas_frame[name]], dtype=dtype)
    return pandas_frame.astype({"town": "str", "size": "str"})


def texts(frame: pl.DataFrame) -> Any:
    return as_pandas(frame.with_columns(pl.col("zip", "flag").cast(pl.String)))


def texts_with_points(frame: pl.DataFrame) -> Any:
    """Whole numbers as a file of floats writes them."""
    return texts(frame.with_columns(pl.col("zip").cast(pl.Float64)))


def texts_with_capitals(frame: pl.DataFrame) -> Any:
    return as_pandas(frame.with_columns(pl.col("flag").cast(pl.String).str.to_uppercase()))


def categories(frame: pl.DataFrame) -> Any:
    return as_pandas(frame).astype({"town": "category", "zip": "category", "flag": "category"})


def shuffled_with_others(frame: pl.DataFrame) -> Any:
    pandas_frame = as_pandas(frame)
    pandas_frame["other"] = "nothing to see here"
    return pandas_frame[sorted(pandas_frame.columns, reverse=True)]


@pytest.mark.parametrize(
    "form",
    [as_pandas, as_objects, nullable, texts, texts_with_points, texts_with_capitals, categories, shuffled_with_others],
)
def test_a_pandas_frame_is_preprocessed_as_in_the_run(pipeline: Any, form: Callable[[pl.DataFrame], Any]) -> None:
    frame = mixed_rows()
    p = pipeline.predict_proba(form(frame))
    assert p[:, 1] == pytest.approx(closed_form(run_of(mixed()), frame), abs=1e-12)


def test_a_frame_of_one_row_is_preprocessed_as_in_the_run(pipeline: Any) -> None:
    frame = mixed_rows()
    expected = closed_form(run_of(mixed()), frame)
    for form in (as_pandas, as_objects, nullable):
        pandas_frame = form(frame)
        for i in range(0, ROWS, 25):  # a column of nothing but NaN is of another dtype than one of texts
            assert pipeline.predict_proba(pandas_frame[i : i + 1])[0, 1] == pytest.approx(expected[i], abs=1e-12)


def test_booleans_without_gaps(pipeline: Any) -> None:
    frame = mixed_rows().filter(pl.col("flag").is_not_null())
    pandas_frame = as_pandas(frame)
    assert pandas_frame["flag"].dtype == bool
    expected = closed_form(run_of(mixed()), frame)
    assert pipeline.predict_proba(pandas_frame)[:, 1] == pytest.approx(expected, abs=1e-12)
    assert pipeline.predict_proba(pandas_frame.astype({"flag": "boolean"}))[:, 1] == pytest.approx(expected, abs=1e-12)


def test_float32_columns_cost_no_more_than_their_own_digits(pipeline: Any) -> None:
    frame = mixed_rows().with_columns(pl.col("age", "whole", "never_missing").cast(pl.Float32))
    expected = closed_form(run_of(mixed()), frame)
    assert pipeline.predict_proba(as_pandas(frame))[:, 1] == pytest.approx(expected, abs=1e-12)


def test_a_gap_that_scikit_learn_cannot_see_is_no_level_but_an_error(pipeline: Any) -> None:
    frame = mixed_rows()
    with pytest.raises(TypeError, match="NA"):
        pipeline.predict_proba(as_pandas(frame).astype({"town": "string"}))
    # Where the run has no feature for missing values, it is as good as unseen.
    p = pipeline.predict_proba(as_pandas(frame).astype({"size": "string"}))
    assert p[:, 1] == pytest.approx(closed_form(run_of(mixed()), frame), abs=1e-12)


def test_the_pipeline_is_a_fitted_classifier_of_0_and_1(pipeline: Any) -> None:
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(pipeline)
    assert pipeline.classes_.tolist() == [0, 1]
    frame = mixed_rows()
    expected = (closed_form(run_of(mixed()), frame) >= 0.5).astype(int)
    assert pipeline.predict(as_pandas(frame)).tolist() == expected.tolist()
    assert len(pipeline[:-1].get_feature_names_out()) == pipeline[-1].coef_.shape[1]


def test_the_pipeline_predicts_by_the_runs_threshold(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    run, frame = run_of(mixed(), threshold=0.8), mixed_rows()
    written(run, "sklearn", tmp_path / "run.skops")
    pipeline = skops.load(tmp_path / "run.skops", trusted=[])
    expected = closed_form(run, frame)
    assert pipeline.predict(as_pandas(frame)).tolist() == (expected >= 0.8).astype(int).tolist()
    assert pipeline.predict_proba(as_pandas(frame))[:, 1] == pytest.approx(expected, abs=1e-12)


def test_dates_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"format=sklearn: .* the dates in day, moment"):
        written(run_of(DATES), "sklearn", tmp_path / "run.skops")
