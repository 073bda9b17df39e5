"""Shapes and types of annotated functions are checked while the tests run; fixtures that start the real commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

CHECKED = [
    "logreg.optim.objective",
    "logreg.models",
    "logreg.evaluation.metrics",
    "logreg.data",
    "logreg.evaluation.calibration",
    "logreg.evaluation.scores",
    "logreg.training.classifier",
    "logreg.report.figures.classifier",
]
with install_import_hook(CHECKED, "beartype.beartype"):
    import logreg.data
    import logreg.evaluation.calibration
    import logreg.evaluation.metrics
    import logreg.evaluation.scores
    import logreg.models
    import logreg.optim.objective
    import logreg.report.figures.classifier  # noqa: F401

ROOT = Path(__file__).parents[1]
Command = Callable[..., subprocess.CompletedProcess[str]]


def run_command(script: str, *arguments: str, cwd: Path, timeout: float = 240, **environment: str):
    """A command of the project, started as a user would, in a directory of its own."""
    env = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"} | environment
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """``command("train.py", "lr=0.1")``, run in ``tmp_path``."""

    def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_command(script, *arguments, cwd=tmp_path, **environment)

    return run
