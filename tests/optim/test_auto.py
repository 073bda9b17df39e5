"""optimizer=auto: which solver it takes, and that the run, its record and its checkpoint say so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scipy.sparse as sp
import torch

from logreg.cli.assemble import choose_optimizer
from logreg.core.components import Component
from logreg.core.errors import UserError
from logreg.core.settings import CONF, Settings
from logreg.data.adapter import adapted
from logreg.optim import newton
from logreg.optim.auto import choose
from tests.commands import Command
from tests.helpers import Ordinary, breast_cancer, composed
from tests.optim.problems import drawn, problem_of, solve


def configured(l1: float = 0.0, network: str | None = None, **optimizer: Any) -> Settings:
    """Settings with optimizer=auto; ``network`` with a hidden layer."""
    settings = composed("optimizer=auto", f"penalty.l1={l1}", *(f"++optimizer.{k}={v}" for k, v in optimizer.items()))
    if network is None:
        return settings
    linear = [{"_target_": "torch.nn.Linear", "_args_": args} for args in ([30, 4], [4, 1])]
    layers = [linear[0], {"_target_": "torch.nn.Tanh"}, linear[1], {"_target_": "torch.nn.Sigmoid"}]
    return replace(settings, model=Component(network, {"_args_": layers}))


def table() -> Any:
    data = breast_cancer(batch_size=None)
    data.setup()
    return data


@pytest.mark.parametrize(
    ("rows", "features", "settings", "name"),
    [
        (500, 30, {}, "newton"),
        (32_561, 123, {"sparse": True}, "lbfgs"),
        (5_000, 100, {}, "newton"),
        (5_000, 100, {"sparse": True}, "lbfgs"),
        (1_000, 100, {"sparse": True}, "newton"),
        (1_000_000, 50, {}, "lbfgs"),
        (200_000, 500, {}, "lbfgs"),
        (1_000, 20_000, {}, "newton_cg"),
        (1_000_000, 100_000, {"sparse": True}, "newton_cg"),
        (1_000, 20_000, {"l1": 0.1}, "proximal_newton"),
        (500, 30, {"linear": False}, "torch_lbfgs"),
        (10**6, 50, {"firth": True}, "newton"),
    ],
)
def test_the_choice_follows_the_shape_the_penalty_and_the_model(
    rows: int, features: int, settings: dict, name: str
) -> None:
    choice = choose(rows, features, **{"sparse": False, "linear": True, **settings})
    assert choice.name == name
    assert choice.sentence.startswith(f"optimizer=auto is {name}: ")


@pytest.mark.parametrize(
    ("settings", "name"),
    [({}, "newton"), ({"l1": 0.1}, "proximal_newton"), ({"network": "torch.nn.Sequential"}, "torch_lbfgs")],
)
def test_every_choice_is_the_optimizer_of_that_name(settings: dict, name: str) -> None:
    named = composed(f"optimizer={name}").optimizer
    choice, component = choose_optimizer(configured(**settings), table())
    assert choice.name == name
    assert component == named
    slower = Component(named.target, {**named.arguments, "lr": 0.5})
    assert choose_optimizer(configured(**settings, lr=0.5), table())[1] == slower


def test_all_that_is_chosen_can_be_chosen_by_name() -> None:
    shapes = [(500, 30), (10**6, 50), (1000, 20_000)]
    chosen = {choose(*shape, sparse=sparse, linear=True).name for shape in shapes for sparse in (False, True)}
    assert chosen == {"newton", "lbfgs", "newton_cg"}
    assert all((CONF / "optimizer" / f"{name}.yaml").is_file() for name in chosen)


def test_a_setting_that_the_choice_has_not_is_refused_in_a_sentence() -> None:
    settings = configured(network="torch.nn.Sequential", tolerance=1e-8)
    with pytest.raises(UserError, match=r"optimizer.tolerance: optimizer=auto is torch_lbfgs: .*; valid: lr, max_iter"):
        choose_optimizer(settings, table())
    assert choose_optimizer(configured(tolerance=1e-8), table())[1].arguments["tolerance"] == 1e-8


def test_rows_that_come_batch_by_batch_have_no_solver() -> None:
    with pytest.raises(UserError, match=r"optimizer=auto: .* Ordinary serves them batch by batch; use adam or sgd"):
        choose_optimizer(configured(), adapted(Ordinary()))


def test_more_columns_than_memory_holds_names_newton_cg(monkeypatch: pytest.MonkeyPatch) -> None:
    x = sp.random(30, 300_000, density=1e-4, format="csr", random_state=0)
    problem = problem_of(x, drawn(0, rows=30)[1], 0.1)
    with pytest.raises(UserError, match=r"GiB for the Gram matrix of 300,000 columns .* use optimizer=newton_cg"):
        solve("newton", problem)
    assert float(solve("newton_cg", problem)[0].norm()) > 0
    monkeypatch.setattr(newton, "free_memory", lambda device: 1000)
    with pytest.raises(UserError, match="newton_cg"):
        solve("newton", problem_of(*drawn(0, columns=5), 0.1))


@pytest.mark.slow
def test_a_run_says_what_was_chosen_and_resumes(command: Command, tmp_path: Path) -> None:
    arguments = ["data=breast_cancer", "optimizer=auto", "penalty.l1=0.02", "figures=false"]
    process = command("train.py", *arguments, "epochs=3", "hydra.run.dir=first")
    assert "optimizer=auto is proximal_newton: penalty.l1=0.02" in process.stderr
    record = json.loads((tmp_path / "first" / "run.json").read_text())
    assert record["optimizer"]["name"] == record["hyperparameters"]["optimizer"] == "proximal_newton"
    config = json.loads((tmp_path / "first" / "config.json").read_text())
    assert config["optimizer"]["_target_"].endswith("ProximalNewton")
    checkpoint = torch.load(tmp_path / "first" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["logreg"]["optimizer"] == "ProximalNewton"
    command("train.py", *arguments, "epochs=100", "resume=first", "hydra.run.dir=second")
    record = json.loads((tmp_path / "second" / "run.json").read_text())
    assert record["optimality"]["converged"]
    assert record["updates"] > 3
