"""What is wrong with a sweep is said once, before its first job."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import assert_refused, run_command


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["seed=range(0)"], "the sweep has no jobs"),
        (["lr=0.1,0.2,0.1"], "jobs 0 and 2 of the sweep are the same, lr=0.1"),
        (["lr=0.1,0.2,0.1", "hydra.sweeper.max_batch_size=1"], "jobs 0 and 2 of the sweep are the same, lr=0.1"),
        (["lrr=0.1,0.2"], "lrr: there is no such key (did you mean lr?)"),
        (["optimizer=sgd,adm"], "optimizer=adm: there is no such choice"),
        (["lr=0.1,0.2", "vectorized.memory=some"], "vectorized.memory=some: a number of bytes above 0, or null"),
        (["lr=0.1,0.2", "vectorized.figures=-1"], "vectorized.figures=-1: a whole number, 0 or more"),
        (["lr=0.1,0.2", "vectorized.dry_run=true,false"], "a setting of the whole sweep; give one value"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_it_starts(tmp_path: Path, arguments: list[str], reason: str) -> None:
    process = run_command("train.py", "-m", *arguments, cwd=tmp_path)
    assert_refused(process, [reason])
    assert not list(tmp_path.glob("outputs/sweeps/*/*/*/run.json"))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["seed=1,2", "threshold=max_f1"], "error: threshold=max_f1 is chosen on validation rows, and there are none"),
        (
            ["lr=0.1,1", "data=breast_cancer", "callbacks.checkpoints.monitor=val/f"],
            "error: monitor=val/f: there is no",
        ),
        (["seed=1,2", "data=table", "data.path=none.csv", "data.target=y"], "error: data.path=none.csv"),
        (["seed=1,2", "data=table"], "error: data.path: a table is needed"),
        (["optimizer=newton,lbfgs", "penalty.l2=0.1,1", "monitor=val/loss"], "error: monitor=val/loss: there are no"),
    ],
)
def test_what_is_wrong_with_all_jobs_is_said_once_before_the_first(
    tmp_path: Path, arguments: list[str], reason: str
) -> None:
    process = run_command("train.py", "-m", *arguments, "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.count(reason) == process.stderr.count("error: ") == 1, process.stderr
    assert not (tmp_path / "sweep").exists()
