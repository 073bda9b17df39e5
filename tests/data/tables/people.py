"""A table of people, and how tests prepare it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from logreg.data import TableData
from logreg.data.tables.preparing.preprocessor import Preprocessor
from tests.helpers import table_data


def people(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Numbers with gaps, texts with rare levels and gaps, a boolean, a date, an id, a constant, and labels."""
    random = np.random.default_rng(seed)
    age = random.normal(40, 12, rows).round(1)
    city = random.choice(["Bonn", "Köln", "Ulm", "Hof"], rows, p=[0.5, 0.3, 0.18, 0.02])
    member = random.random(rows) < 0.4
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 700, rows), unit="D")
    z = (age - 40) / 12 + member - (city == "Ulm")
    label = np.where(random.random(rows) < 1 / (1 + np.exp(-z)), "yes", "no")
    frame = pd.DataFrame({"id": np.arange(rows) + 1000, "age": age, "income": random.lognormal(10, 1, rows).round(2)})
    frame = frame.assign(city=city, member=member, day=day, planet="earth", bought=label)
    frame.loc[random.random(rows) < 0.1, "age"] = np.nan
    frame.loc[random.random(rows) < 0.05, "city"] = None
    return frame


def written(folder: Path, frame: pd.DataFrame, name: str = "people.csv") -> str:
    path = folder / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    return str(path)


def table(folder: Path, path: str, **settings: Any) -> TableData:
    settings = {"target": "bought", "seed": 1, **settings}
    data = table_data(path=path, cache_dir=str(folder / "cache"), **settings)
    data.prepare_data()
    data.setup()
    return data


def assert_alike(ours: Preprocessor, theirs: Preprocessor) -> None:
    for a, b in zip(ours.columns, theirs.columns, strict=True):
        assert a.feature == b.feature
        if a.kind == "numeric":
            np.testing.assert_allclose(*[(c.mean, c.scale, c.fill, c.indicator) for c in (a, b)], rtol=1e-12)
        else:
            assert a == b
