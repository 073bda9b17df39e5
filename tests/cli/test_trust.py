"""No file can make the project run code of a package that the command line does not trust."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import Command

MODULE = """
from pathlib import Path
from hydra.experimental.callback import Callback as HydraCallback
from lightning.pytorch import Callback

class Marker(Callback):
    def __init__(self):
        Path("executed").touch()

class MarkerInHydra(HydraCallback):
    def __init__(self):
        Path("executed").touch()
"""
EXPERIMENTS = {
    "plain": "callbacks: {marker: {_target_: foreign.Marker}}",
    "list": "trusted_packages: [foreign]\ncallbacks: {marker: {_target_: foreign.Marker}}",
    "overrides": (
        "hydra: {overrides: {task: ['trusted_packages=[foreign]']}}\ncallbacks: {marker: {_target_: foreign.Marker}}"
    ),
    "hydra": "hydra: {callbacks: {marker: {_target_: foreign.MarkerInHydra}}}",
    "function": "hydra: {callbacks: {marker: {_target_: logreg.cli.command, name: train, task: x}}}",
}


@pytest.fixture
def foreign(tmp_path: Path) -> dict[str, str]:
    """A package on the path, and experiments that name it; the environment of a command that can see both."""
    (tmp_path / "foreign.py").write_text(MODULE)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    for name, body in EXPERIMENTS.items():
        (tmp_path / "conf" / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{body}\n")
    return {"PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_file_cannot_trust_itself(
    command: Command, tmp_path: Path, foreign: dict[str, str], experiment: str
) -> None:
    process = command(
        "train.py", "--config-dir=conf", f"experiment={experiment}", "epochs=2", "figures=false", **foreign
    )
    assert process.returncode == 1, process.stderr
    assert not (tmp_path / "executed").exists()
    assert "Traceback" not in process.stderr
    assert "trusted_packages=[foreign]" in process.stderr or "logreg.cli.command" in process.stderr


@pytest.mark.parametrize("experiment", ["plain", "hydra"])
def test_the_command_line_can(command: Command, tmp_path: Path, foreign: dict[str, str], experiment: str) -> None:
    arguments = [f"experiment={experiment}", "trusted_packages=[foreign]", "epochs=2", "figures=false"]
    process = command("train.py", "--config-dir=conf", *arguments, **foreign)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "executed").exists()
