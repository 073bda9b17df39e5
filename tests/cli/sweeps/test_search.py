"""Searches with Optuna."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.sweeps.jobs import sweep
from tests.commands import assert_refused, run_command


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
    first = next(iter(csv.DictReader((tmp_path / "search" / "leaderboard.csv").open())))
    best = json.loads((tmp_path / "search" / first["directory"] / "run.json").read_text())
    again = run_command("train.py", *best["overrides"], "hydra.run.dir=again", cwd=tmp_path)  # as it is printed
    assert again.returncode == 0, again.stderr
    rerun = json.loads((tmp_path / "again" / "run.json").read_text())
    assert rerun["metrics"]["val/loss"] == pytest.approx(best["metrics"]["val/loss"], rel=1e-5)
    assert all(0.001 <= c["lr"] <= 1 and 1e-5 <= c["penalty"]["l2"] <= 1 for c in configs)


def test_a_search_for_more_looks_for_more(tmp_path: Path) -> None:
    arguments = ["experiment=search/penalty", "data=breast_cancer", "optimizer=adam", "epochs=3", "monitor=val/auroc"]
    trials = ["mode=max", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=6"]
    jobs = sweep(tmp_path, "search", *arguments, *trials)
    scores = [json.loads((path / "run.json").read_text())["metrics"]["val/auroc"] for path in jobs.values()]
    results = (tmp_path / "search" / "optimization_results.yaml").read_text()
    assert float(results.partition("best_value: ")[2].split()[0]) == pytest.approx(max(scores), rel=1e-9)


def test_a_search_without_optuna_says_what_to_add(tmp_path: Path) -> None:
    process = run_command("train.py", "-m", "experiment=search/penalty", "data=breast_cancer", cwd=tmp_path)
    assert_refused(process, ["hydra.sweeper.n_trials", "add hydra/sweeper=optuna"])
    single = run_command("train.py", "experiment=search/penalty", "hydra/sweeper=optuna", cwd=tmp_path)
    assert_refused(single, ["hydra/sweeper=optuna searches in a sweep: add -m"])
