"""One table in many forms, and how tests read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from logreg.core.options.tables import ReadOptions
from logreg.data import TableData
from logreg.data.tables.reading.source import WrongKinds, open_source
from tests.helpers import table_data


def table(path: Path, **settings: Any) -> TableData:
    settings = {"target": "bought", "seed": 1, **settings}
    data = table_data(path=str(path), cache_dir=str(path.parent / "cache"), **settings)
    data.prepare_data()
    data.setup()
    return data


def read(path: Path, columns: list[str] | None = None, **options: Any) -> pl.DataFrame:
    """A file as the preparation sees it: read again where its beginning did not tell what is in it."""
    source = open_source(str(path), ReadOptions(**options), "data.path")
    for _ in range(3):
        try:
            return pl.concat(source.batches(columns or list(source.columns)))
        except WrongKinds as wrong:
            source = wrong.source
    raise AssertionError("the columns do not settle")


def content(data: TableData) -> tuple[str, dict[str, np.ndarray]]:
    """The preprocessing, and the features and labels of every split."""
    arrays = {}
    for split in ("train", "val", "test"):
        x, y = data.tensors(split)[:2]
        arrays |= {f"x {split}": x.numpy(), f"y {split}": y.numpy()}
    return data.table.preprocessing, arrays


def same(left: TableData, right: TableData) -> None:
    (preprocessing, arrays), (others_preprocessing, others) = content(left), content(right)
    assert preprocessing == others_preprocessing
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)


def people(rows: int = 120) -> pl.DataFrame:
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "height": random.normal(170, 10, rows),
            "children": random.integers(0, 4, rows),
            "city": random.choice(["Bonn", "Ulm", "Hof"], rows),
            "member": random.random(rows) < 0.5,
            "day": [pl.Series(["2024-01-05"]).str.to_date()[0]] * rows,
            "bought": random.choice(["no", "yes"], rows),
        }
    )
    gap = pl.Series(random.random(rows) < 0.1)
    return frame.with_columns(
        pl.when(~gap).then("height"),
        pl.when(~gap.reverse()).then("city"),
        pl.when(~gap.shift(3, fill_value=False)).then("children"),
        pl.col("day") + pl.duration(days=pl.Series(random.integers(0, 700, rows))),
    )


def csv(separator: str = ",", frame: pl.DataFrame | None = None, **settings: Any) -> str:
    return (people() if frame is None else frame).write_csv(separator=separator, **settings)


def column(path: Path, values: list[str], **options: Any) -> pl.Series:
    path.write_text("v,row\n" + "".join(f"{value},{i}\n" for i, value in enumerate(values)))
    return read(path, **options)["v"]


def dense(data: TableData) -> np.ndarray:
    return np.concatenate(
        [block.to_dense().numpy() for split in ("train", "val", "test") for block in [data.tensors(split)[0]]]
    )
