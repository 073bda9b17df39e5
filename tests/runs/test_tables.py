"""A table is predicted the same however it is written, whatever it was written in for training."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from logreg.core.options.tables import ReadOptions
from logreg.data.tables.reading.source import open_source
from logreg.models import SequentialRegression
from logreg.runs.load import Run
from logreg.runs.tables import predict_table
from logreg.training.classifier import BinaryClassifier
from tests.helpers import run_with, table_data

ROWS = 300
UTC = pl.col("when").dt.replace_time_zone("UTC")
TEXT = pl.col("flag").cast(pl.String)

# Ways to write the same table.
FORMS: dict[str, tuple[str, list[pl.Expr]]] = {
    "plain": ("csv", []),
    "True and False": ("csv", [TEXT.str.to_titlecase()]),
    "0 and 1": ("csv", [pl.col("flag").cast(pl.Int8)]),
    "whole numbers without a point": ("csv", [pl.col("grade").cast(pl.Int8)]),
    "times with a T and a Z": ("csv", [pl.col("when").dt.strftime("%Y-%m-%dT%H:%M:%SZ")]),
    "times with an offset": ("csv", [UTC.dt.convert_time_zone("Asia/Kolkata").dt.strftime("%Y-%m-%d %H:%M:%S%:z")]),
    "numbers with blanks": ("csv", [pl.format(" {} ", pl.col("x")).alias("x")]),
    "columns in another order": ("csv", [pl.col("x").alias("first")]),
    "parquet": ("parquet", []),
    "whole numbers": ("parquet", [pl.col("grade").cast(pl.Int8)]),
    "flags as numbers": ("parquet", [pl.col("flag").cast(pl.Float64)]),
    "flags as texts with points": ("parquet", [pl.col("flag").cast(pl.Float64).cast(pl.String)]),
    "flags as texts": ("parquet", [TEXT.str.to_uppercase()]),
    "times as texts": ("parquet", [pl.col("when").dt.strftime("%Y-%m-%dT%H:%M:%SZ")]),
    "times in UTC": ("parquet", [UTC]),
    "times in New York": ("parquet", [UTC.dt.convert_time_zone("America/New_York")]),
    "times in nanoseconds": ("parquet", [pl.col("when").cast(pl.Datetime("ns"))]),
    "numbers as texts": ("parquet", [pl.col("x").cast(pl.String)]),
    "categories": ("parquet", [TEXT.cast(pl.Categorical), pl.col("grade").cast(pl.String).cast(pl.Categorical)]),
}


def frame() -> pl.DataFrame:
    random = np.random.default_rng(0)
    start = datetime(2020, 1, 31, 22)
    hours = random.integers(0, 20_000, ROWS).tolist()
    return pl.DataFrame(
        {
            "flag": random.random(ROWS) < 0.5,
            "grade": random.integers(1, 4, ROWS).astype(float),
            "when": [start + timedelta(hours=hour) for hour in hours],
            "x": random.normal(size=ROWS),
            "sold": random.integers(0, 2, ROWS),
        }
    )


def written(form: str, folder: Path) -> Path:
    kind, changes = FORMS[form]
    path = folder / f"{form}.{kind}"
    changed = frame().with_columns(changes)
    changed = changed.select(sorted(changed.columns)) if "first" in changed.columns else changed
    changed.write_csv(path) if kind == "csv" else changed.write_parquet(path)
    return path


def trained_on(path: Path, folder: Path) -> Run:
    """A run with drawn coefficients and the preprocessing of a table."""
    data = table_data(path=str(path), target="sold", categorical=["grade"], cache_dir=str(folder / "cache"))
    data.prepare_data()
    data.setup()
    torch.manual_seed(0)
    network = SequentialRegression(data.preprocessor.width).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    model = BinaryClassifier(network)
    return run_with(model, data.preprocessor, folder)


def streamed(output: str) -> Callable[[Run, Path], Any]:
    def predict(run: Run, path: Path) -> Any:
        target = path.with_name(f"predictions.{output}")
        assert predict_table(run, open_source(str(path), ReadOptions(), "data.path"), str(target)) == ROWS
        predictions = pl.read_csv(target) if output == "csv" else pl.read_parquet(target)
        return predictions["probability"].to_numpy()

    return predict


def of_frame(change: Callable[[pl.DataFrame], Any]) -> Callable[[Run, Path], Any]:
    def predict(run: Run, path: Path) -> Any:
        read = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
        return np.asarray(run.predict_proba(change(read)))

    return predict


PATHS = {
    "to csv": streamed("csv"),
    "to parquet": streamed("parquet"),
    "polars": of_frame(lambda read: read),
    "pandas": of_frame(lambda read: read.to_pandas()),
}


@pytest.fixture(scope="module", params=["plain", "parquet", "times with an offset", "flags as texts"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path, np.ndarray]:
    """A run on a table in one form, the folder that has it in every form, and what is expected of each."""
    folder = tmp_path_factory.mktemp("forms")
    paths = {form: written(form, folder) for form in FORMS}
    run = trained_on(paths[request.param], folder)
    return run, folder, PATHS["polars"](run, paths[request.param])


@pytest.mark.parametrize("way", PATHS)
def test_a_table_is_predicted_the_same_however_it_is_written(trained: tuple[Run, Path, np.ndarray], way: str) -> None:
    run, folder, expected = trained
    levels = {column.feature: column.levels for column in run.preprocessor.columns if hasattr(column, "levels")}
    assert levels["grade"] == ["1", "2", "3"]
    assert np.ptp(expected) > 0.2
    for form, (kind, _) in FORMS.items():
        np.testing.assert_allclose(PATHS[way](run, folder / f"{form}.{kind}"), expected, atol=1e-9, err_msg=form)
