"""optimizer=auto: which solver it takes, and that the run, its record and its checkpoint say so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scipy.sparse as sp
import torch

from logreg.errors import UserError
from logreg.optim import newton
from logreg.optim.choice import NODES, choose
from tests.conftest import Command
from tests.optim.problems import drawn, problem_of, solve


@pytest.mark.parametrize(
    ("rows", "features", "settings", "name"),
    [
        (500, 30, {}, "newton"),
        (32_561, 123, {"sparse": True}, "lbfgs"),
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


def test_every_choice_is_the_optimizer_of_that_name() -> None:
    conf = Path(__file__).parents[2] / "conf" / "optimizer"
    for name, node in NODES.items():
        assert f"_target_: {node['_target_']}" in (conf / f"{name}.yaml").read_text(encoding="utf-8")


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
    done = command("train.py", *arguments, "epochs=3", "hydra.run.dir=first")
    assert "optimizer=auto is proximal_newton: penalty.l1=0.02" in done.stderr
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
