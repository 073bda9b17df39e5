"""The same training, the same solutions and the same certificates on a CUDA device."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn

from logreg.data.rows import MappedRows, Rows, SparseRows, TensorRows, row_span
from logreg.evaluation.coefficients.covariance import covariance
from logreg.evaluation.coefficients.estimates import Estimates, statistics
from logreg.evaluation.coefficients.marginal_effects import marginal_effects
from logreg.evaluation.coefficients.optimality import certify, separation_of
from logreg.evaluation.coefficients.profile import profile
from logreg.optim import precondition
from logreg.optim.batch_lbfgs import solve_penalties
from logreg.optim.firth import FirthProblem
from logreg.optim.linalg import times, transposed_times
from logreg.optim.objective import linear_coefficients
from logreg.optim.problem import LogisticProblem
from tests.commands import Command
from tests.helpers import breast_cancer, column, fit, toy
from tests.optim.problems import SOLVERS, drawn, solve

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]

CPU = torch.device("cpu")
KINDS = ("dense", "weighted", "CSR tensor", "CSR file", "mapped")
every_solver = pytest.mark.parametrize("name", list(SOLVERS))


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda", 0)


def trainer_on(device: torch.device) -> dict[str, Any]:
    return {"accelerator": "cpu" if device.type == "cpu" else "gpu", "devices": 1}


@pytest.mark.parametrize("source", [toy, breast_cancer])
def test_a_gpu_follows_the_cpu(tmp_path: Path, source: Any, device: torch.device) -> None:
    make = functools.partial(torch.optim.Adam, lr=0.01)
    _, _, on_cpu = fit(tmp_path / "cpu", source(), 20, make)
    record, _, on_gpu = fit(tmp_path / "gpu", source(), 20, make, **trainer_on(device))
    assert record.device.startswith(device.type)
    expected, losses = column(on_cpu, "train/loss"), column(on_gpu, "train/loss")
    assert losses.keys() == expected.keys()
    assert list(losses.values()) == pytest.approx(list(expected.values()), rel=1e-4)


def test_dropout_on_a_gpu_goes_on_with_its_random_state(tmp_path: Path, device: torch.device) -> None:
    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(30, 8), nn.Dropout(0.5), nn.Linear(8, 1), nn.Sigmoid())

    gpu = trainer_on(device)
    torch.manual_seed(1)  # those of all devices
    whole, _, _ = fit(tmp_path / "whole", breast_cancer(), 6, network=network(), **gpu)
    torch.manual_seed(1)
    fit(tmp_path / "first", breast_cancer(), 3, network=network(), **gpu)
    rest, _, _ = fit(tmp_path / "rest", breast_cancer(), 6, network=network(), resume=tmp_path / "first", **gpu)
    assert rest.metrics["val/loss"] == pytest.approx(whole.metrics["val/loss"], rel=1e-5)


# --- the solvers, without a Trainer -----------------------------------------------------------------------------------


def rows_of(kind: str, device: torch.device, directory: Path, rows: int = 2000, columns: int = 6) -> Rows:
    """The same rows for both devices, held in one of the ways that a table may be held."""
    x, y = drawn(5, rows, columns)
    if "CSR" in kind:
        x[np.random.default_rng(5).random(x.shape) < 0.6] = 0
    sparse, labels = sp.csr_array(x), torch.tensor(y)
    if kind == "mapped":
        mapped = np.memmap(directory / f"{device.type}.x", np.float32, "w+", shape=x.shape)
        mapped[:] = x
        chosen = np.flatnonzero(np.arange(rows) % 5)
        table: Rows = MappedRows(mapped, chosen, labels[chosen], None, torch.float32)
    elif kind == "CSR file":
        parts = sparse.indptr, sparse.indices, sparse.data
        table = SparseRows(parts, np.arange(rows), columns, labels, None, torch.float64)
    elif kind == "CSR tensor":
        parts = (torch.from_numpy(part) for part in (sparse.indptr, sparse.indices, sparse.data))
        table = TensorRows(torch.sparse_csr_tensor(*parts, x.shape), labels)
    else:
        weight = torch.tensor(np.random.default_rng(6).integers(1, 5, rows)).double()
        table = TensorRows(torch.tensor(x), labels, weight / weight.mean() if kind == "weighted" else None)
    table.to(device)
    return table


def penalties_of(name: str) -> dict[str, float]:
    return {"l1": 0.01, "l2": 1e-3} if name == "proximal_newton" else {"l2": 0.01}


def assert_same(on_device: torch.Tensor, expected: torch.Tensor, relative: float = 1e-7) -> None:
    atol = relative * float(expected.abs().max())
    np.testing.assert_allclose(on_device.cpu().numpy(), expected.numpy(), rtol=relative, atol=atol)


@every_solver
@pytest.mark.parametrize("kind", KINDS)
def test_a_solver_ends_where_it_does_on_the_cpu_and_is_certified_there(
    name: str, kind: str, device: torch.device, tmp_path: Path
) -> None:
    on_cpu, on_device = (LogisticProblem(rows_of(kind, d, tmp_path), **penalties_of(name)) for d in (CPU, device))
    assert on_device.device.type == device.type
    expected, _ = solve(name, on_cpu)
    theta, _ = solve(name, on_device)
    assert theta.device.type == device.type
    assert_same(theta, expected)
    certificate = certify(on_device, theta)
    assert certificate.converged
    assert certificate.method == "duality gap"
    assert certificate.objective == pytest.approx(certify(on_cpu, expected).objective, rel=1e-12)


@pytest.mark.parametrize("name", ["newton", "newton_cg", "lbfgs"])
def test_without_a_penalty_the_decrement_certifies_and_the_separation_is_looked_for(
    name: str, device: torch.device, tmp_path: Path
) -> None:
    on_cpu, on_device = (LogisticProblem(rows_of("dense", d, tmp_path, 300, 3)) for d in (CPU, device))
    expected, (theta, _) = solve(name, on_cpu)[0], solve(name, on_device)
    assert_same(theta, expected)
    certificate = certify(on_device, theta, separation_of(on_device, list("abc")))
    assert certificate.method == "half squared Newton decrement"
    assert certificate.converged
    assert certificate.separation is not None
    assert certificate.separation["kind"] == "none"


def test_products_of_consecutive_sparse_rows(device: torch.device, tmp_path: Path) -> None:
    rows = rows_of("CSR file", device, tmp_path, 200)
    x, v = rows.span(0, 200)[0], torch.linspace(-1, 1, 6, dtype=torch.float64, device=device)
    for first in range(0, 190, 7):  # their entries begin at any place
        part = row_span(x, first, first + 7)
        torch.testing.assert_close(times(part, v), x.to_dense()[first : first + 7] @ v)
        torch.testing.assert_close(transposed_times(part, times(part, v)), part.to_dense().t() @ times(part, v))


@pytest.mark.parametrize("name", ["newton_cg", "lbfgs"])
@pytest.mark.parametrize("kind", ["dense", "CSR tensor"])
def test_the_diagonal_of_many_columns_preconditions(
    name: str, kind: str, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precondition, "MOST_COLUMNS", 2)
    on_cpu, on_device = (LogisticProblem(rows_of(kind, d, tmp_path), l2=0.01) for d in (CPU, device))
    assert_same(solve(name, on_device)[0], solve(name, on_cpu)[0])


def test_columns_that_are_combinations_take_the_step_of_least_norm(device: torch.device) -> None:
    x, y = drawn(1, rows=200)
    parts = torch.tensor(np.hstack([x, x[:, :2] + x[:, 1:]])), torch.tensor(y)
    expected, theta = (
        solve("newton", LogisticProblem(TensorRows(*(p.to(d) for p in parts))))[0] for d in (CPU, device)
    )
    assert_same(theta, expected)


@pytest.mark.parametrize("kind", ["dense", "weighted"])
def test_firths_estimates(kind: str, device: torch.device, tmp_path: Path) -> None:
    on_cpu, on_device = (FirthProblem(rows_of(kind, d, tmp_path, 60, 3), 1 / 60) for d in (CPU, device))
    theta, _ = solve("newton", on_device)
    assert_same(theta, solve("newton", on_cpu)[0])
    assert certify(on_device, theta).converged
    assert on_device.penalty(theta) == pytest.approx(on_cpu.penalty(theta.cpu()), rel=1e-9)


def test_standard_errors_profiles_and_marginal_effects(device: torch.device, tmp_path: Path) -> None:
    estimates = []
    for d in (CPU, device):
        problem = LogisticProblem(rows_of("weighted", d, tmp_path, 200, 3))
        theta, _ = solve("newton", problem)
        spread = covariance(problem, theta, 200.0, "HC1")
        wald = Estimates.wald(theta.cpu().numpy(), spread.diagonal())
        lines = profile(problem, theta, 200.0, np.eye(4), wald)
        effects = marginal_effects(problem, theta, spread, np.ones(3), [(1, 2)])
        estimates.append(
            [wald.standard_error, lines.lower, lines.upper, lines.p, effects.estimate, effects.standard_error]
        )
        estimates[-1].append(np.array(statistics(problem, theta, 200.0, np.eye(4)).likelihood_ratio))
    for on_cpu, on_device in zip(*estimates, strict=True):
        np.testing.assert_allclose(on_device, on_cpu, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_many_penalties_are_solved_together(dtype: torch.dtype, weighted: bool, device: torch.device) -> None:
    x, y = drawn(7, rows=4000, columns=8)
    weight = np.random.default_rng(7).integers(1, 5, len(y)).astype(float) if weighted else None
    parts = (x, y, [1e-4, 1e-2, 1.0], None if weight is None else weight / weight.mean())
    unfinished: list[int] = []

    def solved(device: torch.device) -> Any:
        x, y, l2, weight = (
            None if p is None else torch.tensor(np.asarray(p), dtype=dtype, device=device) for p in parts
        )
        thresholds = torch.full((3,), 0.4, device=device)
        return solve_penalties(
            x, y, l2, weight, thresholds=thresholds, watch=lambda i: unfinished.append(len(i.problems)) or False
        )

    expected, solution = solved(CPU), solved(device)
    assert unfinished
    assert solution.theta.device.type == device.type
    exact = dtype == torch.float64
    assert bool(solution.finished.all()) or not exact  # rows in float32 do not resolve the tolerance
    assert_same(solution.theta, expected.theta, 1e-7 if exact else 1e-4)


# --- with a Trainer, and as commands ----------------------------------------------------------------------------------


@every_solver
@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_solver_trains_and_certifies_as_on_the_cpu(
    name: str, precision: str, device: torch.device, tmp_path: Path
) -> None:
    every = {"precision": precision, "certify_every": 1, "check_val_every_n_epoch": 40, **penalties_of(name)}
    parameters = []
    for place, settings in (("cpu", trainer_on(CPU)), ("gpu", trainer_on(device))):
        data = breast_cancer(batch_size=None)
        record, classifier, history = fit(tmp_path / place, data, 40, SOLVERS[name], **every, **settings)
        pair = linear_coefficients(classifier.network)
        assert pair is not None
        parameters.append(torch.cat([part.detach().reshape(-1) for part in pair]))
        assert len(column(history, "optimality/gap")) == record.updates
    assert record.device.startswith(device.type)
    assert record.optimality is not None
    assert record.optimality["converged"]
    exact = precision == "64-true"
    torch.testing.assert_close(
        parameters[1].cpu(), parameters[0], rtol=1e-7 if exact else 1e-4, atol=1e-7 if exact else 1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["optimizer=newton", "penalty.l2=0.01"],
        ["optimizer=newton", "penalty=firth"],
        ["optimizer=lbfgs", "penalty.l2=0.01", "certify_every=1"],
        ["optimizer=newton_cg", "penalty.l2=0.01", "separation=true"],
        ["optimizer=proximal_newton", "penalty.l1=0.02"],
        ["optimizer=auto", "penalty.l2=auto"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_run(arguments: list[str], device: torch.device, command: Command, tmp_path: Path) -> None:
    on = [f"accelerator={trainer_on(device)['accelerator']}", "epochs=60", "figures=false", "hydra.run.dir=run"]
    process = command("train.py", "data=breast_cancer", *arguments, *on, fresh=True)
    assert process.returncode == 0, process.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "completed"
    assert record["device"].startswith(device.type)
    assert record["optimality"]["converged"]


@pytest.mark.slow
@pytest.mark.parametrize("varied", ["penalty.l2=0.01,0.1,1", "penalty.l1=0.01,0.05,0.2"])
def test_a_sweep_of_a_solver(varied: str, device: torch.device, command: Command, tmp_path: Path) -> None:
    solver = "proximal_newton" if "l1" in varied else "newton"
    on = [f"accelerator={trainer_on(device)['accelerator']}", "figures=false", "hydra.sweep.dir=sweep"]
    process = command(
        "train.py", "-m", "data=breast_cancer", f"optimizer={solver}", varied, "epochs=60", *on, fresh=True
    )
    assert process.returncode == 0, process.stderr
    assert "together, as they differ in" in process.stderr
    for path in (tmp_path / "sweep").glob("*/run.json"):
        record = json.loads(path.read_text())
        assert record["device"].startswith(device.type)
        assert record["optimality"]["converged"]
