"""``calibration=`` as a user meets it: one probability for a row, whichever command gives it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss

from logreg import load_run
from logreg.core.errors import UserError
from logreg.records.record import read_history
from tests.commands import run_command
from tests.data.tables.people import people


def command(folder: Path, *arguments: str) -> str:
    process = run_command(*arguments, cwd=folder)
    assert process.returncode == 0, process.stderr
    return process.stdout


def record_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "run.json").read_text())


@pytest.fixture(scope="module", params=["sigmoid", "isotonic"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a calibrated run in float32 of a weighted table, and rows that it has never seen."""
    folder = tmp_path_factory.mktemp("calibrated")
    frame = people(1500).drop(columns=["planet", "day"])
    frame["weight"] = np.random.default_rng(0).integers(1, 4, len(frame))
    frame[:1000].to_csv(folder / "train.csv", index=False)
    frame[1000:].to_csv(folder / "new.csv", index=False)
    arguments = ["data=table", "data.path=train.csv", "data.target=bought", "data.weight=weight", "optimizer=adam"]
    split = ["data.split={train:0.5,val:0.3,test:0.2}", "epochs=5", "hydra.run.dir=run"]
    out = command(folder, "train.py", *arguments, *split, f"calibration={request.param}")
    assert re.search(f"calibration={request.param}, fitted on 30[0-9] validation rows", out)
    assert "W and b are those of the model, before calibration" in out
    return folder


def test_a_row_has_one_probability(trained: Path) -> None:
    new = pd.read_csv(trained / "new.csv")
    p = load_run(trained / "run").predict_proba(new)
    command(trained, "scripts/predict.py", "run=run", "data.path=new.csv", "output=p.csv")
    assert pd.read_csv(trained / "p.csv").probability.to_numpy() == pytest.approx(p, abs=1e-9)
    new.to_parquet(trained / "new.parquet")
    command(trained, "scripts/predict.py", "run=run", "data.path=new.parquet", "output=p.parquet")
    assert pd.read_parquet(trained / "p.parquet").probability.to_numpy() == pytest.approx(p, abs=1e-9)
    command(trained, "scripts/evaluate.py", "run=run", "data.path=new.csv")
    result = json.loads((trained / "run" / "evaluation.json").read_text())
    y, w = (new.bought == "yes").to_numpy().astype(int), new.weight.to_numpy()
    assert result["metrics"]["brier"] == pytest.approx(brier_score_loss(y, p, sample_weight=w), abs=1e-9)
    assert result["metrics"]["log_loss"] == pytest.approx(log_loss(y, p, sample_weight=w), abs=1e-9)
    low, high = result["intervals"]["brier"]
    assert low < result["metrics"]["brier"] < high
    assert result["calibration"] == record_of(trained / "run")["calibration"]["method"]
    assert sum(row["rows"] for row in result["reliability"]) == len(new)


@pytest.mark.parametrize("format", ["sklearn", "onnx", "torch"])
def test_an_export_has_it_too(trained: Path, format: str) -> None:
    for package in {"sklearn": ("skops",), "onnx": ("onnx", "onnxruntime"), "torch": ()}[format]:
        pytest.importorskip(package)
    out = command(trained, "scripts/export.py", "run=run", f"format={format}", f"output=export.{format}")
    assert "loaded again and compared on 1,000 rows" in out


def test_the_record_says_what_calibration_did(trained: Path) -> None:
    run = trained / "run"
    record = record_of(run)
    calibration, metrics = record["calibration"], record["metrics"]
    out = command(trained, "scripts/evaluate.py", "run=run")
    assert "metrics equal the recorded ones exactly" in out
    history = {name: value for row in read_history(run) for name, value in row.items()}
    best = min(row["val/loss"] for row in read_history(run) if "val/loss" in row)
    assert best <= history["val/loss"]
    # The loss stays that of the model as it was trained, so the checkpoint's value is found in the history.
    assert metrics["val/loss"] == pytest.approx(best, rel=1e-6)
    # BLAS may round the last bit of a product otherwise, where the same numbers lie elsewhere in memory.
    assert calibration["uncalibrated"]["val/log_loss"] == pytest.approx(metrics["val/loss"], rel=1e-12)
    assert metrics["val/log_loss"] != metrics["val/loss"]
    for split in ("val", "test"):
        parts = [metrics[f"{split}/brier_{part}"] for part in ("reliability", "uncertainty", "within_bins")]
        assert sum(parts) - metrics[f"{split}/brier_resolution"] == pytest.approx(metrics[f"{split}/brier"], abs=1e-9)
        assert set(calibration["uncalibrated"]) >= {
            f"{split}/{name}" for name in ("log_loss", "brier", "calibration_error")
        }
    assert (run / "figures" / "reliability.png").is_file()


def test_a_checkpoint_that_was_not_calibrated_is_refused(tmp_path: Path) -> None:
    arguments = ["data=breast_cancer", "optimizer=adam", "lr=0.5", "epochs=12", "figures=false", "calibration=sigmoid"]
    command(tmp_path, "train.py", *arguments, "hydra.run.dir=run")
    record = record_of(tmp_path / "run")
    assert record["evaluated"]["updates"] < record["updates"]
    assert load_run(tmp_path / "run").model.calibration is not None
    with pytest.raises(
        UserError, match=r"checkpoint=last: calibration=sigmoid was fitted to the other one; use checkpoint=best\."
    ):
        load_run(tmp_path / "run", "last")


def test_the_run_is_scikit_learns_calibration_of_its_own_model(tmp_path: Path) -> None:
    people(800).drop(columns=["planet", "day"]).to_csv(tmp_path / "train.csv", index=False)
    people(300).drop(columns=["planet", "day"]).to_csv(tmp_path / "val.csv", index=False)
    arguments = ["data=table", "data.path=train.csv", "data.val_path=val.csv", "data.target=bought"]
    split = "data.split={train:0.8,val:0,test:0.2}"
    for method in ("isotonic", "null"):
        command(tmp_path, "train.py", *arguments, split, f"calibration={method}", f"hydra.run.dir={method}_run")
    plain, run = load_run(tmp_path / "null_run"), load_run(tmp_path / "isotonic_run")
    frame = pd.read_csv(tmp_path / "val.csv")

    def logits(rows: pd.DataFrame) -> np.ndarray:
        p = plain.predict_proba(rows)
        return np.log(p / (1 - p))

    oracle = IsotonicRegression(out_of_bounds="clip").fit(logits(frame), (frame.bought == "yes").astype(float))
    new = people(500).drop(columns=["planet", "day"])
    assert run.predict_proba(new) == pytest.approx(oracle.predict(logits(new)), abs=1e-6)


def test_a_threshold_is_chosen_on_calibrated_probabilities(tmp_path: Path) -> None:
    arguments = ["data=breast_cancer", "optimizer=adam", "epochs=3", "figures=false", "threshold=max_youden"]
    command(tmp_path, "train.py", *arguments, "calibration=isotonic", "hydra.run.dir=run")
    record = record_of(tmp_path / "run")
    values = record["calibration"]["values"]
    # Half-way between two of the probabilities there are.
    assert min(values) < record["threshold"] < max(values)
    assert record["threshold"] not in values


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["calibration=other"], ["calibration=other", "sigmoid, isotonic or null"]),
        (["calibration=true"], ["calibration=true", "sigmoid, isotonic or null"]),
        (["calibration=sigmoid"], ["calibration=sigmoid", "validation rows", "data.split"]),
        (
            ["data=table", "data.path=t.csv", "data.target=y", "data.val_path=v.csv", "calibration=isotonic"],
            ["calibration=isotonic", "validation rows", "label 1"],
        ),
    ],
)
def test_what_cannot_be_calibrated_is_said_before_training(
    tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    rows = pd.DataFrame({"x": np.arange(40.0), "y": np.arange(40) % 2})
    rows.to_csv(tmp_path / "t.csv", index=False)
    rows[rows.y == 1].to_csv(tmp_path / "v.csv", index=False)
    split = ["data.split={train:0.8,val:0,test:0.2}"] if "data=table" in arguments else []
    process = run_command("train.py", *arguments, *split, "hydra.run.dir=run", cwd=tmp_path)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    *_, error = process.stderr.splitlines()
    assert error.startswith("error: ")
    assert all(text in error for text in parts)
    assert not (tmp_path / "run" / "checkpoints").exists()
