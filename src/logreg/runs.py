"""The run directory: its files, its record, and loading what a run left behind.

.hydra/{config,overrides,hydra}.yaml   the configuration, as Hydra writes it
config.json                            the same, resolved, as the run used it
run.json                               the record, see `RunRecord`
preprocessing.json                     how raw columns become the model's inputs
coefficients.csv                       of a linear model, in raw and in standardised units
marginal_effects.csv                   of a fit with standard errors
evaluation.json                        the last evaluation on other rows
metrics.csv, events.out.tfevents.*     the history
checkpoints/{last,best}.ckpt           the states
lesson.json, report.html               of a lesson; the page, where it was asked for
figures/*.png, train.log
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logreg.atomic import write_atomically
from logreg.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from logreg.classifier import BinaryClassifier
    from logreg.data.preprocessing import Preprocessor
    from logreg.data.preprocessors import AnyPreprocessor

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
            rows gave ``uncalibrated``; see `logreg.calibration`.
        optimizer: which ``optimizer`` was chosen for optimizer=auto, and ``why``.
        optimality: how far a linear classifier is from the best coefficients; see `logreg.diagnostics.optimality`.
        inference: how well a linear classifier fits, see `logreg.diagnostics.inference`; or why it has no standard
            errors, ``refused``.
        intervals: of accuracies on held-out rows; see `logreg.held_out`.
        baseline: the linear classifier on the same rows, see `logreg.baseline`; None where it was not asked for.
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


def applied_checkpoint(directory: Path, asked: str | None) -> str:
    """Which checkpoint of a run to use: the one asked for, else the one that its recorded metrics belong to.

    Raises:
        UserError: there is no run there, or no such checkpoint.
    """
    if asked not in ("best", "last", None):
        raise UserError(f"checkpoint={asked}: best or last is needed.")
    return asked or str(read_record(directory).get("evaluated", {}).get("checkpoint", "best"))


def settings_of(overrides: list[str]) -> dict[str, str]:
    """Overrides such as ``lr=0.1`` by key, without Hydra's own."""
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs if not key.startswith("hydra")}


def shown(path: Path) -> str:
    """A path as a user would type it: relative where it lies below the working directory, quoted where it must be."""
    absolute = Path(os.path.abspath(path))
    here = Path.cwd()
    return shlex.quote(str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute))


def find_checkpoint(path: str, runs: Path = Path("outputs/runs")) -> Path:
    """The checkpoint that ``resume=path`` means.

    Args:
        path: a checkpoint, a run directory (its ``last.ckpt``), or the name of runs, of which the newest completed
            one is taken.
        runs: where runs of a name are looked for.

    Raises:
        UserError: there is no such thing.
    """
    given = Path(path)
    if given.is_file():
        return given
    if given.is_dir():
        last = given / "checkpoints" / "last.ckpt"
        if last.is_file():
            return last
        raise UserError(f"resume={path}: this directory has no checkpoints/last.ckpt; give a run directory.")
    if not given.is_absolute() and ".." not in given.parts and (len(given.parts) == 1 or (runs / given).is_dir()):
        named = sorted((runs / path).glob(f"*/{RECORD}"), reverse=True)
        for record in named:
            last = record.parent / "checkpoints" / "last.ckpt"
            if last.is_file() and read_record(record.parent).get("status") == "completed":
                return last
        raise UserError(
            f"resume={path}: no such file or directory, and no completed run of that name under {runs}; "
            "give a run directory or a checkpoint."
        )
    raise UserError(f"resume={path}: no such file or directory; give a run directory or a checkpoint.")


def read_checkpoint(path: Path, key: str = "resume") -> dict[str, Any]:
    """A checkpoint's content, read without executing any code in it.

    Raises:
        UserError: the file is no checkpoint of this project, or is truncated.
    """
    import torch

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{key}={path}: no such file.") from None
    except Exception as error:  # torch raises a dozen types here, none of them documented
        raise UserError(
            f"{key}={path}: not a checkpoint, or a truncated one (it cannot be read with weights_only=True)."
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step", "logreg"} <= set(checkpoint):
        raise UserError(f"{key}={path}: not a checkpoint of this project; give checkpoints/last.ckpt of a run.")
    return checkpoint


@dataclass(frozen=True)
class Run:
    """A finished run, loaded for use; see `load_run`.

    Attributes:
        directory: the run directory.
        config: the resolved configuration, plain values.
        record: the content of ``run.json``.
        metrics: final values by name, such as ``metrics["test/accuracy"]``.
        history: the rows of ``metrics.csv``; a cell that was empty is missing from its row.
        model: the trained `BinaryClassifier` in evaluation mode, on the CPU.
        preprocessor: from raw columns to the features of the model.
    """

    directory: Path
    config: dict[str, Any]
    record: dict[str, Any]
    metrics: dict[str, float]
    history: list[dict[str, float]]
    model: BinaryClassifier
    preprocessor: AnyPreprocessor

    @property
    def table_preprocessor(self) -> Preprocessor:
        """The preprocessor of a run on a table.

        Raises:
            UserError: the run was trained on photos.
        """
        from logreg.data.preprocessing import Preprocessor

        if not isinstance(self.preprocessor, Preprocessor):
            raise UserError(f"run={self.directory}: this run was trained on photos, and a table is no photo.")
        return self.preprocessor

    @property
    def features(self) -> list[str]:
        """The names of the raw columns."""
        return self.preprocessor.raw_columns

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Probabilities of label 1, (rows,), for raw rows: the run's preprocessing is applied here.

        Args:
            rows: a polars or pandas frame that has the raw columns, in any order and among others; or numbers
                (rows, columns) in the order of ``features``; or a scipy sparse matrix where the run's table was sparse.
                Of a run on photos: a path, a Pillow image, an array (height, width, 3) of uint8, or several of them.

        Raises:
            UserError: columns are missing, or hold something else than in training; or a photo cannot be read.
        """
        import numpy as np
        import torch

        from logreg.data.frames import feature_blocks

        dtype = next(self.model.parameters()).dtype
        form = self.record.get("data", {}).get("form") or {}
        names = str(self.directory / PREPROCESSING)
        blocks = feature_blocks(rows, self.preprocessor, names, form.get("missing", ()), dtype)
        with torch.no_grad():
            found = [self.model(block).numpy() for block in blocks]
        return np.concatenate(found) if found else np.empty(0)

    def predict(self, rows: Any) -> np.ndarray:
        """Labels, (rows,), 0 or 1: 1 where the probability is at least the run's threshold."""
        return (self.predict_proba(rows) >= self.model.threshold).astype(int)


def read_history(directory: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.csv`` as numbers."""
    path = directory / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items() if value != ""} for row in csv.DictReader(file)]
    return [{key: int(value) if key in ("step", "epoch") else value for key, value in row.items()} for row in rows]


def load_run(directory: str | Path, checkpoint: str = "best", trusted_packages: Sequence[str] = ()) -> Run:
    """Load a run from its directory.

    Args:
        checkpoint: ``best`` or ``last``.
        trusted_packages: packages, besides the project's own, whose classes the run's configuration may name.

    Raises:
        UserError: the directory holds no run, no such checkpoint, or names a class outside the trusted packages; or the
            checkpoint is another than the one that was calibrated.
    """
    from logreg.build import build_metrics, build_network
    from logreg.calibration import from_record
    from logreg.classifier import BinaryClassifier
    from logreg.data.preprocessors import preprocessor_from_json

    directory = Path(directory)
    record = read_record(directory)
    path = directory / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.is_file():
        raise UserError(f"{directory} has no checkpoints/{checkpoint}.ckpt (its status is {record.get('status')}).")
    config = read_config(directory)
    content = read_checkpoint(path, key="checkpoint")
    state, calibration = content["state_dict"], from_record(record.get("calibration"))
    if calibration is not None and content["global_step"] != record["evaluated"]["updates"]:
        which = record["evaluated"]["checkpoint"]
        raise UserError(
            f"checkpoint={checkpoint}: calibration={calibration.method} was fitted to the other one; use "
            f"checkpoint={which}."
        )
    if not (directory / PREPROCESSING).is_file():
        raise UserError(f"{directory} has no {PREPROCESSING}: its data is of a kind that only its own code can read.")
    preprocessor = preprocessor_from_json((directory / PREPROCESSING).read_text(encoding="utf-8"))
    dtype = next(iter(state.values())).dtype
    network = build_network(config["model"], preprocessor.width, trusted_packages).to(dtype)
    metrics = build_metrics(config["metrics"], trusted_packages)
    objective = {key: config["penalty"].get(key, 0.0) for key in ("l1", "l2")}
    objective["loss"] = config.get("loss", "log_loss")  # which runs of an earlier version do not have
    model = BinaryClassifier(network, **objective, threshold=record["threshold"], metrics=metrics)
    model.load_state_dict(state)
    if calibration is not None:  # in float64, as when it was fitted
        model.calibration = calibration
        model.double()
    model.eval()
    model.requires_grad_(False)
    return Run(directory, config, record, record["metrics"], read_history(directory), model, preprocessor)


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
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{directory} has no {CONFIG}; it was not written by train.py.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from error
    return config
