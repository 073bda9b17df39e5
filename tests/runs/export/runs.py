"""Runs with drawn coefficients, the rows that they take, and what a training would have left of them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from logreg.cli.configuration import compose, plain
from logreg.data.images.preprocessor import ImagePreprocessor
from logreg.data.labels import Target
from logreg.data.tables.preparing.columns import DATE_PARTS, TIME_PARTS, Categorical, Numeric
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.evaluation.calibration import Calibration, IsotonicCalibration, SigmoidCalibration
from logreg.models import SequentialRegression
from logreg.optim.objective import coefficients_of
from logreg.records.record import CONFIG, PREPROCESSING, Evaluated, RunRecord
from logreg.runs.export.exporting import FORMATS, PHOTO_FORMATS
from logreg.runs.load import Run
from logreg.training.classifier import BinaryClassifier
from tests.helpers import run_with

ROWS = 200
DATES = Preprocessor(
    [
        Numeric("x", 1.0, 2.0),
        *(Numeric("day", 5.0, 3.0, 7.0, indicator=part == "year", part=part) for part in ("year", "weekday")),
        *(Numeric("moment", 5.0, 3.0, 7.0, part=part) for part in DATE_PARTS + TIME_PARTS),
    ]
)
SIDE = 16
PIXELS = ImagePreprocessor(SIDE, (0.3, 0.5, 0.6), (0.2, 0.25, 0.3), Target("", ("cat", "dog")))
ISOTONIC = IsotonicCalibration((-1.0, -0.3, -0.2999, 0.0, 0.2, 1.0), (0.0, 0.1, 0.4, 0.4, 0.7, 1.0))
SIGMOID = SigmoidCalibration(1.7, -0.4)


def mixed() -> Preprocessor:
    """Every kind of column but dates."""
    return Preprocessor(
        [
            Numeric("age", 40.5, 12.25, 38.0, indicator=True),
            Categorical("zip", ["1", "2", "30"], ["7", "8"], missing=True),
            Numeric("never_missing", -3.0, 0.5, 2.0),
            Categorical("flag", ["false", "true"], [], missing=True),
            Categorical("town", ["Bonn", "Köln", "None"], ["St. Ives", "Ulm"], missing=True),
            Categorical("size", ["L", "M"], ["XS"]),
            Categorical("dose", ["0.5", "1", "2.25"], []),
            Numeric("whole", 10.0, 4.0, 9.0, indicator=True),
        ],
        Target("sick", ("no", "yes")),
    )


def mixed_rows(rows: int = ROWS) -> pl.DataFrame:
    """Raw rows with known, rare, unseen and missing levels, and gaps in all numbers."""
    random = np.random.default_rng(0)

    def some(values: list[Any]) -> list[Any]:
        return [values[i] for i in random.integers(len(values), size=rows)]

    return pl.DataFrame(
        {
            "town": some(["Bonn", "Köln", "None", "St. Ives", "Ulm", "Atlantis", "", None]),
            "age": some([None, 20.25, 38.0, 77.5, -4.0]),
            "zip": some([1, 2, 30, 7, 8, 99, None]),
            "flag": some([True, False, None]),
            "size": some(["L", "M", "XS", "XXL", None]),
            "dose": some([0.5, 1.0, 2.25, 3.0, None]),
            "whole": some([1, 10, 19, None]),
            "never_missing": random.normal(size=rows),
        }
    )


def moments() -> pl.Series:
    """Moments from 1800 to 2200, the ends of Februaries and years, and moments before 1970, among them."""
    random = np.random.default_rng(0)
    times = [datetime(1800, 1, 1) + timedelta(microseconds=int(i)) for i in random.integers(0, 126 * 10**14, size=500)]
    times += [datetime(year, 2, 28) + timedelta(days=i) for year in (1800, 1900, 2000, 2023, 2024) for i in range(3)]
    times += [datetime(year, 12, 31, 23, 59, 59, 999999) for year in (1899, 1969, 1999, 2099)]
    return pl.Series("moment", times)


class Hidden(nn.Module):
    """A network that no linear format can hold."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).sigmoid()


def run_of(
    pre: Preprocessor, network: Callable[[int], nn.Module] = SequentialRegression, threshold: float = 0.5
) -> Run:
    """A run with drawn coefficients, as if it had been trained in float64."""
    torch.manual_seed(0)
    module = network(pre.width).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return run_with(BinaryClassifier(module, threshold=threshold), pre)


def closed_form(run: Run, frame: pl.DataFrame) -> np.ndarray:
    weight, bias = (parameter.reshape(-1).numpy() for parameter in coefficients_of(run.model.network))
    return 1 / (1 + np.exp(-(run.preprocessor.transform(frame) @ weight + bias)))


def photos(height: int, width: int, count: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def photo_run_of(
    network: Callable[[int], nn.Module], calibration: Calibration | None = None, threshold: float = 0.5
) -> Run:
    """A run on photos with drawn coefficients, as `load_run` would return it."""
    torch.manual_seed(0)
    model = BinaryClassifier(network(PIXELS.width), threshold=threshold)
    if calibration is not None:
        model.decide(model.threshold, calibration)
        model.double()
    return run_with(model, PIXELS)


def writer(run: Run, format: str) -> Any:
    """The module that writes a format; the test is skipped where its packages are not installed."""
    chosen = (PHOTO_FORMATS if isinstance(run.preprocessor, ImagePreprocessor) else FORMATS)[format]
    for package in chosen.packages:
        pytest.importorskip(package)
    return importlib.import_module(chosen.module)


def written(run: Run, format: str, path: Path, rows: Any = ()) -> Any:
    """The export's probabilities as a function of batches."""
    writer(run, format).write(run, rows, path)
    return writer(run, format).load(run, path)


def directory_of(run: Run, folder: Path, data: dict[str, Any]) -> Path:
    """What a training would have left of the run."""
    (folder / "checkpoints").mkdir(parents=True)
    RunRecord(status="completed", evaluated=Evaluated("last")).write(folder)
    model = {"_target_": f"{type(run.model.network).__module__}.{type(run.model.network).__name__}"}
    config = plain(compose("train", ())) | {"model": model, "metrics": {}, "data": data}
    (folder / CONFIG).write_text(json.dumps(config))
    (folder / PREPROCESSING).write_text(run.preprocessor.to_json())
    checkpoint = {"state_dict": run.model.state_dict(), "global_step": 1, "logreg": {}}
    torch.save(checkpoint, folder / "checkpoints" / "last.ckpt")
    return folder


def of_table(path: Path) -> dict[str, Any]:
    return {"_target_": "logreg.data.TableData", "path": str(path), "target": "sick", "categorical": ["zip", "dose"]}
