"""A cross-validated penalty is the one that scikit-learn's fits choose, and its refit is the fit of all rows."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression as ScikitLearn

from logreg.records.comparison import Setting
from logreg.records.jobs import rerun_command
from logreg.records.selection import choose
from logreg.runs.load import load_run
from tests.commands import run_command
from tests.helpers import breast_cancer

FOLDS = 3
GRID = ("penalty.l2", ["1e-05", "0.000316228", "0.01", "0.316228", "10"])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("path")
    overrides = ["data=breast_cancer", f"data.folds={FOLDS}", "path.smallest=1e-5", "path.largest=10", "path.points=5"]
    process = run_command("train.py", "experiment=path", *overrides, "hydra.sweep.dir=sweep", cwd=folder)
    assert process.returncode == 0, process.stderr
    return folder / "sweep", process.stdout


@pytest.mark.slow
def test_the_curve_and_the_choice_are_scikit_learns(sweep: tuple[Path, str]) -> None:
    directory, printed = sweep
    means = {}
    for penalty in GRID[1]:
        losses = []
        for fold in range(FOLDS):
            data = breast_cancer(folds=FOLDS, fold=fold)
            data.setup()
            x, y, train, val = data.source.x, data.source.y, data.rows["train"], data.rows["val"]
            mean, scale = x[train].mean(0), x[train].std(0)
            z = (x - mean) / scale
            oracle = ScikitLearn(C=1 / (len(train) * float(penalty)), solver="newton-cholesky", tol=1e-10, max_iter=500)
            logits = oracle.fit(z[train], y[train]).decision_function(z[val])  # their log_loss clips probabilities
            losses.append(np.mean(np.logaddexp(0, (1 - 2 * y[val]) * logits)))
        means[penalty] = float(np.mean(losses))
    choice = json.loads((directory / "path.json").read_text())
    assert choice["best"] == choice["penalty"] == {"penalty.l2": min(means, key=lambda p: means[p])}
    assert choice["best_mean"] == pytest.approx(min(means.values()), rel=1e-5)
    assert f"penalty.l2={choice['penalty']['penalty.l2']}" in printed
    rows = (directory / "settings.csv").read_text().splitlines()[1:]
    curve = {row.split(",")[1]: float(row.split(",")[4]) for row in rows}
    assert curve == {penalty: pytest.approx(mean, rel=1e-4) for penalty, mean in means.items()}


@pytest.mark.slow
def test_it_is_an_ordinary_sweep_and_its_refit_an_ordinary_run(sweep: tuple[Path, str]) -> None:
    directory, printed = sweep
    assert len((directory / "leaderboard.csv").read_text().splitlines()) == 1 + FOLDS * len(GRID[1])
    assert (directory / "figures" / "path.png").stat().st_size > 10_000
    refit = load_run(directory / "refit")
    assert refit.record["data"]["rows"] == {"train": 569, "val": 0, "test": 0}
    assert refit.record["optimality"]["converged"]
    assert "refitted on all rows" in printed
    data = breast_cancer(split={"train": 1.0})
    data.setup()
    x, y = data.source.x, data.source.y
    z, l2 = (x - x.mean(0)) / x.std(0), refit.config["penalty"]["l2"]
    oracle = ScikitLearn(C=1 / (len(y) * l2), solver="newton-cholesky", tol=1e-10, max_iter=500).fit(z, y)
    np.testing.assert_allclose(refit.predict_proba(x), oracle.predict_proba(z)[:, 1], rtol=1e-5, atol=1e-10)


@pytest.mark.slow
def test_a_path_over_l1_is_sagas(tmp_path: Path) -> None:
    overrides = ["data=breast_cancer", "data.folds=3", "path.smallest=0.01", "path.largest=0.3", "path.points=3"]
    process = run_command("train.py", "experiment=path_l1", *overrides, "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    means = {}
    for penalty in ("0.01", "0.0547723", "0.3"):
        losses = []
        for fold in range(3):
            data = breast_cancer(folds=3, fold=fold)
            data.setup()
            x, y, train, val = data.source.x, data.source.y, data.rows["train"], data.rows["val"]
            z = (x - x[train].mean(0)) / x[train].std(0)
            c = 1 / (len(train) * float(penalty))
            oracle = ScikitLearn(C=c, l1_ratio=1, solver="saga", tol=1e-9, max_iter=200_000).fit(z[train], y[train])
            losses.append(np.mean(np.logaddexp(0, (1 - 2 * y[val]) * oracle.decision_function(z[val]))))
        means[penalty] = float(np.mean(losses))
    choice = json.loads((tmp_path / "sweep" / "path.json").read_text())
    assert choice["penalty"] == {"penalty.l1": min(means, key=lambda p: means[p])}
    rows = (tmp_path / "sweep" / "settings.csv").read_text().splitlines()[1:]
    curve = {row.split(",")[1]: float(row.split(",")[4]) for row in rows}
    assert curve == {penalty: pytest.approx(mean, rel=1e-4) for penalty, mean in means.items()}
    refit = load_run(tmp_path / "sweep" / "refit")
    assert refit.config["penalty"] == {"l1": 0.01, "l2": 0.0, "firth": False}
    assert refit.record["optimality"]["converged"]
    assert (tmp_path / "sweep" / "figures" / "path.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["experiment=path", "data.folds=1"], "data.folds=1: "),
        (["experiment=path_l1", "data.fold=0"], "set data.fold themselves"),
        (["experiment=path", "path.smallest=1", "path.largest=0.1"], "path.smallest=1 is above path.largest=0.1"),
        (["experiment=path", "penalty=firth"], "penalty.l2: Firth's penalty stands alone"),
        (["experiment=path_l1", "optimizer=newton"], "optimizer=newton needs a smooth objective"),
        (["experiment=path", "monitor=val/none"], "monitor=val/none: there is no such metric"),
    ],
)
def test_a_sweep_that_is_no_path_is_refused_before_it_begins(tmp_path: Path, arguments: list[str], named: str) -> None:
    process = run_command("train.py", *arguments, "data=breast_cancer", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.count("error: ") == 1
    assert process.stderr.count(named) == 1
    assert not (tmp_path / "sweep").exists()


def test_a_job_of_a_path_is_run_alone_by_a_command_that_is_no_sweep() -> None:
    for name, mode in (("path", ["hydra.mode=RUN"]), ("path_l1", ["hydra.mode=RUN"]), ("search/penalty", [])):
        words = shlex.split(rerun_command([f"experiment={name}", "data.fold=1"]))
        assert words == ["python", "train.py", f"experiment={name}", "data.fold=1", *mode]


def setting(penalty: float, mean: float, deviation: float = 0.1, failed: int = 0) -> Setting:
    jobs = [None] * 25  # their number alone counts
    return Setting({"penalty.l2": str(penalty)}, jobs, failed, mean, deviation, 0, 0, 1, True)  # type: ignore[arg-type]


def test_one_standard_error_takes_the_largest_penalty_that_is_near() -> None:
    settings = [setting(0.1, 0.5), setting(0.01, 0.505), setting(1, 0.5199), setting(10, 0.5201)]  # 0.1 / 5 is near
    assert choose(settings, "val/loss", "best").penalty == {"penalty.l2": "0.1"}
    chosen = choose(settings, "val/loss", "one_standard_error")
    assert chosen.penalty == {"penalty.l2": "1"}
    assert chosen.best == {"penalty.l2": "0.1"}
    assert chosen.best_standard_error == pytest.approx(0.02)


def test_where_more_is_better_and_where_a_penalty_failed() -> None:
    settings = [setting(0.1, 0.9), setting(1, 0.89), setting(10, 0.87), setting(5, 0.895, failed=1)]
    assert choose(settings, "val/auroc", "one_standard_error", minimise=False).penalty == {"penalty.l2": "1"}


def test_a_single_repetition_has_no_standard_error() -> None:
    assert choose([setting(0.1, 0.5, math.nan)], "val/loss", "one_standard_error").penalty == {"penalty.l2": "0.1"}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("path.rule=cheapest", "path.rule=cheapest best one_standard_error"),
        ("path.points=0", "path.points=0 above 0"),
        ("path.smallest=-1", "path.smallest=-1 above 0"),
        ("data.folds=1", "data.folds=1 2 or more"),
        ("data.fold=0", "experiment=path data.fold"),
    ],
)
def test_what_is_refused(tmp_path: Path, override: str, words: str) -> None:
    process = run_command("train.py", "experiment=path", "data=breast_cancer", "path.points=2", override, cwd=tmp_path)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    for word in words.split():
        assert word in process.stderr
