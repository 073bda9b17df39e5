"""A sweep that was stopped leaves jobs that can be resumed, and is completed by ``sweep.resume``."""

from __future__ import annotations

import csv
import json
import signal
import time
from pathlib import Path

import pytest
from filelock import FileLock

from tests.cli.sweeps.jobs import jobs_of, sweep
from tests.commands import assert_refused, run_command, signal_once_trained, start_command


@pytest.mark.slow
def test_a_sweep_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    arguments = ["lr=0.1,1", "seed=1,2,3", "epochs=40", "figures=false"]
    jobs = sweep(tmp_path, "sweep", *arguments)
    modified = {number: (jobs[number] / "run.json").stat().st_mtime_ns for number in (0, 2, 3)}
    for number in (1, 4):
        record = json.loads((jobs[number] / "run.json").read_text())
        (jobs[number] / "run.json").write_text(json.dumps(record | {"status": "running"}))
    (jobs[5] / "run.json").unlink()
    process = run_command("train.py", "-m", *arguments, "sweep.resume=sweep", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "3 of 6 jobs are done already" in process.stderr
    again = jobs_of(tmp_path / "sweep")
    assert {n: p.name for n, p in again.items()} == {n: p.name for n, p in jobs.items()}
    assert {n: (again[n] / "run.json").stat().st_mtime_ns for n in modified} == modified
    assert all(json.loads((p / "run.json").read_text())["status"] == "completed" for p in again.values())
    uncut = sweep(tmp_path, "whole", *arguments)
    for number, path in again.items():
        assert (path / "metrics.csv").read_text() == (uncut[number] / "metrics.csv").read_text()
    other = run_command("train.py", "-m", "lr=0.1,2", *arguments[1:], "sweep.resume=sweep", cwd=tmp_path)
    assert_refused(
        other, ["sweep.resume: job 3 has lr=1 there, lr=2 here; give the command that the sweep was started with"]
    )
    fewer = run_command("train.py", "-m", "lr=0.1", *arguments[1:], "sweep.resume=sweep", cwd=tmp_path)
    assert_refused(fewer, ["sweep.resume: the sweep there has a job 5, and this command ends with job 2"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    same = run_command("train.py", "-m", *arguments, "sweep.resume=../sweep", cwd=elsewhere)
    assert "6 of 6 jobs are done already" in same.stderr
    changed = run_command("train.py", "-m", *arguments, "penalty.l2=0.1", "sweep.resume=sweep", cwd=tmp_path)
    assert_refused(changed, ["sweep.resume: job 0 has penalty.l2=None there, penalty.l2=0.1 here"])
    with FileLock(tmp_path / "sweep" / ".lock"):  # a process that was killed has not left one, as was seen above
        busy = run_command("train.py", "-m", *arguments, "sweep.resume=sweep", cwd=tmp_path)
    assert_refused(busy, ["sweep.resume=sweep: another command is at work there"])
    with_another = run_command("train.py", "-m", *arguments, "sweep.resume=sweep", "hydra/launcher=basic", cwd=tmp_path)
    assert_refused(with_another, ["sweep.resume: this is what hydra/launcher=vectorized does"])
    single = run_command("train.py", "lr=0.1", "sweep.resume=sweep", cwd=tmp_path)
    assert_refused(single, ["sweep.resume completes a sweep: add -m"])
    nothing = run_command("train.py", "-m", *arguments, "sweep.resume=nowhere", cwd=tmp_path)
    assert_refused(nothing, ["sweep.resume=nowhere: this is not the directory of a sweep"])


def test_ctrl_c_leaves_jobs_that_can_be_resumed(tmp_path: Path) -> None:
    arguments = ["-m", "epochs=2000000", "seed=1,2", "figures=false", "hydra.sweep.dir=sweep"]
    training = start_command("train.py", *arguments, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while "training 2 jobs" not in training.stderr:
        assert time.monotonic() < deadline, training.stderr
        time.sleep(0.05)
    time.sleep(1)  # a fused fit writes nothing while it goes on
    started = [json.loads((path / "run.json").read_text()) for path in jobs_of(tmp_path / "sweep").values()]
    assert [(record["status"], record["seed"]) for record in started] == [("running", 1), ("running", 2)]
    assert all((path / ".hydra" / "config.yaml").is_file() for path in jobs_of(tmp_path / "sweep").values())
    training.send_signal(signal.SIGINT)
    assert training.wait(60) == 130, training.stderr
    assert "Traceback" not in training.stdout + training.stderr
    assert "cut off; the same command with sweep.resume=sweep goes on from here" in training.stderr
    jobs = jobs_of(tmp_path / "sweep")
    assert len(jobs) == 2
    record = json.loads((jobs[0] / "run.json").read_text())
    assert record["status"] == "interrupted"
    epochs = record["updates"] + 10
    rest = run_command(
        "train.py", f"epochs={epochs}", f"resume='{jobs[0]}'", "hydra.run.dir=rest", "figures=false", cwd=tmp_path
    )
    assert rest.returncode == 0, rest.stderr


def test_ctrl_c_ends_a_sweep_and_leaves_a_leaderboard(tmp_path: Path) -> None:
    arguments = ["-m", "epochs=2000000", "seed=1,2,3", "figures=false", "hydra.sweep.dir=sweep", "hydra/launcher=basic"]
    signal_once_trained(tmp_path, arguments, "sweep/*/metrics.csv", signal.SIGINT)
    records = list(tmp_path.glob("sweep/*/run.json"))
    assert [json.loads(record.read_text())["status"] for record in records] == ["interrupted"]
    with (tmp_path / "sweep" / "leaderboard.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["interrupted"]
