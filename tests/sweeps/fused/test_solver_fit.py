"""Jobs of a solver, solved together, end where each ends alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from logreg.evaluation.metrics import default_metrics
from logreg.models import SequentialRegression
from logreg.optim.newton import Newton
from logreg.optim.proximal_newton import ProximalNewton
from logreg.runs.load import load_run
from logreg.sweeps.fused.fit import FusedJob, GroupSettings
from logreg.sweeps.fused.results import measure
from logreg.sweeps.fused.solver_fit import SolverFit
from tests.commands import run_command
from tests.helpers import breast_cancer, fit
from tests.sweeps.fused.test_fit import drawn

PENALTIES = (1e-4, 1e-2, 1.0)


def solved(tables: list[Any], epochs: int = 50, dtype: torch.dtype = torch.float64) -> SolverFit:
    jobs = []
    for data in tables:
        data.setup()
        network = drawn(SequentialRegression, data.num_features)
        jobs += [FusedJob(network, {"lr": 1.0}, None, 0.0, l2, epochs, 0.4) for l2 in PENALTIES]
    settings = GroupSettings(Newton, None, default_metrics(), "val/loss", "min", log_every=1, dtype=dtype)
    solver_fit = SolverFit(tables, jobs, settings)
    solver_fit.run()
    return solver_fit


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_coefficients_metrics_and_certificate_are_those_of_a_run_alone(tmp_path: Path, class_weight: Any) -> None:
    def table(seed: int) -> Any:
        data = breast_cancer(seed=seed, batch_size=None)
        data.weigh_labels(class_weight)
        return data

    solver_fit = solved([table(1), table(2)])
    results = measure(solver_fit, [None] * len(solver_fit.jobs))
    assert solver_fit.status == ["completed"] * 6
    for job, (seed, l2) in enumerate([(seed, l2) for seed in (1, 2) for l2 in PENALTIES]):
        every = {"precision": "64-true", "check_val_every_n_epoch": 50}
        record, classifier, _ = fit(tmp_path / str(job), table(seed), 50, Newton, l2=l2, **every)
        state = solver_fit.networks.state_dict_of(job, results.parameters)
        for name, value in classifier.network.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-8)
        for name in ("train/loss", "val/loss", "val/auroc", "test/loss"):
            assert results.records[job].metrics[name] == pytest.approx(record.metrics[name], rel=1e-6)
        optimality = results.records[job].optimality
        assert optimality is not None
        assert optimality.relative_gap is not None
        assert optimality.relative_gap < 1e-12


def test_l1_penalties_of_a_table_are_solved_from_the_largest_to_the_smallest(tmp_path: Path) -> None:
    tables = [breast_cancer(seed=seed, batch_size=None) for seed in (1, 2)]
    pairs = [(0.01, 0.0), (0.2, 0.0), (0.003, 0.01), (0.0, 0.01)]
    jobs = []
    for data in tables:
        data.setup()
        jobs += [FusedJob(drawn(SequentialRegression, 30), {"lr": 1.0}, None, l1, l2, 50, 0.5) for l1, l2 in pairs]
    settings = GroupSettings(
        ProximalNewton, None, default_metrics(), "val/loss", "min", log_every=1, dtype=torch.float64
    )
    solver_fit = SolverFit(tables, jobs, settings)
    solver_fit.run()
    results = measure(solver_fit, [None] * len(jobs))
    for job, (seed, (l1, l2)) in enumerate([(seed, pair) for seed in (1, 2) for pair in pairs]):
        every = {"precision": "64-true", "check_val_every_n_epoch": 50}
        data = breast_cancer(seed=seed, batch_size=None)
        record, classifier, _ = fit(tmp_path / str(job), data, 50, ProximalNewton, l1=l1, l2=l2, **every)
        state = solver_fit.networks.state_dict_of(job, results.parameters)
        for name, value in classifier.network.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-6)
            assert torch.equal(state[name] == 0, value == 0)
        assert results.records[job].metrics["train/loss"] == pytest.approx(record.metrics["train/loss"], rel=1e-9)
        optimality = results.records[job].optimality
        assert optimality is not None
        assert optimality.converged
    updates = solver_fit.final_updates.reshape(2, 4)
    assert (updates[:, 1] <= updates[:, 0]).all()  # nothing but the intercept is there at the largest
    losses = np.stack(solver_fit.losses)
    assert np.isfinite(losses[: updates.min()]).all()


def test_iterations_are_logged_for_each_job_and_are_as_many_as_it_may_make() -> None:
    solver_fit = solved([breast_cancer(batch_size=None)], epochs=2)
    assert solver_fit.final_updates.max() == 2
    assert solver_fit.steps == [0, 1]
    first, second = solver_fit.losses
    assert (second[solver_fit.final_updates == 2] < first[solver_fit.final_updates == 2]).all()
    assert set(solver_fit.solver_values[0]) == {"train/gradient_norm", "train/gap", "train/step_length"}
    # At the first step a job is at the optimum of a sample already; accuracies are shares of the training rows.
    assert ((solver_fit.accuracies[0] > 0.8) & (solver_fit.accuracies[0] <= 1)).all()
    assert np.isfinite(solver_fit.validations[-1][1]["loss"]).all()


def test_an_interrupted_fit_keeps_its_jobs() -> None:
    data = breast_cancer(batch_size=None)
    data.setup()
    jobs = [FusedJob(drawn(SequentialRegression, 30), {"lr": 1.0}, None, 0.0, l2, 50, 0.5) for l2 in PENALTIES]
    solver_fit = SolverFit(
        [data], jobs, GroupSettings(Newton, None, default_metrics(), "val/loss", "min", dtype=torch.float64)
    )
    solver_fit.interrupt = True
    solver_fit.run()
    assert solver_fit.status == ["interrupted"] * 3
    assert solver_fit.final_updates.tolist() == [0, 0, 0]
    assert solver_fit.last.saved.all()
    assert all(job.metrics["val/loss"] > 0 for job in measure(solver_fit, [None] * 3).records)


def test_a_signal_between_l1_penalties_leaves_the_rest_where_they_start(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [breast_cancer(seed=seed, batch_size=None) for seed in (1, 2)]
    jobs = []
    for data in tables:
        data.setup()
        jobs += [FusedJob(drawn(SequentialRegression, 30), {"lr": 1.0}, None, l1, 0.0, 50, 0.5) for l1 in (0.01, 0.1)]
    settings = GroupSettings(ProximalNewton, None, default_metrics(), "val/loss", "min", dtype=torch.float64)
    solver_fit, starts = SolverFit(tables, jobs, settings), []
    iterate = ProximalNewton.iterate

    def counted(solver: Any, problem: Any, theta: Any) -> Any:
        starts.append(problem.l1)
        solver_fit.interrupt = len(starts) > 1 and starts[-1] == 0.01  # in the second job's first iteration
        return iterate(solver, problem, theta)

    monkeypatch.setattr(ProximalNewton, "iterate", counted)
    solver_fit.run()
    assert starts.count(0.01) == 1
    assert solver_fit.status == ["interrupted", "completed", "interrupted", "interrupted"]
    assert solver_fit.final_updates.tolist() == [1, starts.count(0.1), 0, 0]
    assert solver_fit.last.saved.all()
    assert solver_fit.last.updates.tolist() == solver_fit.final_updates.tolist()
    metrics = [record.metrics for record in measure(solver_fit, [None] * 4).records]
    assert all(values["val/loss"] > 0 for values in metrics)


@pytest.mark.slow
def test_a_sweep_over_folds_and_penalties_writes_runs_like_any_other(tmp_path: Path) -> None:
    overrides = ["data=breast_cancer", "optimizer=newton", "data.folds=3", "data.fold=0,1,2", "penalty.l2=0.01,0.1"]
    process = run_command("train.py", "-m", *overrides, "figures=false", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "together, as they differ in data.fold, penalty.l2 alone" in process.stderr
    alone = run_command("train.py", *overrides[:3], "data.fold=2", "penalty.l2=0.1", "hydra.run.dir=one", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    one = load_run(tmp_path / "one")
    job = load_run(next((tmp_path / "sweep").glob("5_*")))
    files = [{path.name.partition(".tfevents")[0] for path in run.directory.iterdir()} for run in (one, job)]
    assert files[0] - {"figures"} == files[1]
    assert job.record["status"] == "completed"
    assert set(job.record["optimality"]) == set(one.record["optimality"])
    assert job.record["optimality"]["converged"]
    assert job.history[-1].keys() == one.history[-1].keys()
    x = np.random.default_rng(0).normal(size=(5, 30)) * 10
    np.testing.assert_allclose(job.predict_proba(x), one.predict_proba(x), rtol=1e-5, atol=1e-12)
    resumed = run_command(
        "train.py", *overrides[:3], "data.fold=2", "penalty.l2=0.1", f"resume='{job.directory}'", cwd=tmp_path
    )
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((job.directory / "run.json").read_text())["updates"] == job.record["updates"]
