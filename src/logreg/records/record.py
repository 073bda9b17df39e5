"""The run directory: the names of its files, and its record, ``run.json``."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logreg.core.aliases import renamed
from logreg.core.errors import UserError
from logreg.core.files import write_atomically

RECORD = "run.json"
PREPROCESSING = "preprocessing.json"
COEFFICIENTS = "coefficients.csv"
LESSON = "lesson.json"
LESSON_FIGURES = "lesson_"  # how the names of its figures begin
MARGINAL_EFFECTS = "marginal_effects.csv"
EVALUATION = "evaluation.json"
CONFIG = "config.json"
STATUSES = ("running", "completed", "failed", "diverged", "interrupted")


@dataclass
class RunRecord:
    """What ``run.json`` holds; keys are added over time, never renamed.

    Attributes:
        status: one of `STATUSES`.
        error: None, or one sentence.
        overrides: the command-line overrides of the run.
        metrics: final values by name, ``train/loss``, ``val/…``, ``test/…``: of the best checkpoint where there are
            validation rows, of the last state otherwise.
        updates: optimizer steps made.
        epochs: whole passes over the training rows.
        seconds: ``fit`` and ``total``.
        data: rows per split, features, fingerprint of the source.
        hyperparameters: the settings that TensorBoard's HParams tab shows.
        threshold_rule: how the threshold was chosen, where it was not given.
        calibration: the map from logits to probabilities that was fitted on ``rows`` validation rows, and what held-out
            rows gave ``uncalibrated``; see `logreg.evaluation.calibration`.
        optimizer: which ``optimizer`` was chosen for optimizer=auto, and ``why``.
        optimality: how far a linear classifier is from the best coefficients; see
            `logreg.evaluation.coefficients.optimality`.
        inference: how well a linear classifier fits, see `logreg.evaluation.coefficients.estimates`; or why it has no
            standard errors, ``refused``.
        intervals: of accuracies on held-out rows; see `logreg.evaluation.intervals`.
        baseline: the linear classifier on the same rows, see `logreg.training.baseline`; None where it was not asked
            for.
        evaluated: which state the metrics belong to, ``best`` or ``last``, and the updates it had seen.
    """

    status: str = "running"
    error: str | None = None
    overrides: list[str] = field(default_factory=list)
    name: str = ""
    seed: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    monitor: dict[str, str] = field(default_factory=dict)
    threshold: float = 0.5
    threshold_rule: dict[str, Any] | None = None
    updates: int = 0
    epochs: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    evaluated: dict[str, Any] = field(default_factory=dict)
    device: str = ""
    resumed_from: str | None = None
    started: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    git: dict[str, Any] | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    optimality: dict[str, Any] | None = None
    optimizer: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None
    inference: dict[str, Any] | None = None
    intervals: dict[str, Any] = field(default_factory=dict)
    baseline: dict[str, Any] | None = None

    def write(self, directory: Path) -> None:
        """Write ``run.json`` atomically: a reader sees the old one or the new one, never a part."""
        write_record(directory, vars(self))


def write_record(directory: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json`` from the values of a `RunRecord`."""
    write_atomically(directory / RECORD, json.dumps(finite(record), indent=2, ensure_ascii=False) + "\n")


def splits_of(metrics: Mapping[str, float]) -> list[str]:
    """The splits that metrics are about, in their order."""
    return list(dict.fromkeys(name.partition("/")[0] for name in metrics))


def finite(value: Any) -> Any:
    """The same with null for numbers that JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def read_record(directory: Path) -> dict[str, Any]:
    """The content of a run's ``run.json``.

    Raises:
        UserError: there is none, or it is not JSON.
    """
    path = directory / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{directory} is not a run directory: it has no {RECORD}.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(record, dict):
        raise UserError(f"{path} is not the record of a run.")
    return record


def settings_of(overrides: list[str]) -> dict[str, str]:
    """Overrides such as ``lr=0.1`` by key, without Hydra's own."""
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs if not key.startswith("hydra")}


def shown(path: Path) -> str:
    """A path as a user would type it: relative where it lies below the working directory, quoted where it must be."""
    absolute = Path(os.path.abspath(path))
    here = Path.cwd()
    return shlex.quote(str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute))


def read_history(directory: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.csv`` as numbers."""
    path = directory / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items() if value != ""} for row in csv.DictReader(file)]
    return [{key: int(value) if key in ("step", "epoch") else value for key, value in row.items()} for row in rows]


def known_config(directory: Path) -> dict[str, Any]:
    """The configuration of a run; empty where it ended before it had one."""
    with contextlib.suppress(UserError):
        found = read_config(directory)
        return found if isinstance(found, dict) else {}
    return {}


def read_config(directory: Path) -> dict[str, Any]:
    """The resolved configuration of a run.

    Raises:
        UserError: the run ended before it had one, or the file cannot be read.
    """
    path = directory / CONFIG
    try:
        config: dict[str, Any] = renamed(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{directory} has no {CONFIG}; it was not written by train.py.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from error
    return config
