"""Shapes and types of annotated functions are checked while the tests run; fixtures that start the real commands."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from jaxtyping import install_import_hook

from tests.commands import Command, run_command

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Modules whose annotations say shapes. They are imported here, before a test imports them unchecked.
CHECKED = [
    "logreg.data",
    "logreg.evaluation.calibration",
    "logreg.evaluation.engine",
    "logreg.evaluation.metrics",
    "logreg.evaluation.scores",
    "logreg.evaluation.thresholds",
    "logreg.models",
    "logreg.optim.objective",
    "logreg.report.figures.classifier",
    "logreg.training.classifier",
]
with install_import_hook(CHECKED, "beartype.beartype"):
    for name in CHECKED:
        importlib.import_module(name)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """``command("train.py", "lr=0.1")``, run in ``tmp_path``."""

    def run(script: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run_command(script, *arguments, cwd=tmp_path, **options)

    return run
