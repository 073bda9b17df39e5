"""``metrics.csv`` as curves, and long curves as short ones that have the same extremes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

STRETCHES = 300  # of a long curve, of each of which the least and the largest value are drawn
NO_METRICS = ("step", "epoch")

Curve = tuple[np.ndarray, np.ndarray]  # updates made before the measurement, and values, (points,) each


def read_curves(path: Path, wanted: Sequence[str] | None = None) -> dict[str, Curve]:
    """The curves of a ``metrics.csv``, by metric; nothing where there is no such file, or it cannot be read.

    Args:
        wanted: the metrics to read; None for all.
    """
    try:
        table = pl.read_csv(path, infer_schema_length=0, truncate_ragged_lines=True, quote_char='"')
    except (OSError, pl.exceptions.PolarsError):
        return {}
    names = [n for n in table.columns if n not in NO_METRICS and (wanted is None or n in wanted)]
    if "step" not in table.columns or not names:
        return {}
    columns = table.select(pl.col("step", *names).cast(pl.Float64, strict=False))
    found = {}
    for name in names:
        there = columns.select("step", name).drop_nulls()
        if len(there):
            found[name] = there["step"].to_numpy(), there[name].to_numpy()
    return found


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
    bounds = np.unique([0, *np.searchsorted(x, edges).tolist(), len(x)])
    kept = {0, len(x) - 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a stretch without a finite value
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            part = y[start:end]
            known = np.flatnonzero(np.isfinite(part))
            if len(known):
                kept |= {start + int(known[part[known].argmin()]), start + int(known[part[known].argmax()])}
    places = sorted(kept)
    return x[places], y[places]


def spans_much(values: np.ndarray, ratio: float = 20.0) -> bool:
    """Whether a logarithmic axis shows these values better: all above 0, the largest many times the least."""
    known = values[np.isfinite(values)]
    return len(known) > 1 and bool(known.min() > 0) and bool(known.max() > ratio * known.min())
