"""Photos from folder to probability, by the real commands."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from logreg import load_run
from logreg.data import cache
from tests.commands import Command, run_command
from tests.helpers import shared_file, write_photos

RUN = ["data=images", "data.path=photos", "data.size=16", "data.positive=dogs", "model=linear_on_pixels", "epochs=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of cats and dogs, a run on them, and photos that it has not seen."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder / "photos" / "train", {"cats": 20, "dogs": 20})
    write_photos(folder / "photos" / "val", {"cats": 8, "dogs": 8}, seed=1)
    write_photos(folder / "new", {"cats": 5, "dogs": 7}, seed=2)
    process = run_command("train.py", *RUN, "hydra.run.dir=run", "baseline=true", cwd=folder)
    assert process.returncode == 0, process.stderr
    assert "1 is dogs (28 photos), 0 is cats (28 photos)" in process.stderr
    assert "accuracy on 16 validation rows" in process.stdout
    assert "linear, val" in process.stdout
    return folder


def photos_of(folder: Path) -> list[Path]:
    return sorted((folder / "new").rglob("*.jpg"))


def test_one_photo_is_a_sentence_and_a_folder_a_row_a_photo(trained: Path) -> None:
    run = load_run(trained / "run")
    files = photos_of(trained)
    expected = run.predict_proba(files)
    assert ((expected >= 0.5) == [path.parent.name == "dogs" for path in files]).all()
    name = str(files[0].relative_to(trained))
    process = run_command("scripts/predict.py", "run=run", f"data.path={name}", cwd=trained)
    assert process.returncode == 0, process.stderr
    assert process.stdout == (f"{name}: the probability of dogs is {expected[0]:.6f}, so at threshold 0.5 it is cats\n")
    process = run_command("scripts/predict.py", "run=run", "data.path=new", cwd=trained)
    rows = list(csv.DictReader(io.StringIO(process.stdout)))
    assert list(rows[0]) == ["path", "probability", "prediction"]
    assert [trained / row["path"] for row in rows] == files
    assert [float(row["probability"]) for row in rows] == pytest.approx(expected.tolist(), abs=1e-6)
    process = run_command("scripts/predict.py", "run=run", "data.path=new", "output=p.csv", cwd=trained)
    assert "predictions for 12 photos at threshold 0.5, 1 is dogs: p.csv" in process.stdout
    assert list(csv.DictReader((trained / "p.csv").open())) == rows


def test_a_run_is_measured_on_its_own_photos_and_on_new_ones(trained: Path) -> None:
    process = run_command("scripts/evaluate.py", "run=run", cwd=trained)
    assert "metrics equal the recorded ones exactly" in process.stdout, process.stdout + process.stderr
    process = run_command("scripts/evaluate.py", "run=run", "data.path=new", cwd=trained)
    assert process.returncode == 0, process.stderr
    assert "12 photos: 5 of cats (0), 7 of dogs (1)" in process.stdout
    result = json.loads((trained / "run" / "evaluation.json").read_text())
    labels = np.array([path.parent.name == "dogs" for path in photos_of(trained)])
    p = load_run(trained / "run").predict_proba(photos_of(trained))
    assert result["metrics"]["brier"] == pytest.approx(float(((p - labels) ** 2).mean()), abs=1e-6)
    assert result["intervals"]["accuracy"]


WRONG = [
    (["scripts/predict.py", "run=run", "data.path=none.jpg"], ["data.path=none.jpg", "no such file or folder"]),
    (["scripts/predict.py", "run=run", "data.path=bad", "data.skip_bad=no"], ["data.skip_bad=no", "true or false"]),
    (["scripts/predict.py", "run=run", "data.path=bad/cut.jpg"], ["bad/cut.jpg is truncated or damaged"]),
    (["scripts/predict.py", "run=run", "data.path=bad"], ["bad/cut.jpg", "data.skip_bad=true"]),
    (["scripts/predict.py", "run=run", "data.path=bad", "output=p.txt"], ["output=p.txt", ".csv or .parquet"]),
    (["scripts/predict.py", "run=run", "data.path=bad", "data.keep=[id]"], ["data.keep"]),
    (["scripts/predict.py", "run=run", "data.path=table.csv"], ["table.csv is no JPEG, PNG, WebP, BMP or GIF photo"]),
    (["scripts/evaluate.py", "run=run", "data.path=photos"], ["data.path=photos", "data.path=photos/val"]),
    (["scripts/evaluate.py", "run=run", "data.path=other"], ["a folder birds", "cats and dogs"]),
    (["scripts/evaluate.py", "run=run", "data.path=new", "data.target=x"], ["data.target=x"]),
    (["scripts/export.py", "run=run", "format=sklearn", "output=m.skops"], ["photos"]),
    (["train.py", *RUN, "data.size=0"], ["data.size=0", "from 1 to 4096"]),
    (["train.py", *RUN, "data.path=other"], ["two folders are needed", "birds (2 files)"]),
    (["train.py", *RUN, "optimizer=lbfgs"], ["data.augment", "data.augment=null"]),
    (["train.py", *RUN, "model=conv_by_hand", "model.num_outputs=10"], ["ConvByHand returned (8, 10) for 8 rows"]),
    (["train.py", "data=images"], ["data.path", "a folder of photos"]),
    (["train.py", "resume=run"], ["the checkpoint is of another model", "use the same model and data", "data=images"]),
]


@pytest.mark.parametrize(("arguments", "parts"), WRONG, ids=lambda value: " ".join(value)[:60])
def test_what_is_wrong_is_said_in_one_sentence(trained: Path, arguments: list[str], parts: list[str]) -> None:
    (trained / "bad").mkdir(exist_ok=True)
    photo = photos_of(trained)[0].read_bytes()
    (trained / "bad" / "cut.jpg").write_bytes(photo[: len(photo) // 2])
    (trained / "bad" / "whole.jpg").write_bytes(photo)
    (trained / "table.csv").write_text("a,b\n1,2\n")
    write_photos(trained / "other", {"birds": 2, "cats": 2, "dogs": 2})
    process = run_command(*arguments, cwd=trained)
    assert process.returncode == 1, process.stdout
    assert "Traceback" not in process.stderr
    errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, process.stderr
    for part in parts:
        assert part in errors[0]


def test_files_that_cannot_be_read_are_left_out_and_counted_if_so_asked(trained: Path) -> None:
    folder = trained / "some"
    write_photos(folder, {"cats": 3, "dogs": 3}, seed=3)
    (folder / "cats" / "notes.txt").write_text("no photo")
    for script in ("scripts/predict.py", "scripts/evaluate.py"):
        process = run_command(script, "run=run", "data.path=some", "data.skip_bad=true", cwd=trained)
        assert process.returncode == 0, process.stderr
        assert "1 file of 7 cannot be read and is left out: some/cats/notes.txt is no JPEG" in process.stderr
    assert json.loads((trained / "run" / "evaluation.json").read_text())["data"]["rows"] == 6


def test_a_run_on_a_table_takes_no_photos(command: Command, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{i % 7},{i % 2}\n" for i in range(40)))
    assert command("train.py", "data=table", "data.path=t.csv", "data.target=y", "hydra.run.dir=run").returncode == 0
    write_photos(tmp_path / "photos", {"cats": 2, "dogs": 2})
    process = command("scripts/predict.py", "run=run", "data.path=photos/cats/photo 0.jpg", "output=-")
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    process = command("scripts/predict.py", "run=run", "data.path=t.csv")
    assert process.stderr.startswith("error: output: give a file that ends in .csv or .parquet")


PREPARE = """
from pathlib import Path
from logreg.data.images.pixel_store import cached_photos
cached_photos(sorted(Path("photos").rglob("*.jpg")), 16, False, Path("c"))
"""
KILLED = """
import os, signal
import logreg.data.images.pixel_store as prepared
prepared._summed = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_interrupted_preparation_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Killed in the middle of decoding, the next command starts again and sweeps up."""
    write_photos(tmp_path / "photos", {"cats": 100, "dogs": 100})
    killed = subprocess.run([sys.executable, "-c", KILLED + PREPARE], cwd=tmp_path, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    (part,) = (tmp_path / "c").glob(".*.part")
    assert not [path for path in (tmp_path / "c").iterdir() if (path / cache.MANIFEST).exists()]
    process = subprocess.run([sys.executable, "-c", PREPARE], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert not part.exists()
    assert len([path for path in (tmp_path / "c").iterdir() if (path / cache.MANIFEST).exists()]) == 1


@pytest.mark.slow
def test_so_few_photos_as_of_ants_and_bees_go_the_whole_way(tmp_path: Path) -> None:
    """From folder to a prediction for one photo, with both forms of the network."""
    path = shared_file("hymenoptera_small")
    for model in ("conv_sequential", "conv_by_hand"):
        arguments = ["data=images", f"data.path={path}", f"model={model}", "epochs=2", f"hydra.run.dir={model}"]
        process = run_command("train.py", *arguments, cwd=tmp_path)
        assert process.returncode == 0, process.stderr
        assert "1 is bees (24 photos), 0 is ants (24 photos)" in process.stderr
        interval = json.loads((tmp_path / model / "run.json").read_text())["intervals"]["val/accuracy"]
        assert interval["high"] - interval["low"] > 0.3  # 16 photos say little
        photo = next(iter(sorted((path / "val" / "bees").iterdir())))
        assert Image.open(photo).mode == "RGB"
        process = run_command("scripts/predict.py", f"run={model}", f"data.path={photo}", cwd=tmp_path)
        assert "the probability of bees is 0." in process.stdout, process.stderr
