"""The page of one run: what was run, what came out, how good that is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from logreg.core.errors import UserError, plural
from logreg.core.numbers import is_finite
from logreg.core.settings import Settings
from logreg.data.features import is_of_photos
from logreg.data.splits import SPLIT_NAMES
from logreg.records.jobs import rerun_command
from logreg.records.record import (
    COEFFICIENTS,
    PREPROCESSING,
    RunRecord,
    known_config,
    known_settings,
    read_coefficients,
    read_record,
    shown,
    splits_of,
)
from logreg.report.figures.theme import page_colors
from logreg.report.page import run_charts
from logreg.report.page.charts import Chart, lesson_of
from logreg.report.page.render import render
from logreg.report.page.tables import PagedTable, bounded, numbers, texts
from logreg.report.terminal.sentences import conclusions, ending, headline, metric_names, spoken

if TYPE_CHECKING:
    from logreg.data.datamodule import BlockData
    from logreg.optim.losses import Loss
    from logreg.runs.load import Run

NOTHING_HELD_OUT = (
    "No rows were held out: how well the probabilities do on rows that training did not see cannot be drawn, so there "
    "are no ROC, precision-recall and reliability figures."
)
LONGEST = 20_000  # characters of a command or an error
MOST_COEFFICIENTS = 2_000  # rows of the table, the largest
MOST_CONFIG = 40_000  # characters
DECIMALS = 6  # of coefficients, whose sizes in raw units have nothing to do with each other
TILES = ("accuracy", "auroc", "log_loss", "brier")  # that a reader looks for first
STATISTICS = {
    "observations": "Observations", "parameters": "Coefficients", "log_likelihood": "Log-likelihood",
    "null_log_likelihood": "Null log-likelihood", "deviance": "Deviance", "mcfadden_r2": "McFadden's R²",
    "aic": "AIC", "bic": "BIC", "likelihood_ratio": "LR chi²", "likelihood_ratio_p": "LR p-value",
}  # fmt: skip
ERRORS = {  # the columns of standard errors: their titles and decimals
    "standard_error": ("std. error", None), "z": ("z", 2), "p": ("p", 3), "lower": ("lower", None),
    "upper": ("upper", None), "odds_ratio": ("odds ratio", None),
}  # fmt: skip


@dataclass(frozen=True)
class ReloadedRun:
    """A run in the state that its metrics belong to, with the data that it was trained on, or why there is none.

    Attributes:
        run: None where it was not loaded.
        data: the run's DataModule; None where it was not loaded.
        why: one sentence for the page; empty where all is there, or nothing was to be loaded.
    """

    run: Run | None = None
    data: BlockData | None = None
    why: str = ""


def run_page(directory: Path, loaded: ReloadedRun, trusted: Sequence[str] = ()) -> str:
    """The HTML of a run's page.

    Args:
        directory: of the run.
        loaded: to draw its predictions of held-out rows again; the figures in the directory are shown otherwise.

    Raises:
        UserError: there is no run.
    """
    record, settings = read_record(directory), known_settings(directory)
    baseline = majority(record, settings, loaded.data, trusted) if record.metrics else {}
    figures, notes = _figures(directory, record, loaded)
    titles, splits = {figure.title for figure in figures}, splits_of(record.metrics)
    if splits == ["train"] and titles and run_charts.TITLES["roc"] not in titles:
        notes.append(NOTHING_HELD_OUT)
    names, linear = metric_names(record.metrics), {} if record.baseline is None else record.baseline.metrics
    config = "\n".join(f"{key}: {bounded(value, 400)}" for key, value in flat(known_config(directory)))
    if len(config) > MOST_CONFIG:
        config = f"{config[:MOST_CONFIG]}\n… the rest is in config.json"
    # The settings that TensorBoard shows of a run, without those that are not set.
    given = {key: value for key, value in record.hyperparameters.items() if value not in (None, "null")}
    values: dict[str, object] = {
        "record": record,
        "error": bounded(str(record.error or ""), LONGEST),
        "outcome": headline(record) if record.metrics else ending(record),
        "rows": rows_line(record),
        "splits": {split: SPLIT_NAMES.get(split, split) for split in splits},
        "tiles": {name: spoken(name) for name in TILES if splits and f"{splits[-1]}/{name}" in record.metrics},
        "truths": truths(record),
        "metrics": names,
        "linear": {name: linear[full] for name in names if (full := f"{splits[-1]}/{name}") in linear},
        "baseline": baseline,
        "loss": trained_on(settings).name,
        "curves": run_charts.curve_charts(directory, record),
        "figures": figures,
        "notes": notes,
        "lesson": lesson_of(directory),
        "statistics": STATISTICS,
        "settings": [(k, f"{v:.6g}" if isinstance(v, float) else bounded(str(v), 400)) for k, v in given.items()],
        "provenance": provenance(record),
        "configuration": config,
        "command": bounded(rerun_command(record.overrides), LONGEST),
        "directory": shown(directory),
    }
    return render("run.html", values | _coefficients(directory))


def _figures(directory: Path, record: RunRecord, loaded: ReloadedRun) -> tuple[list[Chart], list[str]]:
    notes = [loaded.why] if loaded.why else []
    if loaded.run is not None and loaded.data is not None and record.metrics:
        from logreg.report.run import draw

        try:
            with page_colors():
                drawings = draw(loaded.run.model, loaded.data, splits_of(record.metrics), on_page=True)
                return run_charts.held_out_charts(drawings), notes
        except Exception as error:  # whatever a model or data of the user's own may raise: the rest of the page stands
            notes.append(f"The predictions could not be drawn ({type(error).__name__}: {error}).")
    files = run_charts.figure_files(directory)
    if files and notes:
        notes.append("The figures are those that the run drew when it ended.")
    return files, notes


def _coefficients(directory: Path) -> dict[str, object]:
    """Table and chart of the coefficients, the largest first, and how many small ones the table leaves out."""
    # a pixel of a photo by itself says nothing
    rows = pl.DataFrame() if is_of_photos(directory / PREPROCESSING) else read_coefficients(directory)
    if len(rows) < 2:
        return {"coefficients": None, "forest": None, "left_out": 0}
    sizes = rows[1:]["coefficient_standardised"].abs().to_numpy()
    features = rows[1:][np.argsort(-sizes, kind="stable")]
    left_out = max(0, len(features) - MOST_COEFFICIENTS)
    rows = pl.concat([rows[:1], features[:MOST_COEFFICIENTS]])
    columns = [texts("feature", rows["name"]), numbers("coefficient", rows["coefficient"], DECIMALS)]
    if not rows["coefficient"].equals(rows["coefficient_standardised"]):
        columns.append(numbers("standardised", rows["coefficient_standardised"], DECIMALS))
    for key, (title, decimals) in ERRORS.items():
        if key in rows.columns and rows[key].null_count() < len(rows):
            columns.append(numbers(title, rows[key], decimals))
    table = PagedTable("coefficients", columns, COEFFICIENTS, page=20)
    return {"coefficients": table, "forest": run_charts.forest(features), "left_out": left_out}


def rows_line(record: RunRecord) -> str:
    """How many rows there are for what."""
    rows = {name: count for name, count in record.rows.items() if count}
    if not rows:
        return ""
    parts = ", ".join(f"{count:,} {SPLIT_NAMES.get(name, name)}" for name, count in rows.items())
    features = record.data.get("features")
    return f"{sum(rows.values()):,} rows ({parts})" + (f", {plural(features, 'feature')}" if features else "")


def truths(record: RunRecord) -> list[str]:
    """What the terminal's summary says of how good the result is, a sentence each."""
    lines = []
    if record.optimizer is not None:
        lines.append(f"optimizer=auto is {record.optimizer.name}: {record.optimizer.why}")
    lines += conclusions(record) if record.metrics else []
    if record.calibration is not None and record.optimality is not None:
        lines.append("W and b are those of the model, before calibration")
    refused = (record.inference or {}).get("refused")
    lines += [str(refused)] if refused and refused not in lines else []
    return [*lines, *(str(warning) for warning in record.data.get("warnings") or ())]


def majority(
    record: RunRecord, settings: Settings | None, data: BlockData | None = None, trusted: Sequence[str] = ()
) -> dict[str, float]:
    """The metrics of the classifier that knows only how common the labels are among the training rows, by name.

    Args:
        data: the run's DataModule; without it only the accuracies of weighted rows are known.
    """
    from logreg.core.build import build_metrics
    from logreg.evaluation.bootstrap import majority_baseline

    counts, weights = record.data.get("label_counts") or {}, record.data.get("label_weights")
    train = weights or counts.get("train")
    if not train or not sum(train):
        return {}
    share = train[1] / sum(train)
    share = math.nextafter(0.5, 0) if share == 0.5 else share  # of equally common labels 0 is taken, as in `held_out`
    try:
        metrics = build_metrics(settings.metrics if settings else {}, trusted)
    except UserError:
        metrics = {}
    of_majority: dict[str, float] = {}
    for split in splits_of(record.metrics):
        if split == "train" and record.data.get("class_weight") is not None:
            continue  # the training metrics are of weighted labels
        rate = None  # the share of label 1 among the rows of the split, by their weights
        own = None if data is None else data.own_weights(split)
        if data is not None and own is not None and len(own):
            rate = float(own @ data.labels_of(split) / own.sum())
        elif (data is not None or weights is None) and sum(labels := counts.get(split, (0, 0))):
            rate = labels[1] / sum(labels)
        if rate is None:
            known = record.intervals.get(f"{split}/accuracy")
            of_majority |= {f"{split}/accuracy": known.majority} if known else {}
            continue
        values = majority_baseline(metrics, share, rate, trained_on(settings))
        values |= {"accuracy": rate if share >= 0.5 else 1 - rate}
        values = {name: 0.0 if abs(value) < 1e-12 else value for name, value in values.items()}
        left_out = ("loss",) if split == "train" else ()  # the objective has a penalty
        of_majority |= {f"{split}/{name}": value for name, value in values.items() if name not in left_out}
    return of_majority


def trained_on(settings: Settings | None) -> Loss:
    """The loss that a run minimised; the log loss where its configuration does not say."""
    from logreg.optim.losses import LOG_LOSS, loss_of

    try:
        return loss_of(settings.loss) if settings else LOG_LOSS
    except UserError:
        return LOG_LOSS


def flat(node: object, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings by dotted keys, the values as JSON."""
    if isinstance(node, Mapping) and node:
        return [pair for key, value in node.items() for pair in flat(value, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, node if isinstance(node, str) else json.dumps(node, ensure_ascii=False))]


def provenance(record: RunRecord) -> list[tuple[str, str]]:
    """Where a result comes from: device, data, code, versions."""
    git, data = record.git or {}, record.data
    pairs = [
        ("device", record.device),
        ("time in all", spoken_seconds(record.seconds.get("total"))),
        ("tags", ", ".join(record.tags)),
        ("resumed from", record.resumed_from or ""),
        ("git", f"{git.get('commit', '')}{', with changes' if git.get('dirty') else ''}"),
        ("data", str(data.get("path") or "")),
        ("digest of the data", str(data.get("fingerprint") or "")),
        *((name, str(version)) for name, version in record.versions.items()),
    ]
    return [(key, bounded(str(value), 400)) for key, value in pairs if value]


def spoken_seconds(seconds: object) -> str:
    """A duration as people say it; empty where it is not known."""
    if not is_finite(seconds):
        return ""
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
