"""What the page of a run says in words and numbers, from its ``run.json`` and ``config.json``."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from logreg.core.errors import UserError, plural
from logreg.core.numbers import is_finite
from logreg.core.settings import Settings
from logreg.data.splits import SPLIT_NAMES
from logreg.records.record import COEFFICIENTS, RunRecord, splits_of
from logreg.report.page.numbers import spoken_seconds
from logreg.report.page.tables import PagedTable, bounded, numbers, texts
from logreg.report.terminal.sentences import conclusions, is_part

if TYPE_CHECKING:
    from logreg.data.datamodule import BlockData
    from logreg.optim.losses import Loss

MOST_COEFFICIENTS = 2_000  # rows of the table, the largest
MOST_CONFIG = 40_000  # characters
DECIMALS = 6  # of coefficients, whose sizes in raw units have nothing to do with each other
TILES = ("accuracy", "auroc", "log_loss", "brier")
SPOKEN = {
    "accuracy": "Accuracy", "auroc": "AUROC", "log_loss": "Log loss", "brier": "Brier score", "loss": "Loss",
    "f1": "F1", "average_precision": "Average precision", "calibration_error": "Calibration error",
}  # fmt: skip
STATISTICS = {
    "observations": "Observations", "parameters": "Coefficients", "log_likelihood": "Log-likelihood",
    "null_log_likelihood": "Null log-likelihood", "deviance": "Deviance", "mcfadden_r2": "McFadden's R²",
    "aic": "AIC", "bic": "BIC", "likelihood_ratio": "LR chi²", "likelihood_ratio_p": "LR p-value",
}  # fmt: skip


def spoken(metric: str) -> str:
    """A metric's name as a reader knows it."""
    return SPOKEN.get(metric, metric)


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
        rate = _rate(split, counts, data) if data is not None or weights is None else None
        if split == "train" and record.data.get("class_weight") is not None:
            continue  # the training metrics are of weighted labels
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


def _rate(split: str, counts: Mapping[str, Sequence[int]], data: BlockData | None) -> float | None:
    """The share of label 1 among the rows of a split, by their weights."""
    weight = None if data is None else data.own_weights(split)
    if data is not None and weight is not None and len(weight):
        return float(weight @ data.labels_of(split) / weight.sum())
    rows = counts.get(split) or (0, 0)
    return rows[1] / sum(rows) if sum(rows) else None


@dataclass(frozen=True)
class MetricRow:
    """One metric over the splits: the value, that of the majority class, and that of the linear baseline, by split."""

    name: str
    values: list[float | None]
    baselines: list[float | None]
    linear: float | None


def metric_rows(record: RunRecord, baseline: Mapping[str, float]) -> list[MetricRow]:
    """A row for each metric of the record but the parts of Brier scores."""
    splits, linear = splits_of(record.metrics), {} if record.baseline is None else record.baseline.metrics
    names = dict.fromkeys(full.partition("/")[2] for full in record.metrics if not is_part(full))
    return [
        MetricRow(
            name,
            [record.metrics.get(f"{split}/{name}") for split in splits],
            [baseline.get(f"{split}/{name}") for split in splits],
            linear.get(f"{splits[-1]}/{name}"),
        )
        for name in names
    ]


def tiles(record: RunRecord, baseline: Mapping[str, float]) -> list[dict[str, object]]:
    """The few numbers that a reader looks for first, of the rows that were held out the longest."""
    if not record.metrics:
        return []
    split = splits_of(record.metrics)[-1]
    return [
        {
            "name": f"{spoken(name)}, {SPLIT_NAMES.get(split, split)}",
            "metric": full,
            "value": record.metrics[full],
            "baseline": baseline.get(full),
            "interval": record.intervals.get(full),
        }
        for name in TILES
        if (full := f"{split}/{name}") in record.metrics
    ]


def statistics(record: RunRecord) -> list[tuple[str, object]]:
    """How well a fit with standard errors fits."""
    inference = record.inference or {}
    if "method" not in inference:
        return []
    values = [(title, inference[key]) for key, title in STATISTICS.items() if inference.get(key) is not None]
    return [("Intervals", inference["method"]), ("Covariance", inference["covariance"]), *values]


def read_coefficients(directory: Path) -> list[dict[str, str]]:
    """The rows of ``coefficients.csv``; none where there is no such file."""
    try:
        with (directory / COEFFICIENTS).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    return [row for row in rows if row.get("feature") and as_number(row.get("coefficient_standardised")) is not None]


def as_number(text: str | None) -> float | None:
    """A cell as a number, which may be infinite; None for an empty one."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return None if math.isnan(value) else value


def name_of(row: Mapping[str, str]) -> str:
    return f"{row['feature']}={row['level']}" if row.get("level") else row["feature"]


def coefficient_table(rows: Sequence[Mapping[str, str]], total: int) -> PagedTable:
    """The intercept and the features, the largest standardised coefficient first.

    Args:
        total: rows of the file; ``rows`` may be fewer.
    """

    def column(key: str) -> list[float | None]:
        return [as_number(row.get(key)) for row in rows]

    raw, standardised = column("coefficient"), column("coefficient_standardised")
    columns = [texts("feature", [name_of(row) for row in rows]), numbers("coefficient", raw, DECIMALS)]
    if raw != standardised:
        columns.append(numbers("standardised", standardised, DECIMALS))
    titles = {"standard_error": "std. error", "z": "z", "p": "p", "lower": "lower", "upper": "upper"}
    for key, title in (titles | {"odds_ratio": "odds ratio"}).items():
        values = column(key)
        if any(value is not None for value in values):
            columns.append(numbers(title, values, {"z": 2, "p": 3}.get(key)))
    return PagedTable("coefficients", columns, COEFFICIENTS, page=20)


def configuration_text(config: Mapping[str, object]) -> str:
    """The configuration as a text of bounded length, a key a line."""
    lines = [f"{key}: {bounded(value, 400)}" for key, value in flat(config)]
    text = "\n".join(lines)
    return text if len(text) <= MOST_CONFIG else f"{text[:MOST_CONFIG]}\n… the rest is in config.json"


def flat(node: object, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings by dotted keys, the values as JSON."""
    if isinstance(node, Mapping) and node:
        return [pair for key, value in node.items() for pair in flat(value, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, node if isinstance(node, str) else json.dumps(node, ensure_ascii=False))]


def provenance(record: RunRecord) -> list[tuple[str, str]]:
    """Where a result comes from: device, data, code, versions."""
    git, data, seconds = record.git or {}, record.data, record.seconds.get("total")
    pairs = [
        ("device", record.device),
        ("time in all", spoken_seconds(seconds) if is_finite(seconds) else ""),
        ("tags", ", ".join(record.tags)),
        ("resumed from", record.resumed_from or ""),
        ("git", f"{git.get('commit', '')}{', with changes' if git.get('dirty') else ''}"),
        ("data", str(data.get("path") or "")),
        ("digest of the data", str(data.get("fingerprint") or "")),
        *((name, str(version)) for name, version in record.versions.items()),
    ]
    return [(key, bounded(str(value), 400)) for key, value in pairs if value]
