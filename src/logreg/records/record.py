"""The run directory: the names of its files, and its record, ``run.json``."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from logreg.core.components import renamed
from logreg.core.errors import Diverged, UserError
from logreg.core.files import write_atomically
from logreg.core.json_object import JsonObject
from logreg.core.optimizer_traits import AutoChoice
from logreg.core.provenance import git_state
from logreg.core.settings import Settings

if TYPE_CHECKING:
    import polars as pl

RECORD = "run.json"
PREPROCESSING = "preprocessing.json"
COEFFICIENTS = "coefficients.csv"
LESSON = "lesson.json"
LESSON_FIGURES = "lesson_"  # how the names of its figures begin
MARGINAL_EFFECTS = "marginal_effects.csv"
CONFIG = "config.json"
Json = dict[str, Any]  # an object of a file whose keys are not all known here
STATUSES = ("running", "completed", "failed", "diverged", "interrupted")


@dataclass(frozen=True, eq=False)
class Monitor(JsonObject):
    """The metric that jobs are ranked and checkpoints are chosen by, and whether its ``min`` or its ``max`` is best."""

    metric: str = ""
    mode: str = "min"

    @property
    def sign(self) -> int:
        """1 where less of the metric is better, -1 where more is."""
        return 1 if self.mode == "min" else -1


@dataclass(frozen=True, eq=False)
class Evaluated(JsonObject):
    """Which state the metrics belong to, ``best`` or ``last``, and the updates it had seen."""

    checkpoint: str = ""
    updates: int | None = None


@dataclass(frozen=True, eq=False)
class AccuracyInterval(JsonObject):
    """How far an accuracy on held-out rows may be off, and what the commoner label alone would get."""

    low: float
    high: float
    confidence: float
    rows: int
    majority: float


@dataclass(frozen=True, eq=False)
class Baseline(JsonObject):
    """The linear classifier on the same rows; see `logreg.training.baseline`."""

    model: str = ""
    l2: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, AccuracyInterval] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ChosenThreshold(JsonObject):
    """The rule that chose the threshold, and what it gave on those ``rows``."""

    rule: str
    value: float
    rows: str = "val"


@dataclass(frozen=True, eq=False)
class Certificate(JsonObject):
    """How far a linear classifier is from the best coefficients; see `logreg.evaluation.coefficients.optimality`."""

    sentence: str  # the others in one plain line
    objective: float | None = None  # F at the coefficients of the run
    gradient_norm: float | None = None  # Euclidean; of the subgradient nearest to zero under an l1 penalty
    gap: float | None = None  # how far F is above its least value: a bound, or an estimate
    relative_gap: float | None = None  # the same over the least value that it leaves possible
    method: str | None = None  # of the gap: ``duality gap``, ``half squared Newton decrement`` or ``separation``
    converged: bool | None = None  # whether no metric shows the relative gap; False where no coefficients are the best
    separation: dict[str, object] | None = None  # see `logreg.evaluation.coefficients.separation`
    penalised: bool = False  # whether a penalty makes one choice of coefficients the best, whatever the labels
    remedy: str = ""  # what would lead nearer to the optimum
    remark: str | None = None  # where no separation was looked for; see `logreg.evaluation.coefficients.flatness`


@dataclass(eq=False)
class RunRecord(JsonObject):
    """What ``run.json`` holds; keys are added over time, never renamed.

    Attributes:
        status: one of `STATUSES`.
        error: None, or one sentence.
        overrides: the command-line overrides of the run.
        metrics: final values by name, ``train/loss``, ``val/…``, ``test/…``: of the best checkpoint where there are
            validation rows, of the last state otherwise. One that is not finite is null in the file, and not read.
        updates: optimizer steps made.
        epochs: whole passes over the training rows.
        tags: words to find the run by.
        seconds: ``fit`` and ``total``.
        data: what the DataModule says of itself: ``rows`` per split, ``features``, ``fingerprint`` of the source, …
        hyperparameters: the settings that TensorBoard's HParams tab shows.
        threshold_rule: how the threshold was chosen, where it was not given.
        calibration: the map from logits to probabilities that was fitted on ``rows`` validation rows, and what held-out
            rows gave ``uncalibrated``; see `logreg.evaluation.calibration`.
        inference: how well a linear classifier fits, see `logreg.evaluation.coefficients.estimates.FitStatistics`; or
            why it has no standard errors, ``refused``.
        intervals: of accuracies on held-out rows; see `logreg.evaluation.reliability`.
        baseline: None where it was not asked for.
    """

    status: str = "running"
    error: str | None = None
    overrides: list[str] = field(default_factory=list)
    name: str = ""
    seed: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    monitor: Monitor = field(default_factory=Monitor)
    threshold: float = 0.5
    threshold_rule: ChosenThreshold | None = None
    updates: int = 0
    epochs: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    data: Json = field(default_factory=dict)
    evaluated: Evaluated = field(default_factory=Evaluated)
    device: str = ""
    resumed_from: str | None = None
    started: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    git: dict[str, object] | None = None
    hyperparameters: dict[str, object] = field(default_factory=dict)
    optimality: Certificate | None = None
    optimizer: AutoChoice | None = None
    calibration: Json | None = None
    inference: dict[str, object] | None = None
    intervals: dict[str, AccuracyInterval] = field(default_factory=dict)
    baseline: Baseline | None = None
    tags: list[str] = field(default_factory=list)

    @classmethod
    def begun(cls, overrides: Sequence[str], started: str | None = None) -> Self:
        """The record of a run that begins now, or began at ``started``."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(overrides=list(overrides), started=started or now, git=git_state())

    def end(self, status: str, error: str | None = None) -> None:
        """Say how the run ended; of the two common ways to fall short, in the same words everywhere."""
        usual = {"diverged": f"{Diverged(self.updates)}.", "interrupted": "stopped by a signal; it can be resumed."}
        self.status, self.error = status, error or usual.get(status)

    @property
    def rows(self) -> dict[str, int]:
        """How many rows each split has; empty where the data does not say."""
        rows = self.data.get("rows")
        return rows if isinstance(rows, dict) else {}

    @property
    def fingerprint(self) -> str | None:
        """Of the data; None where it has none."""
        return self.data.get("fingerprint")

    @property
    def checkpoint(self) -> str:
        """The checkpoint that the metrics belong to, ``best`` or ``last``."""
        return self.evaluated.checkpoint or "best"

    @property
    def evaluated_updates(self) -> int:
        """The updates that the state had seen which the metrics belong to."""
        return self.updates if self.evaluated.updates is None else self.evaluated.updates

    @property
    def score(self) -> float | None:
        """The monitored metric, where there is one."""
        return self.metrics.get(self.monitor.metric)

    def write(self, directory: Path) -> None:
        """Write ``run.json`` atomically: a reader sees the old one or the new one, never a part."""
        content = dict(self)
        for key, unknown in (("monitor", Monitor()), ("evaluated", Evaluated())):
            content[key] = {} if content[key] == unknown else content[key]
        if self.optimality is not None and self.optimality.objective is None:
            content["optimality"] = {"sentence": self.optimality.sentence}  # the rest is not known
        _write(directory, content)


def _write(directory: Path, content: Mapping[str, object]) -> None:
    write_atomically(directory / RECORD, json.dumps(finite(content), indent=2, ensure_ascii=False) + "\n")


def change_record(directory: Path, change: Callable[[Json], Json]) -> None:
    """Replace values of a ``run.json``; all others stay as they are, also those that this version does not know.

    Args:
        change: from the content of the file to the new values by key.
    """
    content = _content(directory)
    _write(directory, content | change(content))


def splits_of(metrics: Mapping[str, float]) -> list[str]:
    """The splits that metrics are about, in their order."""
    return list(dict.fromkeys(name.partition("/")[0] for name in metrics))


def finite(value: object) -> object:
    """The same with null for numbers that JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def read_record(directory: Path) -> RunRecord:
    """The record of a run; keys that this version does not know are ignored.

    Raises:
        UserError: there is none, or it is not JSON.
    """
    record = RunRecord.from_json(_content(directory))
    assert record is not None  # as every field has a default
    return record


def _content(directory: Path) -> Json:
    return _read_json(directory / RECORD, "record", f"{directory} is not a run directory: it has no {RECORD}.")


def _read_json(path: Path, noun: str, missing: str) -> Json:
    """The object in a JSON file; raises UserError, ``missing`` where there is no file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(missing) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not the {noun} of a run.")
    return content


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


def read_coefficients(directory: Path) -> pl.DataFrame:
    """The rows of ``coefficients.csv``, the intercept first: a ``name`` each, the feature with its level, and numbers.

    A cell that is empty or no number is null, and a row without a standardised coefficient is left out. Without such a
    file, or where it cannot be read, there are no rows.
    """
    import polars as pl

    try:
        cells = pl.read_csv(directory / COEFFICIENTS, infer_schema=False)
        name = pl.concat_str("feature", pl.lit("=") + pl.col("level"), ignore_nulls=True)
        values = pl.exclude("feature", "level").cast(pl.Float64, strict=False).fill_nan(None)
        return cells.select(name.alias("name"), values).drop_nulls("coefficient_standardised")
    except (OSError, pl.exceptions.PolarsError):
        return pl.DataFrame()


def read_config(directory: Path) -> Json:
    """The resolved configuration of a run, its classes by today's names.

    Raises:
        UserError: the run ended before it had one, or the file cannot be read.
    """
    missing = f"{directory} has no {CONFIG}; it was not written by train.py."
    config: Json = renamed(_read_json(directory / CONFIG, "configuration", missing))
    return config


def known_config(directory: Path) -> Json:
    """The configuration of a run as it stands in its file; empty where there is none that can be read."""
    with contextlib.suppress(UserError):
        return read_config(directory)
    return {}


def write_settings(directory: Path, settings: Settings) -> None:
    """Write ``config.json``."""
    text = json.dumps(settings.as_config(), indent=2, ensure_ascii=False)
    write_atomically(directory / CONFIG, text + "\n")


def read_settings(directory: Path) -> Settings:
    """The settings of a run; those that its version did not know have their defaults.

    Raises:
        UserError: the run ended before it had them, or the file cannot be read.
    """
    return Settings.of(read_config(directory))


def known_settings(directory: Path) -> Settings | None:
    """The settings of a run; None where it ended before it had them."""
    with contextlib.suppress(UserError):
        return read_settings(directory)
    return None
