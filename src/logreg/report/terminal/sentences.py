"""What a run says of itself in words, on the terminal, in TensorBoard and on its page; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from logreg.core.errors import plural
from logreg.core.numbers import is_finite
from logreg.data.splits import SPLIT_NAMES, SPLITS
from logreg.evaluation.reliability import CALIBRATED, PARTS
from logreg.records.record import RunRecord, splits_of


def ending(record: RunRecord) -> str:
    """How a run ended, and after how long."""
    words = f"{record.status} after {plural(record.updates, 'update')} ({plural(record.epochs, 'epoch')})"
    fit = record.seconds.get("fit")
    return f"{words} in {fit:.2f} s" if is_finite(fit) else words


def headline(record: RunRecord) -> str:
    """How a run ended, and which state its metrics are of."""
    state = "best checkpoint" if record.evaluated.checkpoint == "best" else "last state"
    return f"{ending(record)}; metrics of the {state}, update {record.evaluated_updates:,}"


def conclusions(record: RunRecord) -> list[str]:
    """What the metrics are worth: how sure they are, what calibration changed, how far the optimum is."""
    lines = [*held_out_lines(record), *calibration_lines(record.metrics, record.calibration)]
    if record.threshold_rule is not None:
        rule = record.threshold_rule
        lines.append(f"threshold {record.threshold:.6g} by {rule.rule} on validation rows ({rule.value:.6g})")
    return lines if record.optimality is None else [*lines, record.optimality.sentence]


def held_out_lines(record: RunRecord) -> list[str]:
    """How far the accuracy may be from that on all rows there are, by those that were held out the longest."""
    if not record.intervals:
        return []
    name, interval = list(record.intervals.items())[-1]
    rows = ROWS[name.partition("/")[0]]
    chose = rows == ROWS["val"] and record.evaluated.checkpoint == "best"
    return [
        f"accuracy on {interval.rows:,} {rows} rows{', which chose the checkpoint' if chose else ''}: "
        f"{record.metrics[name]:.4f}, {100 * interval.confidence:g} % interval {interval.low:.4f} to "
        f"{interval.high:.4f}; the commoner label alone would get {interval.majority:.4f}"
    ]


SPOKEN = {
    "accuracy": "accuracy", "auroc": "AUROC", "log_loss": "log loss", "brier": "Brier score", "loss": "loss",
    "f1": "F1", "average_precision": "average precision", "calibration_error": "calibration error",
}  # fmt: skip
ROWS = {split: SPLIT_NAMES[split] for split in SPLITS if split != "train"}


def is_part(name: str) -> bool:
    """Whether a metric is a part of the Brier score."""
    return any(name.endswith(f"_{part}") for part in PARTS)


def metric_names(metrics: Mapping[str, float]) -> list[str]:
    """The metrics without their splits, but for the parts of Brier scores, in their order."""
    return list(dict.fromkeys(full.partition("/")[2] for full in metrics if not is_part(full)))


def spoken(metric: str) -> str:
    """A metric's name as the heading that a reader knows it by."""
    name = SPOKEN.get(metric)
    return metric if name is None else f"{name[:1].upper()}{name[1:]}"


def calibration_lines(metrics: Mapping[str, float], calibration: Mapping[str, Any] | None) -> Sequence[str]:
    """What calibration changed, and the parts of the Brier score, on the rows that were held out the longest."""
    split = splits_of(metrics)[-1]
    lines = []
    if calibration is not None:
        lines.append(f"calibration={calibration['method']}, fitted on {calibration['rows']:,} validation rows")
        before = calibration["uncalibrated"]
        changes = [
            f"{SPOKEN[name]} {before[f'{split}/{name}']:.6f} before, {metrics[f'{split}/{name}']:.6f} after"
            for name in CALIBRATED
            if f"{split}/{name}" in before and f"{split}/{name}" in metrics
        ]
        lines += [f"{ROWS[split]} rows: {'; '.join(changes)}"] if changes else []
    if split in ROWS:
        own = {name.removeprefix(f"{split}/"): v for name, v in metrics.items() if name.startswith(f"{split}/")}
        lines += brier_lines(own, ROWS[split])
    return lines


def brier_lines(metrics: Mapping[str, Any], rows: str) -> Sequence[str]:
    """The sum that each Brier score is."""
    lines = []
    for name in [name.removesuffix(f"_{PARTS[0]}") for name in metrics if name.endswith(f"_{PARTS[0]}")]:
        score, (reliability, resolution, uncertainty, within) = metrics[name], (metrics[f"{name}_{p}"] for p in PARTS)
        lines.append(
            f"Brier score of {rows} rows: {score:.6f} = {reliability:.6f} reliability - {resolution:.6f} resolution "
            f"+ {uncertainty:.6f} uncertainty {'-' if within < 0 else '+'} {abs(within):.6f} within bins"
        )
    return lines
