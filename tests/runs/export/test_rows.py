"""What an export is compared on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from logreg import data
from logreg.core.errors import UserError
from logreg.data.tables.preparing.columns import Categorical, Numeric
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.models.linear_on_pixels import LinearOnPixels
from logreg.runs.export import rows as sampling
from logreg.runs.load import Run, load_run
from tests.helpers import write_photos
from tests.runs.export.runs import (
    SIDE,
    directory_of,
    of_table,
    photo_run_of,
    photos,
    run_of,
)


@pytest.mark.parametrize("name", ["ToyData", "BreastCancerData"])
def test_a_table_that_a_program_makes(tmp_path: Path, name: str) -> None:
    source = getattr(data, name)("name")
    source.setup()
    settings = {"_target_": f"logreg.data.{name}", "name": "name"}
    run = load_run(directory_of(run_of(source.preprocessor), tmp_path / "run", settings), "last")
    rows = sampling.rows_of(run)
    assert pl.concat(list(rows)).to_numpy() == pytest.approx(source.source.x)
    assert rows.count == rows.total == len(source.source.y)


def test_a_text_file_that_is_not_what_its_beginning_says(tmp_path: Path) -> None:
    count = 1500  # more than are looked at to find out what a column holds
    beginning = [str(i % 50) for i in range(count - 1)]
    frame = pl.DataFrame({"x": [*beginning, "0.5"], "level": [*beginning, "a text"], "y": ["1", "0"] * (count // 2)})
    frame.write_csv(tmp_path / "table.csv")
    pre = Preprocessor([Numeric("x", 25.0, 14.0), Categorical("level", ["0", "1"], ["a text"])])
    settings = {**of_table(tmp_path / "table.csv"), "target": "y", "categorical": ["level"]}
    run = load_run(directory_of(run_of(pre), tmp_path / "run", settings), "last")
    rows = sampling.rows_of(run)
    assert rows.count == rows.total == count
    x = np.concatenate([run.preprocessor.transform(batch) for batch in rows])
    assert x == pytest.approx(pre.transform(frame))


def test_a_large_table_is_compared_on_rows_from_all_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_ROWS", 100)
    frames = [pl.DataFrame({"i": range(first, first + 37)}) for first in range(0, 370, 37)]
    sample = sampling.sample_of_rows(lambda: iter(frames), 370, width=1)
    for _ in range(2):
        assert pl.concat(list(sample))["i"].to_list() == list(range(0, 370, 4))
    assert sample.count == 93


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", {"cat": 3, "dog": 3}, side=20)


def run_on(photo_folder: Path, tmp_path: Path) -> Run:
    settings = {"_target_": "logreg.data.images.folder.ImageFolderData", "path": str(photo_folder), "size": SIDE}
    settings["cache_dir"] = str(tmp_path / "cache")
    return load_run(directory_of(photo_run_of(LinearOnPixels), tmp_path / "run", settings), "last")


def test_digits_are_compared_on_some_of_them(tmp_path: Path) -> None:
    settings = {"_target_": "logreg.data.images.digits.DigitsData", "size": SIDE}
    run = load_run(directory_of(photo_run_of(LinearOnPixels), tmp_path / "run", settings), "last")
    sample = sampling.photos_of(run)
    assert (sample.count, sample.total) == (200, 1797)
    assert sum(len(batch) for batch in sample) == 200


def test_other_photos_may_be_compared_on(tmp_path: Path, photo_folder: Path) -> None:
    run = run_on(photo_folder, tmp_path)
    folder = photo_folder.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"there is no such folder\. Give data\.path=<photo or folder of photos>"):
        sampling.photos_of(run)
    assert sum(len(batch) for batch in sampling.photos_of(run, str(folder))) == 6
    assert sum(len(batch) for batch in sampling.photos_of(run, str(folder / "cat" / "photo 0.jpg"))) == 1
    (folder / "cat" / "notes.txt").write_text("no photo")
    with pytest.raises(UserError, match=r"^data\.path: .*notes\.txt is no JPEG.*\.$"):
        list(sampling.photos_of(run, str(folder)))
    with pytest.raises(UserError, match=r"data\.path=.*nowhere: there is no such file or folder"):
        sampling.photos_of(run, str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"data\.path=.*empty: there is no file"):
        sampling.photos_of(run, str(tmp_path / "empty"))


def test_a_photo_that_was_damaged_since(tmp_path: Path, photo_folder: Path) -> None:
    run = run_on(photo_folder, tmp_path)
    assert sum(len(batch) for batch in sampling.photos_of(run)) == 6  # and the cache is there
    photo = photo_folder / "dog" / "photo 1.jpg"
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(UserError, match=r"dog/photo 1\.jpg is (truncated|no).*Give data\.path="):
        list(sampling.photos_of(run))


def test_photos_are_spread_evenly_and_those_of_one_size_are_together() -> None:
    assert list(sampling.spread(95, 10)) == list(range(0, 95, 10))
    assert list(sampling.spread(10, 10)) == list(range(10))
    several = [*photos(5, 6, 11), *photos(6, 5, 1)]
    shapes = [batch.shape for batch in sampling.sample_of_photos(several, 12, "data.path")]
    assert shapes == [(8, 5, 6, 3), (3, 5, 6, 3), (1, 6, 5, 3)]
