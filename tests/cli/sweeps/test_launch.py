"""Jobs that are trained together leave what each would have left alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.sweeps.jobs import BASIC, assert_same_run, sweep
from tests.commands import run_command

SWEEPS = [
    ["optimizer=sgd,adam", "lr=0.1,1", "seed=1,2", "epochs=60"],
    [
        "data=breast_cancer",
        "optimizer=adam",
        "lr=0.01,0.1",
        "seed=1,2",
        "epochs=4",
        "scheduler=cosine",
        "penalty.l2=0.01",
    ],
    ["data=breast_cancer", "lr=0.1,3", "epochs=12", "callbacks=early_stopping", "callbacks.early_stopping.patience=1"],
    ["data=breast_cancer", "lr=0.1,1e38", "epochs=3", "threshold=max_f1", "trainer.gradient_clip_val=null"],
    [
        "data=breast_cancer",
        "optimizer=adam",
        "epochs=4",
        "calibration=null,sigmoid,isotonic",
        "seed=1,2",
        "monitor=val/log_loss",
    ],
    [
        "data=breast_cancer",
        "optimizer=adam",
        "lr=0.01,0.1",
        "epochs=3",
        "trainer.precision=64-true",
        "model=module_class",
    ],
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", SWEEPS, ids=lambda arguments: arguments[0])
def test_jobs_trained_together_leave_what_each_leaves_alone(tmp_path: Path, arguments: list[str]) -> None:
    status = int("lr=0.1,1e38" in arguments)
    fused = sweep(tmp_path, "fused", *arguments, "figures=false", status=status)
    single = sweep(tmp_path, "alone", *arguments, "figures=false", *BASIC, status=status)
    assert fused.keys() == single.keys()
    for number, directory in fused.items():
        assert_same_run(directory, single[number])


@pytest.mark.slow
def test_folds_of_a_table_are_jobs_of_one_sweep(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(203, 3))
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=(x.sum(1) + random.normal(size=203) > 0).astype(int))
    frame.to_csv(tmp_path / "t.csv", index=False)
    arguments = [
        "data=table",
        "data.path=t.csv",
        "data.target=y",
        "data.folds=4",
        "data.fold=range(4)",
        "optimizer=adam",
    ]
    arguments += ["penalty.l2=0.01,0.1", "epochs=5", "figures=false"]
    fused = sweep(tmp_path, "together", *arguments)
    single = sweep(tmp_path, "alone", *arguments, *BASIC)
    for number, directory in fused.items():
        assert_same_run(directory, single[number])
        logs = [(folder[number] / "train.log").read_text().splitlines() for folder in (fused, single)]
        fused_log, single_log = (
            [line.partition("]")[2] for line in log if "[logreg.data.tables.table]" in line] for log in logs
        )
        assert fused_log[0] == single_log[0]
        assert fused_log[0].startswith("[logreg.data.tables.table][INFO] y: 1 is 1 (")
    rows = list(csv.DictReader((tmp_path / "together" / "settings.csv").open()))
    assert [(row["penalty.l2"], row["n"]) for row in rows] == [("0.01", "4"), ("0.1", "4")]


@pytest.mark.slow
def test_joblib_is_a_word_away(tmp_path: Path) -> None:
    arguments = ["lr=0.1,1", "epochs=50", "figures=false"]
    in_processes = sweep(tmp_path, "joblib", *arguments, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    fused = sweep(tmp_path, "together", *arguments)
    for number, directory in fused.items():
        assert_same_run(directory, in_processes[number])


def test_a_dry_run_says_the_plan_and_trains_nothing(tmp_path: Path) -> None:
    process = run_command(
        "train.py", "-m", "optimizer=sgd,adam,torch_lbfgs", "lr=0.1,1", "vectorized.dry_run=true", cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    lines = process.stderr.splitlines()
    assert "2 jobs from 0 on (optimizer=sgd): together, as they differ in lr alone" in lines
    assert "2 jobs from 4 on (optimizer=torch_lbfgs): each by itself, as LBFGS has no batched form" in lines
    assert "job 3: optimizer=adam lr=1" in lines
    assert not list(tmp_path.glob("outputs/sweeps/*/*"))


@pytest.mark.slow
def test_jobs_that_would_fail_alone_fail_and_the_others_complete(tmp_path: Path) -> None:
    for name, arguments, reason in (
        ("threshold", ["threshold=0.5,max_f1"], "validation rows"),
        ("calibration", ["calibration=null,isotonic"], "calibration=isotonic is fitted on validation rows"),
        ("scheduler", ["scheduler=none,plateau"], "scheduler=plateau watches the validation loss"),
        ("class", ["optimizer._target_=torch.optim.sgd.SGD,torch.optim.sgdd.SGD"], "torch.optim.sgdd"),
    ):
        jobs = sweep(tmp_path, name, *arguments, "seed=1,2", "epochs=5", "figures=false", status=1)
        records = [json.loads((jobs[number] / "run.json").read_text()) for number in sorted(jobs)]
        assert [record["status"] for record in records] == ["completed"] * 2 + ["failed"] * 2
        assert all(reason in record["error"] for record in records[2:])


def test_of_a_sweep_in_batches_each_job_says_by_itself_what_is_wrong(tmp_path: Path) -> None:
    jobs = sweep(tmp_path, "sweep", "lr=-1,-2,0.1", "seed=1,2", "hydra.sweeper.max_batch_size=2", "epochs=5", status=1)
    statuses = [json.loads((jobs[number] / "run.json").read_text())["status"] for number in sorted(jobs)]
    assert statuses == ["failed"] * 4 + ["completed"] * 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["seed=1,2", "epochs=5"], "training 2 jobs, 5 updates each"),
        (["penalty.l2=0.1,1", "optimizer=newton", "epochs=20"], "training 2 jobs, at most 20 updates each"),
    ],
)
def test_a_sweep_says_how_long_it_may_take(tmp_path: Path, arguments: list[str], reason: str) -> None:
    process = run_command("train.py", "-m", *arguments, "figures=false", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert reason in process.stderr.splitlines()
