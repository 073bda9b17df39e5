"""Shapes and types of annotated functions are checked while the tests run; fixtures that start the real commands."""

from __future__ import annotations

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


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """``command("train.py", "lr=0.1")``, run in ``tmp_path``."""

    def run(script: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run_command(script, *arguments, cwd=tmp_path, **options)

    return run
