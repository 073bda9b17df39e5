"""``metrics.csv`` as curves, and long curves as short ones that have the same extremes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

STRETCHES = 300  # of a long curve; the least and the largest value of each are drawn
SMALL = 2_000_000  # bytes
NO_METRICS = ("step", "epoch")

Curve = tuple[np.ndarray, np.ndarray]  # updates made before the measurement, and values, (points,) each


def read_curves(path: Path, wanted: Sequence[str] | None = None) -> dict[str, Curve]:
    """The curves of a ``metrics.csv``, by metric; nothing where there is no such file, or it cannot be read.

    Args:
        wanted: the metrics to read; None for all.
    """
    try:
        if path.stat().st_size >= SMALL:
            table = pl.read_csv(path, infer_schema_length=0, truncate_ragged_lines=True)
            columns = {name: table[name].to_list() for name in table.columns}
        else:  # thousands of such files are read for a sweep, which Python's own reader does ten times as fast
            with path.open(encoding="utf-8", newline="") as file:
                header, *rows = csv.reader(file)
            rows = [row for row in rows if len(row) == len(header)]  # the last one may be incomplete
            read = [i for i, name in enumerate(header) if wanted is None or name in ("step", *wanted)]
            columns = {header[i]: [row[i] for row in rows] for i in read}
    except (OSError, ValueError, csv.Error, pl.exceptions.PolarsError):
        return {}
    if "step" not in columns:
        return {}
    step, curves = columns["step"], {}
    for name, values in columns.items():
        if name not in NO_METRICS and (wanted is None or name in wanted):
            measured = [i for i, value in enumerate(values) if value and step[i]]
            if measured:
                curves[name] = _numbers([step[i] for i in measured]), _numbers([values[i] for i in measured])
    return curves


def _numbers(texts: Sequence[str]) -> np.ndarray:
    """Texts as numbers, nan for what is none."""
    return pl.Series(texts, dtype=pl.String).cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()


def shortened(curve: Curve, stretches: int = STRETCHES) -> Curve:
    """A curve of at most two points a stretch, the least and the largest value of each, in their order.

    Curves that are short already come back as they are. The first and the last point stay.
    """
    x, y = curve
    if len(x) <= 2 * stretches + 2:
        return curve
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    edges = np.linspace(x[0], x[-1], stretches + 1)[1:-1]
    known = np.flatnonzero(np.isfinite(y))
    stretch = np.searchsorted(edges, x[known], side="right")
    extremes = {0, len(x) - 1}
    for sign in (1, -1):
        order = known[np.lexsort((sign * y[known], stretch))]  # by stretch, which is sorted already, then by value
        extremes |= set(order[np.unique(stretch, return_index=True)[1]].tolist())
    places = sorted(extremes)
    return x[places], y[places]


def spans_much(values: np.ndarray, ratio: float = 20.0) -> bool:
    """Whether a logarithmic axis shows these values better: all above 0, the largest many times the least."""
    known = values[np.isfinite(values)]
    return len(known) > 1 and bool(known.min() > 0) and bool(known.max() > ratio * known.min())
