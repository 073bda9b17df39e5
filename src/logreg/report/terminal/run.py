"""What a run and an evaluation print when they are over."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from logreg.core.errors import plural
from logreg.data.images.data import ImageData
from logreg.data.tables.in_memory import InMemoryData
from logreg.evaluation.coefficients.estimates import Inference, NoInference
from logreg.records.record import Baseline, RunRecord, shown, splits_of
from logreg.report.terminal.coefficients import Coefficients
from logreg.report.terminal.inference import show_inference
from logreg.report.terminal.sentences import brier_lines, conclusions, headline, is_part, metric_names
from logreg.report.terminal.tables import numeric, say
from logreg.training.classifier import BinaryClassifier

if TYPE_CHECKING:
    from logreg.runs.evaluate import NewRowsEvaluation

MOST_ROWS = 20  # a table of more rows is not printed row by row
MOST_COEFFICIENTS = 10


def show(
    record: RunRecord,
    classifier: BinaryClassifier,
    data: object,
    coefficients: Coefficients | None,
    directory: Path,
    console: Console,
    inference: Inference | NoInference | None = None,
) -> None:
    """Final metrics, learned coefficients, predictions of a small table, and where to look next."""
    say(console, headline(record))
    if record.metrics:
        header, *rows = metric_rows(record.metrics, record.baseline)
        console.print(numeric(*header, rows=rows))
        say(console, *conclusions(record))
        if record.calibration is not None and coefficients is not None:
            console.print("W and b are those of the model, before calibration", highlight=False)
        if isinstance(inference, NoInference) and inference.is_news:
            say(console, inference.sentence)
        if isinstance(inference, Inference) and coefficients is not None:
            show_inference(inference, coefficients, console, MOST_COEFFICIENTS)
        elif not isinstance(data, ImageData):  # a pixel by itself says nothing; figures/filters.png shows them all
            _show_coefficients(coefficients, console)
        if isinstance(data, InMemoryData):
            _predictions(classifier, data, console)
    here = shown(directory)
    say(console, f"run directory: {here}", f"look at it:    tensorboard --logdir {here}")


def show_briefly(record: RunRecord, console: Console) -> None:
    """A line for a job of a sweep."""
    score = "" if record.score is None else f", {record.monitor.metric} = {record.score:.6g}"
    console.print(f"\t{record.status} after {plural(record.updates, 'update')}{score}", highlight=False, soft_wrap=True)


def metric_rows(metrics: dict[str, float], baseline: Baseline | None = None) -> list[list[str]]:
    """A header, then a row per metric, a column per split; of a linear baseline the split held out the longest."""
    splits = splits_of(metrics)
    linear = {} if baseline is None else baseline.metrics
    rows = [["metric", *splits, *([f"linear, {splits[-1]}"] if linear else [])]]
    for name in metric_names(metrics):
        cells = [metrics.get(f"{split}/{name}") for split in splits]
        cells += [linear.get(f"{splits[-1]}/{name}")] if linear else []
        rows.append([name, *map(_cell, cells)])
    return rows


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def comparison_table(recorded: dict[str, float], metrics: dict[str, float]) -> Table:
    """Recomputed metrics beside the recorded ones."""
    table = Table("metric", "recomputed", "recorded")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.9f}", f"{recorded[name]:.9f}" if name in recorded else "")
    return table


def show_evaluation(
    result: NewRowsEvaluation, labels: tuple[str, str], path: Path, console: Console, noun: str = "row"
) -> None:
    """The metrics of an evaluation with their intervals and the baseline, the confusion matrix, the file."""
    zeros, ones = result.data["labels"]
    title = f"{plural(result.data['rows'], noun)}: {zeros:,} of {labels[0]} (0), {ones:,} of {labels[1]} (1)"
    if result.data["weight"]:
        title += f"; the metrics are weighted by {result.data['weight']}, the counts are of rows"
    if not (zeros and ones):
        title += "; what needs both labels has no value"
    percent = f"{100 * result.confidence:g} % interval"
    table = numeric("metric", "value", percent, "majority class", title=escape(title))
    for name, value in result.metrics.items():
        if name == "loss" or is_part(name):  # the log loss under the name that checkpoints watch; a line says the parts
            continue
        low, high = result.intervals.get(name, (None, None))
        interval = "" if low is None or high is None else f"{low:.6f} to {high:.6f}"
        table.add_row(name, _cell(value), interval, _cell(result.baseline.get(name)))
    console.print(table)
    if result.calibration is not None:
        console.print(f"the probabilities are calibrated, calibration={result.calibration}", highlight=False)
    say(console, *brier_lines(result.metrics, f"these {result.data['rows']:,}"))
    predicted = (f"predicted {label}" for label in labels)
    confusion = Table("", *predicted, title=f"at threshold {result.threshold:g}", title_justify="left")
    counts = result.confusion
    confusion.add_row(f"is {labels[0]}", f"{counts['true_negative']:,}", f"{counts['false_positive']:,}")
    confusion.add_row(f"is {labels[1]}", f"{counts['false_negative']:,}", f"{counts['true_positive']:,}")
    console.print(confusion)
    say(console, f"evaluation: {shown(path)}")


def _show_coefficients(rows: Coefficients | None, console: Console) -> None:
    if rows is None:
        return
    shown = 2 if rows.differ else 1
    table = numeric("column", *("W", "W, standardised")[:shown], title="learned W and b")
    top = rows.largest(MOST_COEFFICIENTS)
    for row in map(rows.__getitem__, top):
        table.add_row(escape(row.name), *map(_number, rows.values(row)[:shown]))
    if len(top) < len(rows) - 1:
        table.add_row(f"… {len(rows) - 1 - len(top)} smaller ones")
    table.add_row("b (intercept)", *map(_number, rows.values(rows[0])[:shown]))
    console.print(table)


def _number(value: float) -> str:
    if math.isinf(value):
        return f"{value:+}"
    return f"{value:.6f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.4g}"


def _predictions(classifier: BinaryClassifier, data: InMemoryData, console: Console) -> None:
    raw = data.source.x
    if len(raw) > MOST_ROWS:
        return
    x = torch.as_tensor(data.preprocessor.transform_numbers(raw), dtype=data.dtype, device=classifier.device)
    with torch.no_grad():
        p = classifier(x).cpu()
        predicted = classifier.evaluation.predictions(classifier.logits(x).cpu())
    table = Table(*data.source.features, "label", "probability", "prediction")
    for row, label, probability, positive in zip(
        raw.tolist(), data.source.y.tolist(), p.tolist(), predicted.tolist(), strict=True
    ):
        table.add_row(*(f"{value:g}" for value in row), str(label), f"{probability:.4e}", str(positive))
    console.print(table)
