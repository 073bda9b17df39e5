"""Sweeps as a user starts them: jobs trained together leave what each would have left alone."""

from __future__ import annotations

import csv
import fcntl
import json
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from logreg import load_run
from logreg.records.record import read_history
from tests.cli.test_errors import check
from tests.commands import run_command, start_command

BASIC = ("hydra/launcher=basic", "hydra/sweeper=basic")
# What says when, how long and by which launcher.
OWN = {"started", "seconds", "git"}


def sweep(folder: Path, name: str, *arguments: str, status: int = 0) -> dict[int, Path]:
    """Run a sweep into a directory of this name; its job directories by number."""
    done = run_command("train.py", "-m", *arguments, f"hydra.sweep.dir={name}", cwd=folder)
    assert done.returncode == status, done.stderr
    return jobs_of(folder / name)


def jobs_of(directory: Path) -> dict[int, Path]:
    return {int(path.parent.name.partition("_")[0]): path.parent for path in sorted(directory.glob("*/run.json"))}


def assert_same_calibration(mine: dict | None, theirs: dict | None, tolerance: float) -> None:
    assert (mine is None) == (theirs is None)
    if mine is not None and theirs is not None:
        assert list(mine) == list(theirs)
        for key, value in mine.items():
            assert value == (theirs[key] if key == "method" else pytest.approx(theirs[key], rel=tolerance, abs=1e-6))


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_same_run(together: Path, alone: Path, tolerance: float = 1e-5) -> None:
    assert together.name == alone.name
    files = [
        sorted(p.name for p in folder.rglob("*") if not p.name.startswith("events")) for folder in (together, alone)
    ]
    assert files[0] == files[1]
    mine, theirs = (json.loads((folder / "run.json").read_text()) for folder in (together, alone))
    assert list(mine) == list(theirs)
    assert_same_certificate(mine["optimality"], theirs["optimality"], tolerance)
    assert_same_calibration(mine["calibration"], theirs["calibration"], tolerance)
    for key in mine.keys() - OWN - {"metrics", "optimality", "calibration"}:
        assert mine[key] == theirs[key], key
    assert list(mine["metrics"]) == list(theirs["metrics"])
    assert mine["metrics"] == pytest.approx(theirs["metrics"], rel=tolerance, abs=1e-6)
    for name in ("config.json", "preprocessing.json", ".hydra/config.yaml", ".hydra/overrides.yaml"):
        if (alone / name).exists():
            assert (together / name).read_text() == (alone / name).read_text(), name
    mine_rows, their_rows = read_history(together), read_history(alone)
    assert [list(row) for row in mine_rows] == [list(row) for row in their_rows]
    for a, b in zip(mine_rows, their_rows, strict=True):
        assert a == pytest.approx(b, rel=tolerance, abs=1e-7, nan_ok=True)
    their_scalars, mine_scalars = scalars(alone), scalars(together)
    assert mine_scalars.keys() == their_scalars.keys()
    for tag, values in mine_scalars.items():
        assert [step for step, _ in values] == [step for step, _ in their_scalars[tag]]
        np.testing.assert_allclose([v for _, v in values], [v for _, v in their_scalars[tag]], rtol=1e-4, atol=1e-6)


def assert_same_certificate(mine: dict, theirs: dict, tolerance: float) -> None:
    if theirs is not None:
        numbers = ("objective", "gradient_norm", "gap")
        assert {key: mine[key] for key in numbers} == pytest.approx(
            {key: theirs[key] for key in numbers}, rel=100 * tolerance, abs=1e-9
        )
        for key in ("method", "converged", "separation"):
            assert mine[key] == theirs[key]
    else:
        assert mine is None


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
    together = sweep(tmp_path, "together", *arguments, "figures=false", status=status)
    alone = sweep(tmp_path, "alone", *arguments, "figures=false", *BASIC, status=status)
    assert together.keys() == alone.keys()
    for number, directory in together.items():
        assert_same_run(directory, alone[number])


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep over two learning rates, one of which is not valid and one diverges, and four seeds."""
    folder = tmp_path_factory.mktemp("swept")
    done = run_command(
        "train.py", "-m", "data=breast_cancer", "lr=0.1,-1,1e38,0.3", "seed=range(4)", "epochs=5",
        "hydra.sweep.dir=sweep", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 1
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_only_the_winner_is_measured_on_test_rows(swept: Path, tmp_path: Path) -> None:
    records = {n: json.loads((path / "run.json").read_text()) for n, path in jobs_of(swept / "sweep").items()}
    tested = [n for n, record in records.items() if any(name.startswith("test/") for name in record["metrics"])]
    assert tested == [12, 13, 14, 15]  # the best learning rate, with all of its seeds
    mean = np.mean([records[n]["metrics"]["test/loss"] for n in tested])
    assert f"the winner on test rows, mean of its 4 repetitions: test/loss {mean:.6g}" in (swept / "stdout").read_text()
    arguments = ["data=breast_cancer", "lr=0.3", "seed=2", "epochs=5", "figures=false", "hydra.run.dir=alone"]
    done = run_command("train.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = json.loads((tmp_path / "alone" / "run.json").read_text())["metrics"]
    assert list(records[14]["metrics"]) == list(alone)
    assert records[14]["metrics"] == pytest.approx(alone, rel=1e-5)
    again = run_command("scripts/evaluate.py", f"run='{jobs_of(swept / 'sweep')[14]}'", cwd=swept)
    assert f"{len(alone)} metrics equal the recorded ones exactly" in again.stdout


@pytest.mark.slow
def test_other_launchers_keep_the_test_rows_for_the_winner_too(tmp_path: Path) -> None:
    arguments = ["data=breast_cancer", "lr=0.001,0.3", "epochs=3", "figures=false"]
    for name, further in (("basic", BASIC), ("by_test", ("monitor=test/loss", "callbacks=none"))):
        jobs = sweep(tmp_path, name, *arguments, *further)
        metrics = [json.loads((jobs[n] / "run.json").read_text())["metrics"] for n in (0, 1)]
        assert ["test/loss" in each for each in metrics] == [name == "by_test", True]


@pytest.mark.slow
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
    whole = run_command(
        "train.py",
        "data=breast_cancer",
        "lr=0.1",
        "seed=0",
        "epochs=8",
        "hydra.run.dir=whole",
        "figures=false",
        cwd=swept,
    )
    assert whole.returncode == 0, whole.stderr
    more, all_of_it = (json.loads((swept / name / "run.json").read_text()) for name in ("more", "whole"))
    assert more["metrics"] == pytest.approx(all_of_it["metrics"], rel=1e-5)


def test_a_dry_run_says_the_plan_and_trains_nothing(tmp_path: Path) -> None:
    done = run_command(
        "train.py", "-m", "optimizer=sgd,adam,torch_lbfgs", "lr=0.1,1", "vectorized.dry_run=true", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert "2 jobs from 0 on (optimizer=sgd): together, as they differ in lr alone" in lines
    assert "2 jobs from 4 on (optimizer=torch_lbfgs): each by itself, as LBFGS has no batched form" in lines
    assert "job 3: optimizer=adam lr=1" in lines
    assert not list(tmp_path.glob("outputs/sweeps/*/*"))


@pytest.mark.slow
def test_a_sweep_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    arguments = ["lr=0.1,1", "seed=1,2,3", "epochs=40", "figures=false"]
    jobs = sweep(tmp_path, "sweep", *arguments)
    kept = {number: (jobs[number] / "run.json").stat().st_mtime_ns for number in (0, 2, 3)}
    for number in (1, 4):
        record = json.loads((jobs[number] / "run.json").read_text())
        (jobs[number] / "run.json").write_text(json.dumps(record | {"status": "running"}))
    (jobs[5] / "run.json").unlink()
    done = run_command("train.py", "-m", *arguments, "sweep.resume=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 of 6 jobs are done already" in done.stderr
    again = jobs_of(tmp_path / "sweep")
    assert {n: p.name for n, p in again.items()} == {n: p.name for n, p in jobs.items()}
    assert {n: (again[n] / "run.json").stat().st_mtime_ns for n in kept} == kept
    assert all(json.loads((p / "run.json").read_text())["status"] == "completed" for p in again.values())
    whole = sweep(tmp_path, "whole", *arguments)
    for number, path in again.items():
        assert (path / "metrics.csv").read_text() == (whole[number] / "metrics.csv").read_text()
    other = run_command("train.py", "-m", "lr=0.1,2", *arguments[1:], "sweep.resume=sweep", cwd=tmp_path)
    check(other, ["sweep.resume: job 3 has lr=1 there, lr=2 here; give the command that the sweep was started with"])
    fewer = run_command("train.py", "-m", "lr=0.1", *arguments[1:], "sweep.resume=sweep", cwd=tmp_path)
    check(fewer, ["sweep.resume: the sweep there has a job 5, and this command ends with job 2"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    same = run_command("train.py", "-m", *arguments, "sweep.resume=../sweep", cwd=elsewhere)
    assert "6 of 6 jobs are done already" in same.stderr
    changed = run_command("train.py", "-m", *arguments, "penalty.l2=0.1", "sweep.resume=sweep", cwd=tmp_path)
    check(changed, ["sweep.resume: job 0 has penalty.l2=None there, penalty.l2=0.1 here"])
    with (tmp_path / "sweep" / "multirun.yaml").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        busy = run_command("train.py", "-m", *arguments, "sweep.resume=sweep", cwd=tmp_path)
    check(busy, ["sweep.resume=sweep: another command is at work there"])
    with_another = run_command("train.py", "-m", *arguments, "sweep.resume=sweep", "hydra/launcher=basic", cwd=tmp_path)
    check(with_another, ["sweep.resume: this is what hydra/launcher=vectorized does"])
    alone = run_command("train.py", "lr=0.1", "sweep.resume=sweep", cwd=tmp_path)
    check(alone, ["sweep.resume completes a sweep: add -m"])
    nothing = run_command("train.py", "-m", *arguments, "sweep.resume=nowhere", cwd=tmp_path)
    check(nothing, ["sweep.resume=nowhere: this is not the directory of a sweep"])


@pytest.mark.parametrize(
    ("arguments", "said"),
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
def test_a_sweep_that_cannot_be_is_refused_before_it_starts(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run_command("train.py", "-m", *arguments, cwd=tmp_path)
    check(done, [said])
    assert not list(tmp_path.glob("outputs/sweeps/*/*/*/run.json"))


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
    together = sweep(tmp_path, "together", *arguments)
    alone = sweep(tmp_path, "alone", *arguments, *BASIC)
    for number, directory in together.items():
        assert_same_run(directory, alone[number])
        logs = [(folder[number] / "train.log").read_text().splitlines() for folder in (together, alone)]
        mine, theirs = (
            [line.partition("]")[2] for line in log if "[logreg.data.tables.table]" in line] for log in logs
        )
        assert mine[0] == theirs[0]
        assert mine[0].startswith("[logreg.data.tables.table][INFO] y: 1 is 1 (")
    rows = list(csv.DictReader((tmp_path / "together" / "settings.csv").open()))
    assert [(row["penalty.l2"], row["n"]) for row in rows] == [("0.01", "4"), ("0.1", "4")]


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_search_draws_on_a_logarithmic_scale_and_trains_each_batch_together(tmp_path: Path) -> None:
    arguments = ["experiment=search/penalty", "data=breast_cancer", "optimizer=adam", "epochs=10"]
    trials = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=16", "hydra.sweeper.n_jobs=8"]
    jobs = sweep(tmp_path, "search", *arguments, *trials)
    assert len(jobs) == 16
    log = "\n".join((directory / "train.log").read_text() for directory in jobs.values())
    assert log.count("in a fused fit") == 16
    configs = [json.loads((directory / "config.json").read_text()) for directory in jobs.values()]
    for values in ([c["lr"] for c in configs], [c["penalty"]["l2"] for c in configs]):
        assert len(set(values)) == 16
        assert np.log10(max(values) / min(values)) > 1.5
    done = next(iter(csv.DictReader((tmp_path / "search" / "leaderboard.csv").open())))
    best = json.loads((tmp_path / "search" / done["directory"] / "run.json").read_text())
    again = run_command("train.py", *best["overrides"], "hydra.run.dir=again", cwd=tmp_path)  # as it is printed
    assert again.returncode == 0, again.stderr
    found = json.loads((tmp_path / "again" / "run.json").read_text())
    assert found["metrics"]["val/loss"] == pytest.approx(best["metrics"]["val/loss"], rel=1e-5)
    assert all(0.001 <= c["lr"] <= 1 and 1e-5 <= c["penalty"]["l2"] <= 1 for c in configs)


@pytest.mark.slow
def test_joblib_is_a_word_away(tmp_path: Path) -> None:
    arguments = ["lr=0.1,1", "epochs=50", "figures=false"]
    in_processes = sweep(tmp_path, "joblib", *arguments, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    together = sweep(tmp_path, "together", *arguments)
    for number, directory in together.items():
        assert_same_run(directory, in_processes[number])


def test_a_search_without_optuna_says_what_to_add(tmp_path: Path) -> None:
    done = run_command("train.py", "-m", "experiment=search/penalty", "data=breast_cancer", cwd=tmp_path)
    check(done, ["hydra.sweeper.n_trials", "add hydra/sweeper=optuna"])
    single = run_command("train.py", "experiment=search/penalty", "hydra/sweeper=optuna", cwd=tmp_path)
    check(single, ["hydra/sweeper=optuna searches in a sweep: add -m"])


@pytest.mark.slow
def test_a_search_for_more_looks_for_more(tmp_path: Path) -> None:
    arguments = ["experiment=search/penalty", "data=breast_cancer", "optimizer=adam", "epochs=3", "monitor=val/auroc"]
    trials = ["mode=max", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=6"]
    jobs = sweep(tmp_path, "search", *arguments, *trials)
    scores = [json.loads((path / "run.json").read_text())["metrics"]["val/auroc"] for path in jobs.values()]
    found = (tmp_path / "search" / "optimization_results.yaml").read_text()
    assert float(found.partition("best_value: ")[2].split()[0]) == pytest.approx(max(scores), rel=1e-9)


@pytest.mark.slow
def test_jobs_that_would_fail_alone_fail_and_the_others_complete(tmp_path: Path) -> None:
    for name, arguments, said in (
        ("threshold", ["threshold=0.5,max_f1"], "validation rows"),
        ("calibration", ["calibration=null,isotonic"], "calibration=isotonic is fitted on validation rows"),
        ("scheduler", ["scheduler=none,plateau"], "scheduler=plateau watches the validation loss"),
        ("class", ["optimizer._target_=torch.optim.sgd.SGD,torch.optim.sgdd.SGD"], "torch.optim.sgdd"),
    ):
        jobs = sweep(tmp_path, name, *arguments, "seed=1,2", "epochs=5", "figures=false", status=1)
        records = [json.loads((jobs[number] / "run.json").read_text()) for number in sorted(jobs)]
        assert [record["status"] for record in records] == ["completed"] * 2 + ["failed"] * 2
        assert all(said in record["error"] for record in records[2:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
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
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = run_command("train.py", "-m", *arguments, "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count(said) == done.stderr.count("error: ") == 1, done.stderr
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_of_a_sweep_in_batches_each_job_says_by_itself_what_is_wrong(tmp_path: Path) -> None:
    jobs = sweep(tmp_path, "sweep", "lr=-1,-2,0.1", "seed=1,2", "hydra.sweeper.max_batch_size=2", "epochs=5", status=1)
    statuses = [json.loads((jobs[number] / "run.json").read_text())["status"] for number in sorted(jobs)]
    assert statuses == ["failed"] * 4 + ["completed"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["seed=1,2", "epochs=5"], "training 2 jobs, 5 updates each"),
        (["penalty.l2=0.1,1", "optimizer=newton", "epochs=20"], "training 2 jobs, at most 20 updates each"),
    ],
)
def test_a_sweep_says_how_long_it_may_take(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run_command("train.py", "-m", *arguments, "figures=false", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert said in done.stderr.splitlines()


@pytest.mark.slow
def test_one_of_a_thing_is_no_plural(tmp_path: Path) -> None:
    done = run_command("train.py", "-m", "seed=1", "epochs=1", "figures=false", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert "completed after 1 update, " in done.stderr
    assert "1 job, best first" in done.stdout
    done = run_command("train.py", "-m", "lr=-1", "epochs=1", "hydra.sweep.dir=bad", cwd=tmp_path)
    assert "1 of 1 job did not complete" in done.stderr


@pytest.mark.slow
def test_a_sweep_without_checkpoints_ends_in_a_leaderboard(tmp_path: Path) -> None:
    jobs = sweep(tmp_path, "sweep", "callbacks=none", "seed=range(25)", "epochs=5")
    assert len(jobs) == 25
    assert not (jobs[0] / "checkpoints").exists()
    assert (tmp_path / "sweep" / "leaderboard.csv").is_file()


@pytest.mark.slow
def test_the_best_job_of_a_large_sweep_has_figures(tmp_path: Path) -> None:
    jobs = sweep(tmp_path, "sweep", "lr=0.1,1", "seed=1,2", "epochs=20", "vectorized.figures=2")
    drawn = [number for number, directory in jobs.items() if list(directory.glob("figures/*.png"))]
    best = next(iter(csv.DictReader((tmp_path / "sweep" / "leaderboard.csv").open())))
    assert drawn == [int(best["job"])]
