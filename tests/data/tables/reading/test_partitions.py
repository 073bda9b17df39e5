"""Columns in the names of folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.tables.people import assert_alike, people, table, written


def test_folders_that_name_columns_are_read(tmp_path: Path) -> None:
    frame = people(300)
    years = np.repeat([2020, 2021, 2022], 100)
    for year in (2020, 2021, 2022):
        folder = tmp_path / "t" / f"year={year}" / "land=S%C3%BCd"
        folder.mkdir(parents=True)
        frame[years == year].to_parquet(folder / "part.parquet")
    data = table(tmp_path, str(tmp_path / "t"), features=["year", "age"])
    assert data.preprocessor.raw_columns == ["age", "year"]
    flat = table(tmp_path, written(tmp_path, frame.assign(year=years), "flat.parquet"), features=["year", "age"])
    assert_alike(data.preprocessor, flat.preprocessor)
    by_glob = table(tmp_path, str(tmp_path / "t" / "*" / "*" / "*.parquet"), features=["year", "age"])
    assert_alike(by_glob.preprocessor, flat.preprocessor)
    land = table(tmp_path, str(tmp_path / "t"), features=["land", "age"])
    assert "one value only" in land.preprocessor.left_out["land"]
