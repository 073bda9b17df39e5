"""The whole way from a run directory to a file: written, loaded again, compared, and only then there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_array, random_array

from logreg.core.errors import UserError
from logreg.data.tables.preparing.columns import Numeric
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.models.convolutional import ConvByHand
from logreg.models.linear_on_pixels import LinearOnPixels
from logreg.runs.export import FORMATS, check_request, export_run
from logreg.runs.export.exporting import PHOTO_FORMATS, Export
from logreg.runs.load import Run
from tests.commands import Command
from tests.runs.export.runs import (
    DATES,
    ROWS,
    SIDE,
    Hidden,
    closed_form,
    directory_of,
    mixed,
    mixed_rows,
    moments,
    of_table,
    photo_run_of,
    photos,
    run_of,
    written,
)


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_dates_are_preprocessed_as_in_the_run(tmp_path: Path, format: str) -> None:
    column = moments()
    gaps = pl.Series([i % 7 == 0 for i in range(len(column))])
    frame = pl.DataFrame({"moment": column, "day": column.reverse().cast(pl.Date), "x": np.arange(len(column))})
    frame = frame.with_columns(pl.when(gaps).then(None).otherwise(pl.col(c)).alias(c) for c in ("moment", "day"))
    run = run_of(DATES)
    for parameter in run.model.parameters():
        parameter *= 0.01
    predict = written(run, format, tmp_path / "run", [frame])
    assert predict(frame) == pytest.approx(closed_form(run, frame), abs=1e-6)


@pytest.mark.parametrize("format", FORMATS)
def test_a_sparse_run(tmp_path: Path, format: str) -> None:
    pre = Preprocessor([Numeric(f"column_{i + 1}") for i in range(30)], sparse=True)
    run = run_of(pre)
    x = csr_array(random_array((40, 30), density=0.2, rng=np.random.default_rng(0)))
    predict = written(run, format, tmp_path / "run", [x])
    assert predict(x) == pytest.approx(run.predict_proba(x), abs=1e-6)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    mixed_rows().with_columns(pl.lit("yes").alias("sick")).write_csv(tmp_path / "table.csv")
    return tmp_path / "table.csv"


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_is_compared_on_all_rows_and_takes_its_name_at_last(tmp_path: Path, table: Path, format: str) -> None:
    for package in FORMATS[format].packages:
        pytest.importorskip(package)
    folder = directory_of(run_of(mixed()), tmp_path / "run", of_table(table))
    output = tmp_path / f"model.{format}"
    output.write_text("an older one")
    export = export_run(folder, format, output)
    assert export.rows == export.total == ROWS
    assert export.difference <= 1e-6
    assert export.size == output.stat().st_size
    assert f"{ROWS} rows" in str(export)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([output.name, "run", "table.csv"])


def test_the_lines_that_load_an_export_work(tmp_path: Path, table: Path) -> None:
    run = run_of(mixed())
    folder = directory_of(run, tmp_path / "run", of_table(table))
    snippet = export_run(folder, "torch", tmp_path / "model.pt2").snippet
    names: dict[str, Any] = {"x": torch.zeros(4, len(run.features), dtype=torch.float64)}
    exec(snippet, names)
    assert names["program"](names["x"]).shape == (4,)


def test_an_export_that_differs_is_not_left_behind(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = directory_of(run_of(mixed()), tmp_path / "run", of_table(table))
    pytest.importorskip("onnxruntime")
    output = tmp_path / "model.onnx"
    output.write_text("an older one")
    honest = Run.predict_proba
    for wrong in (lambda p: p + 2e-5, lambda p: p * np.nan, lambda p: p[:-1]):
        monkeypatch.setattr(Run, "predict_proba", lambda self, rows, wrong=wrong: wrong(honest(self, rows)))
        with pytest.raises(UserError, match=r"format=onnx: the probabilities of the export differ"):
            export_run(folder, "onnx", output)
        assert output.read_text() == "an older one"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "run", "table.csv"]


def test_a_table_that_is_gone_may_be_replaced_by_another(tmp_path: Path, table: Path) -> None:
    folder = directory_of(run_of(mixed()), tmp_path / "run", of_table(table))
    other = table.rename(tmp_path / "moved.csv")
    with pytest.raises(UserError, match=r"data\.path=.*table\.csv: there is no such file\. Give data\.path=<table>"):
        export_run(folder, "torch", tmp_path / "model.pt2")
    assert export_run(folder, "torch", tmp_path / "model.pt2", data_path=str(other)).rows == ROWS
    pl.read_csv(other).drop("town").write_csv(other)
    with pytest.raises(UserError, match=r"data\.path=.*moved\.csv: the columns town are missing"):
        export_run(folder, "torch", tmp_path / "model.pt2", data_path=str(other))


def test_a_network_that_is_not_linear_is_for_torch_only(tmp_path: Path, table: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = directory_of(run_of(mixed(), Hidden), tmp_path / "run", of_table(table))
    with pytest.raises(UserError, match=r"format=onnx: Hidden is not a linear model.*format=torch can"):
        export_run(folder, "onnx", tmp_path / "model.onnx", trusted=["tests"])
    export = export_run(folder, "torch", tmp_path / "model.pt2", trusted=["tests"])
    assert export.difference <= 1e-6


def test_an_export_says_on_what_it_was_compared() -> None:
    export = Export(Path("model.pt2"), "torch", 1234, 200, 1797, 1e-7, "import torch", "photo")
    assert "wrote model.pt2 (torch, 1.2 kB)" in str(export)
    assert "compared on 200 of 1,797 photos: probabilities differ by 1.0e-07 at most" in str(export)


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Photos of two classes in several sizes and file formats."""
    for label, brightness in (("cat", 60), ("dog", 190)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(8):
            image = photos(20 + 7 * (i // 2), 45 - 3 * (i // 2), 1, i)[0] // 4 + brightness - 30
            Image.fromarray(image).save(tmp_path / "photos" / label / f"{i}.{'png' if i % 2 else 'jpg'}")
    return tmp_path / "photos"


def run_on(photo_folder: Path, tmp_path: Path, network: Any = LinearOnPixels) -> Path:
    data = {"_target_": "logreg.data.images.folder.ImageFolderData", "path": str(photo_folder), "size": SIDE}
    return directory_of(photo_run_of(network), tmp_path / "run", data | {"cache_dir": str(tmp_path / "cache")})


@pytest.mark.parametrize("format", [pytest.param("onnx", marks=pytest.mark.slow), "torch"])
def test_a_run_on_a_folder_is_compared_on_its_photos(
    tmp_path: Path, photo_folder: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, output = run_on(photo_folder, tmp_path, ConvByHand), tmp_path / "model"
    export = export_run(run, format, output)
    assert (export.rows, export.total) == (16, 16)
    assert export.difference <= 1e-6
    assert "compared on 16 photos" in str(export)
    monkeypatch.chdir(photo_folder / "cat")
    Path("0.jpg").rename("photo.jpg")
    names: dict[str, Any] = {}
    exec(export.snippet, names)
    assert float(names["probability"][0]) == pytest.approx(
        Run.predict_proba(photo_run_of(ConvByHand), "photo.jpg")[0], abs=1e-6
    )


def test_an_export_of_photos_that_differs_is_not_left_behind(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_on(photo_folder, tmp_path)
    honest = Run.predict_proba
    monkeypatch.setattr(Run, "predict_proba", lambda self, rows: honest(self, rows) + 2e-5)
    with pytest.raises(UserError, match=r"format=torch: the probabilities of the export differ"):
        export_run(run, "torch", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("run", "format", "output", "named"),
    [
        (None, "onnx", "model", "run: "),
        ("run", None, "model", "format: one of sklearn, onnx, torch"),
        ("run", "onxx", "model", r"format=onxx: .*did you mean onnx"),
        ("run", "torch", None, "output: "),
        ("run", "torch", "", "output=: "),
        ("run", "torch", ".", r"output=\.: this is a folder"),
        ("run", "torch", "no/such/model", "output=no/such/model: there is no folder no/such"),
    ],
)
def test_a_request_that_is_refused_at_once(run: Any, format: Any, output: Any, named: str) -> None:
    with pytest.raises(UserError, match=named):
        check_request(run, format, output)


def test_packages_that_are_not_there_are_named_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_request("run", "torch", "model")
    with pytest.raises(
        UserError, match=r"format=onnx needs the packages onnx and onnxruntime: pip install .*\[export\]"
    ):
        check_request("run", "onnx", "model")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "run: "),
        (
            ["run=x", "format=onxx", "output=m"],
            "format=onxx: one of sklearn, onnx, torch is needed (did you mean onnx?)",
        ),
        (["run=x", "format=torch"], "output: "),
        (["run=x", "format=torch", "output=no/m"], "output=no/m: there is no folder no"),
        (["run=x", "format=torch", "output=m"], "x is not a run directory"),
        (["run=x", "formt=torch"], "formt: there is no such key (did you mean format?)"),
    ],
)
def test_the_command_refuses_in_a_sentence_and_without_torch(
    command: Command, arguments: list[str], named: str
) -> None:
    process = command("scripts/export.py", *arguments, without_torch=True)
    assert process.returncode == 1
    assert process.stderr.startswith("error: ")
    assert named in process.stderr
    assert len(process.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_command_says_what_it_wrote_and_how_to_load_it(command: Command, tmp_path: Path, table: Path) -> None:
    directory_of(run_of(mixed()), tmp_path / "run", of_table(table))
    process = command("scripts/export.py", "run=run", "format=torch", "output=model.pt2")
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert "wrote model.pt2" in process.stdout
    assert "torch.export.load('model.pt2')" in process.stdout
    assert len(process.stdout.strip().splitlines()) <= 7


def test_scikit_learn_holds_tables(tmp_path: Path, photo_folder: Path) -> None:
    with pytest.raises(UserError, match=r"format=sklearn: a scikit-learn pipeline holds tables.*format=onnx"):
        check_request(run_on(photo_folder, tmp_path), "sklearn", tmp_path / "model.skops")


def test_a_package_is_named_where_it_is_needed(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_on(photo_folder, tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else name)
    check_request("a table", "onnx", tmp_path / "model")
    check_request(run, "torch", tmp_path / "model")
    with pytest.raises(UserError, match=r"format=onnx of photos needs the packages onnx, onnxruntime and onnxscript:"):
        check_request(run, "onnx", tmp_path / "model")


@pytest.mark.slow
def test_the_command_says_what_it_wrote_and_nothing_else(command: Command, tmp_path: Path, photo_folder: Path) -> None:
    run_on(photo_folder, tmp_path)
    for format in PHOTO_FORMATS:
        process = command("scripts/export.py", "run=run", f"format={format}", f"output=model.{format}")
        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
        assert f"wrote model.{format}" in process.stdout
        assert len(process.stdout.strip().splitlines()) <= 7
