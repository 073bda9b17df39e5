"""A sweep by the real command, and what two runs of one job have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from logreg.records.record import read_history
from tests.commands import record_of, run_command

BASIC = ("hydra/launcher=basic", "hydra/sweeper=basic")
# Keys of a record that say when a job was run, how long it took and by which launcher.
OF_THE_LAUNCH = {"started", "seconds", "git"}


def sweep(folder: Path, name: str, *arguments: str, status: int = 0) -> dict[int, Path]:
    """Run a sweep into a directory of this name; its job directories by number."""
    process = run_command("train.py", "-m", *arguments, f"hydra.sweep.dir={name}", cwd=folder)
    assert process.returncode == status, process.stderr
    return jobs_of(folder / name)


def jobs_of(directory: Path) -> dict[int, Path]:
    return {int(path.parent.name.partition("_")[0]): path.parent for path in sorted(directory.glob("*/run.json"))}


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_same_run(fused: Path, single: Path, tolerance: float = 1e-5) -> None:
    """That a job of a fused fit left in its directory what it leaves there when it is trained by itself."""
    assert fused.name == single.name
    files = [
        sorted(path.name for path in directory.rglob("*") if not path.name.startswith("events"))
        for directory in (fused, single)
    ]
    assert files[0] == files[1]
    assert_same_record(record_of(fused), record_of(single), tolerance)
    for name in ("config.json", "preprocessing.json", ".hydra/config.yaml", ".hydra/overrides.yaml"):
        if (single / name).exists():
            assert (fused / name).read_text() == (single / name).read_text(), name
    rows, expected = read_history(fused), read_history(single)
    assert [list(row) for row in rows] == [list(row) for row in expected]
    for row, expected_row in zip(rows, expected, strict=True):
        assert row == pytest.approx(expected_row, rel=tolerance, abs=1e-7, nan_ok=True)
    events, expected_events = scalars(fused), scalars(single)
    assert events.keys() == expected_events.keys()
    for tag, values in events.items():
        steps, numbers = zip(*values, strict=True)
        expected_steps, expected_numbers = zip(*expected_events[tag], strict=True)
        assert steps == expected_steps
        np.testing.assert_allclose(numbers, expected_numbers, rtol=1e-4, atol=1e-6)


def assert_same_record(fused: dict[str, Any], single: dict[str, Any], tolerance: float) -> None:
    assert list(fused) == list(single)
    assert_same_certificate(fused["optimality"], single["optimality"], tolerance)
    assert_same_calibration(fused["calibration"], single["calibration"], tolerance)
    for key in fused.keys() - OF_THE_LAUNCH - {"metrics", "optimality", "calibration"}:
        assert fused[key] == single[key], key
    assert list(fused["metrics"]) == list(single["metrics"])
    assert fused["metrics"] == pytest.approx(single["metrics"], rel=tolerance, abs=1e-6)


def assert_same_certificate(fused: dict[str, Any] | None, single: dict[str, Any] | None, tolerance: float) -> None:
    assert (fused is None) == (single is None)
    if fused is not None and single is not None:
        for key in ("objective", "gradient_norm", "gap"):
            assert fused[key] == pytest.approx(single[key], rel=100 * tolerance, abs=1e-9)
        for key in ("method", "converged", "separation"):
            assert fused[key] == single[key]


def assert_same_calibration(fused: dict[str, Any] | None, single: dict[str, Any] | None, tolerance: float) -> None:
    assert (fused is None) == (single is None)
    if fused is not None and single is not None:
        assert list(fused) == list(single)
        for key, value in single.items():
            assert fused[key] == (value if key == "method" else pytest.approx(value, rel=tolerance, abs=1e-6))
