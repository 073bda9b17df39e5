"""What a run says of itself in words, on the terminal, in TensorBoard and on its page; imports nothing heavy."""

from __future__ import annotations

from logreg.errors import plural
from logreg.report.calibration import ROWS, calibration_lines
from logreg.runs import RunRecord
from logreg.settings import is_finite


def ending(record: RunRecord) -> str:
    """How a run ended, and after how long."""
    words = f"{record.status} after {plural(record.updates, 'update')} ({plural(record.epochs, 'epoch')})"
    fit = record.seconds.get("fit")
    return f"{words} in {fit:.2f} s" if is_finite(fit) else words


def headline(record: RunRecord) -> str:
    """How a run ended, and which state its metrics are of."""
    state = "best checkpoint" if record.evaluated.get("checkpoint") == "best" else "last state"
    return f"{ending(record)}; metrics of the {state}, update {record.evaluated.get('updates', record.updates):,}"


def conclusions(record: RunRecord) -> list[str]:
    """What the metrics are worth: how sure they are, what calibration changed, how far the optimum is."""
    lines = [*held_out_lines(record), *calibration_lines(record.metrics, record.calibration)]
    if record.threshold_rule is not None:
        rule, value = record.threshold_rule["rule"], record.threshold_rule["value"]
        lines.append(f"threshold {record.threshold:.6g} by {rule} on validation rows ({value:.6g})")
    return lines if record.optimality is None else [*lines, record.optimality["sentence"]]


def held_out_lines(record: RunRecord) -> list[str]:
    """How far the accuracy may be from that on all rows there are, by those that were held out the longest."""
    if not record.intervals:
        return []
    name, found = list(record.intervals.items())[-1]
    rows = ROWS[name.partition("/")[0]]
    low, high, percent = found["low"], found["high"], 100 * found["confidence"]
    chose = rows == ROWS["val"] and record.evaluated.get("checkpoint") == "best"
    return [
        f"accuracy on {found['rows']:,} {rows} rows{', which chose the checkpoint' if chose else ''}: "
        f"{record.metrics[name]:.4f}, {percent:g} % interval {low:.4f} to {high:.4f}; the commoner label alone would "
        f"get {found['majority']:.4f}"
    ]
