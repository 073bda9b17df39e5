"""Two ways of doing one thing, timed in turn in one process."""

from __future__ import annotations

import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

from logreg.core.provenance import versions

T = TypeVar("T")


@dataclass(frozen=True)
class Pair:
    """What is compared.

    Attributes:
        ours, theirs: do it once and return the seconds it took.
        amount, unit: how much of what is done.
        wanted: the largest ratio of our time to theirs that was aimed at.
    """

    name: str
    ours: Callable[[], float]
    theirs: Callable[[], float]
    amount: int
    unit: str
    wanted: float | None = None


def measure(pair: Pair, repeats: int) -> dict[str, Any]:
    """Run both sides in turn and compare the medians; the first round warms up and is not counted."""
    pairs = [(pair.ours(), pair.theirs()) for _ in range(repeats + 1)][1:]
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {
        "benchmark": pair.name,
        "ours_seconds": a,
        "theirs_seconds": b,
        "time_ratio": statistics.median(x / y for x, y in pairs),
        f"ours_{pair.unit}_per_second": pair.amount / a,
        f"theirs_{pair.unit}_per_second": pair.amount / b,
        "rate_ratio": statistics.median(y / x for x, y in pairs),
        "wanted_time_ratio": pair.wanted,
        "pairs": pairs,
        "repeats": repeats,
    } | setting()


def setting() -> dict[str, Any]:
    """When and where it was measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": versions(),
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def timed(fit: Callable[[float], T], tolerance: float) -> tuple[T, float]:
    """What a fit returns at this tolerance, and the seconds that it took."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what did not converge, which the gap says
        started = time.perf_counter()
        fitted = fit(tolerance)
        return fitted, time.perf_counter() - started
