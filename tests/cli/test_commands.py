"""The commands as a user starts them: real data, evaluation, sweeps, interruption."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression as ScikitLearn
from sklearn.metrics import roc_auc_score

from logreg import load_run
from logreg.core.errors import UserError
from logreg.optim.objective import linear_coefficients
from tests.commands import Command, run_command, start_command


def record_of(directory: Path) -> dict:
    return json.loads((directory / "run.json").read_text())


@pytest.mark.slow
def test_breast_cancer_with_lbfgs_is_scikit_learns_answer(command: Command, tmp_path: Path) -> None:
    done = command("train.py", "data=breast_cancer", "optimizer=lbfgs", "penalty.l2=0.01", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    for text in ("auroc", "learned W and b", "run directory: run", "tensorboard --logdir run"):
        assert text in done.stdout
    for name in ("roc", "precision_recall", "reliability"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").stat().st_size > 5000
    run = load_run(tmp_path / "run")
    from logreg.data import BreastCancerData

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


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("sweep")
    arguments = ["-m", "lr=0.1,1,1e38,oops", "optimizer=sgd,adam", "accelerator=cpu", "epochs=50", "figures=false"]
    done = run_command("train.py", *arguments, "hydra.sweep.dir=sweep", cwd=folder)
    return done, folder / "sweep"


def test_a_sweep_records_every_job_and_goes_on_after_failures(sweep: tuple) -> None:
    done, folder = sweep
    records = {int(path.parent.name.split("_")[0]): json.loads(path.read_text()) for path in folder.glob("*/run.json")}
    statuses = [records[job]["status"] for job in range(8)]
    assert statuses[:5] == ["completed"] * 4 + ["diverged"]
    assert statuses[6:] == ["failed", "failed"]
    assert "lr=oops" in records[6]["error"]
    failed = sum(status != "completed" for status in statuses)
    assert done.returncode == 1
    assert f"{failed} of 8 jobs did not complete" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_the_leaderboard_is_best_first_and_complete(sweep: tuple) -> None:
    done, folder = sweep
    with (folder / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert {"job", "status", "lr", "optimizer", "train/loss", "train/accuracy", "seconds", "directory"} <= set(rows[0])
    finished = [row for row in rows if row["status"] == "completed"]
    assert rows[: len(finished)] == finished
    losses = [float(row["train/loss"]) for row in finished]
    assert losses == sorted(losses)
    for row in finished:
        record = record_of(folder / row["directory"])
        assert float(row["train/loss"]) == record["metrics"]["train/loss"]
        assert {f"lr={row['lr']}", f"optimizer={row['optimizer']}"} <= set(record["overrides"])
    best = rows[0]
    command = f"python train.py lr={best['lr']} optimizer={best['optimizer']} accelerator=cpu epochs=50 figures=False"
    assert command in done.stdout
    assert command in (folder / "leaderboard.md").read_text()


@pytest.mark.slow
def test_the_rerun_command_gives_the_best_jobs_numbers(sweep: tuple, command: Command, tmp_path: Path) -> None:
    done, folder = sweep
    line = next(line.strip() for line in done.stdout.splitlines() if line.strip().startswith("python train.py"))
    alone = command("train.py", *line.split()[2:], "hydra.run.dir=alone")
    assert alone.returncode == 0, alone.stderr
    best = min(folder.glob("*/run.json"), key=lambda path: json.loads(path.read_text())["metrics"].get("train/loss", 9))
    # To a tolerance: as one of many it was a column of a matrix product.
    assert record_of(tmp_path / "alone")["metrics"] == pytest.approx(json.loads(best.read_text())["metrics"], rel=1e-5)


def stopped(folder: Path, arguments: list[str], started: str, number: int) -> None:
    """Start a training, send it a signal once a history (a glob) has updates, and see it end cleanly."""
    training = start_command("train.py", *arguments, cwd=folder)
    try:
        deadline = time.monotonic() + 120
        while not any(len(path.read_text().splitlines()) > 2 for path in folder.glob(started)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        training.send_signal(number)
        status = training.wait(60)
    finally:
        training.kill()
    assert status == 130, training.stderr
    assert "Traceback" not in training.stdout + training.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_cleanly_and_it_can_be_resumed(tmp_path: Path, number: int) -> None:
    arguments = ["epochs=2000000", "optimizer=adam", "figures=false", "hydra.run.dir=run"]
    stopped(tmp_path, arguments, "run/metrics.csv", number)
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


@pytest.mark.slow
def test_a_metric_column_of_validation_and_test_rows(command: Command, tmp_path: Path) -> None:
    done = command(
        "train.py", "data=breast_cancer", "callbacks=early_stopping", "optimizer=adam", "epochs=40", "scheduler=cosine",
        "hydra.run.dir=run", "figures=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = record_of(tmp_path / "run")
    assert record["data"]["rows"] == {"train": 341, "val": 114, "test": 114}
    assert record["metrics"]["test/accuracy"] > 0.93
    assert not list((tmp_path / "run").glob("figures/*"))
    steps = [int(row["step"]) for row in csv.DictReader((tmp_path / "run" / "metrics.csv").open()) if row["val/auroc"]]
    assert steps[0] == 0
    assert steps == sorted(steps)


@pytest.mark.parametrize("directory", [[], ["hydra.run.dir=one"]])
@pytest.mark.slow
def test_two_runs_of_one_instant_never_share_a_directory(tmp_path: Path, directory: list[str]) -> None:
    arguments = ["epochs=2", "figures=false", *directory]
    trainings = [start_command("train.py", *arguments, cwd=tmp_path) for _ in range(2)]
    statuses = sorted(training.wait(120) for training in trainings)
    runs = list(tmp_path.glob("**/run.json"))
    assert statuses == ([0, 1] if directory else [0, 0])
    assert len(runs) == (1 if directory else 2)
    assert all(json.loads(run.read_text())["status"] == "completed" for run in runs)


@pytest.mark.slow
def test_a_progress_bar_on_a_terminal_and_none_in_a_pipe(tmp_path: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    command = ["train.py", "epochs=300", "figures=false"]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    training = start_command(*command, cwd=tmp_path, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
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


@pytest.mark.slow
def test_a_sweep_over_data_is_one_sweep_with_a_best_job_for_each_monitor(command: Command, tmp_path: Path) -> None:
    done = command("train.py", "-m", "data=toy,breast_cancer", "lr=0.1,-1", "epochs=2", "figures=false")
    assert done.returncode == 1
    assert "2 of 4 jobs did not complete" in done.stderr
    (folder,) = tmp_path.glob("outputs/sweeps/*/*")
    assert len(list(folder.glob("*/run.json"))) == 4
    with (folder / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["completed", "completed", "failed", "failed"]
    assert "best: job 0, train/loss" in done.stdout
    assert "best: job 2, val/loss" in done.stdout


@pytest.mark.slow
def test_ctrl_c_ends_a_sweep_and_leaves_a_leaderboard(tmp_path: Path) -> None:
    arguments = ["-m", "epochs=2000000", "seed=1,2,3", "figures=false", "hydra.sweep.dir=sweep", "hydra/launcher=basic"]
    stopped(tmp_path, arguments, "sweep/*/metrics.csv", signal.SIGINT)
    records = list(tmp_path.glob("sweep/*/run.json"))
    assert [json.loads(record.read_text())["status"] for record in records] == ["interrupted"]
    with (tmp_path / "sweep" / "leaderboard.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["interrupted"]
