"""``python train.py`` as a user starts it: real data, signals, directories, terminals."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import signal
import struct
import termios
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression as ScikitLearn
from sklearn.metrics import roc_auc_score

from logreg import load_run
from logreg.core.errors import UserError
from logreg.data import BreastCancerData
from logreg.optim.objective import linear_coefficients
from tests.commands import Command, record_of, run_command, signal_once_trained, start_command


def test_breast_cancer_with_lbfgs_is_scikit_learns_answer(command: Command, tmp_path: Path) -> None:
    process = command("train.py", "data=breast_cancer", "optimizer=lbfgs", "penalty.l2=0.01", "hydra.run.dir=run")
    assert process.returncode == 0, process.stderr
    for text in ("auroc", "learned W and b", "run directory: run", "tensorboard --logdir run"):
        assert text in process.stdout
    for name in ("roc", "precision_recall", "reliability"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").stat().st_size > 5000
    run = load_run(tmp_path / "run")
    data = BreastCancerData("bc", seed=1, split=run.config["data"]["split"])
    data.setup()
    data.serve(torch.float64)
    x, y = (part.numpy() for part in data.tensors("train"))
    oracle = ScikitLearn(C=1 / (len(y) * 0.01), tol=1e-12, solver="newton-cholesky").fit(x, y)
    weight, _ = linear_coefficients(run.model.network)
    np.testing.assert_allclose(weight.numpy().ravel(), oracle.coef_.ravel(), atol=1e-5)
    held_out = data.rows["test"]
    source = load_breast_cancer()
    p = run.predict_proba(source.data[held_out])
    np.testing.assert_allclose(p, oracle.predict_proba(data.tensors("test")[0].numpy())[:, 1], atol=1e-5)
    assert run.metrics["test/auroc"] == pytest.approx(roc_auc_score(source.target[held_out], p), abs=1e-6)

    again = command("scripts/evaluate.py", "run=run")
    assert again.returncode == 0, again.stderr
    assert "27 metrics equal the recorded ones exactly" in again.stdout
    record = record_of(tmp_path / "run")
    record["metrics"]["test/accuracy"] += 1e-9
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    again = command("scripts/evaluate.py", "run=run")
    assert again.returncode == 1
    assert "test/accuracy" in again.stderr
    with pytest.raises(UserError, match="30"):
        run.predict_proba([[1.0, 2.0]])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_cleanly_and_it_can_be_resumed(tmp_path: Path, number: int) -> None:
    arguments = ["epochs=2000000", "optimizer=adam", "figures=false", "hydra.run.dir=run"]
    signal_once_trained(tmp_path, arguments, "run/metrics.csv", number)
    record = record_of(tmp_path / "run")
    assert record["status"] == "interrupted"
    assert record["updates"] > 0
    epochs = record["epochs"] + 10
    rest = run_command(
        "train.py", f"epochs={epochs}", "optimizer=adam", "resume=run", "hydra.run.dir=rest", cwd=tmp_path
    )
    assert rest.returncode == 0, rest.stderr
    resumed = record_of(tmp_path / "rest")
    assert (resumed["status"], resumed["updates"]) == ("completed", epochs)


def test_a_metric_column_of_validation_and_test_rows(command: Command, tmp_path: Path) -> None:
    process = command(
        "train.py", "data=breast_cancer", "callbacks=early_stopping", "optimizer=adam", "epochs=40", "scheduler=cosine",
        "hydra.run.dir=run", "figures=false",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    record = record_of(tmp_path / "run")
    assert record["data"]["rows"] == {"train": 341, "val": 114, "test": 114}
    assert record["metrics"]["test/accuracy"] > 0.93
    assert not list((tmp_path / "run").glob("figures/*"))
    steps = [int(row["step"]) for row in csv.DictReader((tmp_path / "run" / "metrics.csv").open()) if row["val/auroc"]]
    assert steps[0] == 0
    assert steps == sorted(steps)


@pytest.mark.parametrize("directory", [[], ["hydra.run.dir=one"]])
def test_two_runs_of_one_instant_never_share_a_directory(tmp_path: Path, directory: list[str]) -> None:
    arguments = ["epochs=2", "figures=false", *directory]
    trainings = [start_command("train.py", *arguments, cwd=tmp_path) for _ in range(2)]
    statuses = sorted(training.wait(120) for training in trainings)
    runs = list(tmp_path.glob("**/run.json"))
    assert statuses == ([0, 1] if directory else [0, 0])
    assert len(runs) == (1 if directory else 2)
    assert all(json.loads(run.read_text())["status"] == "completed" for run in runs)


def test_a_progress_bar_on_a_terminal_and_none_in_a_pipe(tmp_path: Path) -> None:
    command = ["train.py", "epochs=300", "figures=false"]
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    training = start_command(*command, cwd=tmp_path, stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(reader, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    assert training.wait(60) == 0
    assert b"300/300" in shown
    assert b"loss=" in shown
    piped = run_command(*command, cwd=tmp_path)
    assert piped.returncode == 0
    assert "300/300" not in piped.stderr
