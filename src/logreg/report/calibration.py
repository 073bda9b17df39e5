"""What a run says of its calibration and of its Brier score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from logreg.data.splits import SPLIT_NAMES, SPLITS
from logreg.diagnostics.reliability import PARTS
from logreg.runs import splits_of

SPOKEN = {"log_loss": "log loss", "brier": "Brier score", "calibration_error": "calibration error"}
ROWS = {split: SPLIT_NAMES[split] for split in SPLITS if split != "train"}


def is_part(name: str) -> bool:
    """Whether a metric is a part of the Brier score."""
    return any(name.endswith(f"_{part}") for part in PARTS)


def calibration_lines(metrics: Mapping[str, float], calibration: Mapping[str, Any] | None) -> Sequence[str]:
    """What calibration changed, and the parts of the Brier score, on the rows that were held out the longest."""
    split = splits_of(metrics)[-1]
    lines = []
    if calibration is not None:
        lines.append(f"calibration={calibration['method']}, fitted on {calibration['rows']:,} validation rows")
        before = calibration["uncalibrated"]
        changes = [
            f"{spoken} {before[f'{split}/{name}']:.6f} before, {metrics[f'{split}/{name}']:.6f} after"
            for name, spoken in SPOKEN.items()
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
