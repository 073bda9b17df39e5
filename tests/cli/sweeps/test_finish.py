"""A sweep ends in a leaderboard, its settings compared, and its winner measured on test rows."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from logreg import load_run
from tests.cli.sweeps.jobs import BASIC, jobs_of, sweep
from tests.commands import Command, record_of, run_command


@pytest.fixture(scope="module")
def toy_sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("sweep")
    arguments = ["-m", "lr=0.1,1,1e38,oops", "optimizer=sgd,adam", "accelerator=cpu", "epochs=50", "figures=false"]
    process = run_command("train.py", *arguments, "hydra.sweep.dir=sweep", cwd=folder)
    return process, folder / "sweep"


def test_a_sweep_records_every_job_and_goes_on_after_failures(toy_sweep: tuple) -> None:
    process, folder = toy_sweep
    records = {int(path.parent.name.split("_")[0]): json.loads(path.read_text()) for path in folder.glob("*/run.json")}
    statuses = [records[job]["status"] for job in range(8)]
    assert statuses[:5] == ["completed"] * 4 + ["diverged"]
    assert statuses[6:] == ["failed", "failed"]
    assert "lr=oops" in records[6]["error"]
    failed = sum(status != "completed" for status in statuses)
    assert process.returncode == 1
    assert f"{failed} of 8 jobs did not complete" in process.stderr
    assert "Traceback" not in process.stderr + process.stdout


def test_the_leaderboard_is_best_first_and_complete(toy_sweep: tuple) -> None:
    process, folder = toy_sweep
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
    assert command in process.stdout
    assert command in (folder / "leaderboard.md").read_text()


def test_the_rerun_command_gives_the_best_jobs_numbers(toy_sweep: tuple, command: Command, tmp_path: Path) -> None:
    process, folder = toy_sweep
    line = next(line.strip() for line in process.stdout.splitlines() if line.strip().startswith("python train.py"))
    single = command("train.py", *line.split()[2:], "hydra.run.dir=alone")
    assert single.returncode == 0, single.stderr
    best = min(folder.glob("*/run.json"), key=lambda path: json.loads(path.read_text())["metrics"].get("train/loss", 9))
    # To a tolerance: as one of many it was a column of a matrix product.
    assert record_of(tmp_path / "alone")["metrics"] == pytest.approx(json.loads(best.read_text())["metrics"], rel=1e-5)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep over two learning rates, one of which is not valid and one diverges, and four seeds."""
    folder = tmp_path_factory.mktemp("swept")
    process = run_command(
        "train.py", "-m", "data=breast_cancer", "lr=0.1,-1,1e38,0.3", "seed=range(4)", "epochs=5",
        "hydra.sweep.dir=sweep", cwd=folder,
    )  # fmt: skip
    assert process.returncode == 1
    (folder / "stdout").write_text(process.stdout)
    (folder / "stderr").write_text(process.stderr)
    return folder


def test_a_group_says_what_it_has_in_common(swept: Path) -> None:
    lines = (swept / "stderr").read_text().splitlines()
    assert "12 jobs from 0 on: together, as they differ in seed, data.seed, lr alone" in lines
    assert "4 jobs from 4 on (lr=-1): each by itself, as their settings are not valid" in lines


def test_a_job_that_fails_or_diverges_is_said_and_the_others_complete(swept: Path) -> None:
    records = {number: json.loads((path / "run.json").read_text()) for number, path in jobs_of(swept / "sweep").items()}
    statuses = {number: record["status"] for number, record in records.items()}
    expected = ["completed"] * 4 + ["failed"] * 4 + ["diverged"] * 4 + ["completed"] * 4
    assert statuses == dict(enumerate(expected))
    assert records[4]["error"] == "lr=-1: a number above 0, up to 3e38, is needed."
    assert "is not finite" in records[8]["error"]
    assert "8 of 16 jobs did not complete" in (swept / "stderr").read_text()


def test_no_bit_depends_on_the_jobs_that_fail(swept: Path, tmp_path: Path) -> None:
    good = sweep(tmp_path, "good", "data=breast_cancer", "lr=0.1,0.3", "seed=range(4)", "epochs=5")
    with_bad = jobs_of(swept / "sweep")
    for number, other in [*((n, n) for n in range(4)), *((n + 4, n + 12) for n in range(4))]:
        assert (good[number] / "metrics.csv").read_text() == (with_bad[other] / "metrics.csv").read_text()


def test_settings_are_compared_over_their_seeds(swept: Path) -> None:
    rows = list(csv.DictReader((swept / "sweep" / "settings.csv").open()))
    assert [(row["lr"], row["n"]) for row in rows] == [("0.3", "4"), ("0.1", "4")]
    board = list(csv.DictReader((swept / "sweep" / "leaderboard.csv").open()))
    losses = [float(row["val/loss"]) for row in board if row["lr"] == "0.3" and row["val/loss"]]
    assert float(rows[0]["mean"]) == pytest.approx(np.mean(losses), rel=1e-5)
    assert "best by val/loss: lr=0.3" in (swept / "stdout").read_text()
    assert list((swept / "sweep" / "figures").glob("val_loss_by_lr*.png"))


def test_the_leaderboard_has_the_statistics_of_each_jobs_setting(swept: Path) -> None:
    with (swept / "sweep" / "leaderboard.csv").open() as file:
        board = [row for row in csv.DictReader(file) if row["status"] == "completed"]
    for lr, verdict in (("0.3", "best"), ("0.1", "may be best")):
        rows = [row for row in board if row["lr"] == lr]
        losses = [float(row["val/loss"]) for row in rows]
        assert {row["setting"] for row in rows} == {{"best": "1"}.get(verdict, "2")}
        assert [float(row["mean"]) for row in rows] == pytest.approx([np.mean(losses)] * 4, rel=1e-12)
        assert [float(row["sd"]) for row in rows] == pytest.approx([np.std(losses, ddof=1)] * 4, rel=1e-12)
        assert all(float(row["low"]) < float(row["mean"]) < float(row["high"]) for row in rows)
    assert all(row["verdict"] == "best" for row in board if row["lr"] == "0.3")
    assert "| val/loss | 0.3 | 4 |" in (swept / "sweep" / "leaderboard.md").read_text()


def test_only_the_winner_is_measured_on_test_rows(swept: Path, tmp_path: Path) -> None:
    records = {n: json.loads((path / "run.json").read_text()) for n, path in jobs_of(swept / "sweep").items()}
    tested = [n for n, record in records.items() if any(name.startswith("test/") for name in record["metrics"])]
    assert tested == [12, 13, 14, 15]  # the best learning rate, with all of its seeds
    mean = np.mean([records[n]["metrics"]["test/loss"] for n in tested])
    assert f"the winner on test rows, mean of its 4 repetitions: test/loss {mean:.6g}" in (swept / "stdout").read_text()
    arguments = ["data=breast_cancer", "lr=0.3", "seed=2", "epochs=5", "figures=false", "hydra.run.dir=alone"]
    process = run_command("train.py", *arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    single = json.loads((tmp_path / "alone" / "run.json").read_text())["metrics"]
    assert list(records[14]["metrics"]) == list(single)
    assert records[14]["metrics"] == pytest.approx(single, rel=1e-5)
    again = run_command("scripts/evaluate.py", f"run='{jobs_of(swept / 'sweep')[14]}'", cwd=swept)
    assert f"{len(single)} metrics equal the recorded ones exactly" in again.stdout


def test_scripts_take_a_job_that_was_trained_with_others(swept: Path) -> None:
    directory = jobs_of(swept / "sweep")[0]
    run = load_run(directory)
    x = load_breast_cancer().data[:5]
    assert ((run.predict_proba(x) > 0) & (run.predict_proba(x) < 1)).all()
    evaluated = run_command("scripts/evaluate.py", f"run='{directory}'", cwd=swept)
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
    assert "equal the recorded ones exactly" in evaluated.stdout
    resumed = run_command(
        "train.py", "data=breast_cancer", "lr=0.1", "seed=0", "epochs=8", f"resume='{directory}'", "hydra.run.dir=more",
        "figures=false", cwd=swept,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    uncut = run_command(
        "train.py",
        "data=breast_cancer",
        "lr=0.1",
        "seed=0",
        "epochs=8",
        "hydra.run.dir=whole",
        "figures=false",
        cwd=swept,
    )
    assert uncut.returncode == 0, uncut.stderr
    more, at_once = (json.loads((swept / name / "run.json").read_text()) for name in ("more", "whole"))
    assert more["metrics"] == pytest.approx(at_once["metrics"], rel=1e-5)


def test_other_launchers_keep_the_test_rows_for_the_winner_too(tmp_path: Path) -> None:
    arguments = ["data=breast_cancer", "lr=0.001,0.3", "epochs=3", "figures=false"]
    for name, further in (("basic", BASIC), ("by_test", ("monitor=test/loss", "callbacks=none"))):
        jobs = sweep(tmp_path, name, *arguments, *further)
        metrics = [json.loads((jobs[n] / "run.json").read_text())["metrics"] for n in (0, 1)]
        assert ["test/loss" in each for each in metrics] == [name == "by_test", True]


def test_a_sweep_over_data_is_one_sweep_with_a_best_job_for_each_monitor(command: Command, tmp_path: Path) -> None:
    process = command("train.py", "-m", "data=toy,breast_cancer", "lr=0.1,-1", "epochs=2", "figures=false")
    assert process.returncode == 1
    assert "2 of 4 jobs did not complete" in process.stderr
    (folder,) = tmp_path.glob("outputs/sweeps/*/*")
    assert len(list(folder.glob("*/run.json"))) == 4
    with (folder / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["completed", "completed", "failed", "failed"]
    assert "best: job 0, train/loss" in process.stdout
    assert "best: job 2, val/loss" in process.stdout


def test_one_of_a_thing_is_no_plural(tmp_path: Path) -> None:
    process = run_command(
        "train.py", "-m", "seed=1", "epochs=1", "figures=false", "hydra.sweep.dir=sweep", cwd=tmp_path
    )
    assert "completed after 1 update, " in process.stderr
    assert "1 job, best first" in process.stdout
    process = run_command("train.py", "-m", "lr=-1", "epochs=1", "hydra.sweep.dir=bad", cwd=tmp_path)
    assert "1 of 1 job did not complete" in process.stderr


def test_a_sweep_without_checkpoints_ends_in_a_leaderboard(tmp_path: Path) -> None:
    jobs = sweep(tmp_path, "sweep", "callbacks=none", "seed=range(25)", "epochs=5")
    assert len(jobs) == 25
    assert not (jobs[0] / "checkpoints").exists()
    assert (tmp_path / "sweep" / "leaderboard.csv").is_file()


def test_the_best_job_of_a_large_sweep_has_figures(tmp_path: Path) -> None:
    jobs = sweep(tmp_path, "sweep", "lr=0.1,1", "seed=1,2", "epochs=20", "vectorized.figures=2")
    drawn = [number for number, directory in jobs.items() if list(directory.glob("figures/*.png"))]
    best = next(iter(csv.DictReader((tmp_path / "sweep" / "leaderboard.csv").open())))
    assert drawn == [int(best["job"])]
