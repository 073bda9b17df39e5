"""The end of a sweep: its winner is measured on the test rows, then its leaderboard and figures are made.

The jobs of a sweep are judged by validation rows (by training rows, where none are held out). Whoever picks the best of
a thousand by test rows has no test rows left, so those are looked at once, for the winner.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logreg.cli import sweep_is_resumed, trusted_packages
from logreg.errors import UserError
from logreg.experiment import make_data
from logreg.runs import PREPROCESSING, read_config, read_record, splits_of, write_record

if TYPE_CHECKING:
    from logreg.report.leaderboard import Job


def finish_sweep(directory: Path) -> int:
    """Measure the winner of a sweep, write the leaderboard and show its top.

    Returns:
        How many jobs failed, diverged or were interrupted.
    """
    from rich.console import Console

    from logreg.report import leaderboard
    from logreg.report.sweep import report_sweep, winners

    jobs = leaderboard.read_jobs(directory)
    if not jobs:  # the command line was refused before the first job started
        if not sweep_is_resumed():
            (directory / "multirun.yaml").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                directory.rmdir()
        return 0
    with_figures = any(_draws(job.directory) for job in jobs[:1])
    best = [job for of_metric in winners(jobs).values() for job in of_metric]
    if _measure(best):
        jobs = leaderboard.read_jobs(directory)
    report_sweep(directory, jobs, Console(), with_figures)
    for job in leaderboard.best_jobs(jobs) if with_figures else ():
        _draw(job.directory)
    failed = leaderboard.failures(jobs)
    if failed:
        print(f"error: {len(failed)} of {len(jobs)} jobs did not complete:", file=sys.stderr)
        for job in sorted(failed, key=lambda job: job.number):
            print(f"  job {job.number} {job.record['status']}: {job.record.get('error')}", file=sys.stderr)
    return len(failed)


def _measure(jobs: Sequence[Job]) -> bool:
    """Put the test metrics into the records of jobs that have test rows and were not measured on them yet."""
    due = [job for job in jobs if _has_test_rows(job) and not any(name.startswith("test/") for name in job.metrics)]
    if not due:
        return False

    from tqdm import tqdm

    from logreg.report.tensorboard import EventFile
    from logreg.training import evaluate

    for job in tqdm(due, unit=" jobs", desc="test rows of the winner", disable=not sys.stderr.isatty(), leave=False):
        found = _load(job.directory)
        if found is None:
            continue
        run, data = found
        data.setup("test")
        data.dtype = next(run.model.parameters()).dtype
        metrics = evaluate(run.model, data, ("test",))
        record = read_record(job.directory)
        record["metrics"] |= metrics
        write_record(job.directory, record)
        if any(job.directory.glob("events.out.tfevents.*")):
            events = EventFile(job.directory)
            events.scalars({f"final/{name}": value for name, value in metrics.items()}, record["updates"])
            events.close()
    return True


def _has_test_rows(job: Job) -> bool:
    return bool((job.record.get("data", {}).get("rows") or {}).get("test"))


def _load(directory: Path) -> tuple[Any, Any] | None:
    """A run in the state that its metrics belong to, and its data; None where it kept no state."""
    from logreg.runs import load_run

    checkpoint = str(read_record(directory)["evaluated"]["checkpoint"])
    needed = (directory / PREPROCESSING, directory / "checkpoints" / f"{checkpoint}.ckpt")
    if not all(path.is_file() for path in needed):
        return None
    run = load_run(directory, checkpoint, trusted_packages())
    return run, make_data(run.config, trusted_packages())


def _draw(directory: Path) -> None:
    """The figures of a job that has none, since it was trained together with many others."""
    from logreg.report.run import draw, save_figures
    from logreg.report.tensorboard import EventFile

    found = None if (directory / "figures").exists() else _load(directory)
    if found is not None and hasattr(found[1], "preprocessor"):
        run, data = found
        events = EventFile(directory)
        drawn = draw(run.model, data, splits_of(run.metrics))
        save_figures(drawn, directory, events, run.record["evaluated"]["updates"])
        events.close()


def _draws(directory: Path) -> bool:
    """Whether a job was asked for figures."""
    with contextlib.suppress(UserError):
        return bool(read_config(directory)["figures"])
    return False
