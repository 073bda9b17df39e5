"""What an evaluation on a labelled table prints."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from logreg.core.errors import plural
from logreg.records.record import shown
from logreg.report.terminal.sentences import brier_lines, is_part
from logreg.report.terminal.tables import numeric, say
from logreg.runs.evaluate import NewRowsEvaluation


def show(result: NewRowsEvaluation, labels: tuple[str, str], path: Path, console: Console, noun: str = "row") -> None:
    """The metrics with their intervals and the baseline, the confusion matrix, the file."""
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


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
