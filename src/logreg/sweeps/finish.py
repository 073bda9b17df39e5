"""The end of a sweep: its winner is measured on the test rows, then its leaderboard and figures are made.

The jobs of a sweep are judged by validation rows (by training rows, where none are held out). Whoever picks the best of
a thousand by test rows has no test rows left, so those are looked at once, for the winner.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logreg.cli import trusted_packages
from logreg.cli.assemble import make_data, make_sweep_lesson
from logreg.cli.pages import reload_run, write_page_of
from logreg.core.errors import UserError, plural
from logreg.records.jobs import best_jobs, different_losses, failures, read_jobs
from logreg.records.record import AccuracyInterval, change_record, known_settings, read_record, read_settings, shown
from logreg.records.selection import read_choice, refitted

if TYPE_CHECKING:
    from logreg.records.jobs import Job

MOST_SHOWN = 10  # jobs that did not complete


def finish_sweep(directory: Path, complete: bool) -> int:
    """Write the leaderboard of a sweep, measure its winner on the test rows, and show the top.

    Args:
        complete: whether all jobs were run; the winner is known then.

    Returns:
        How many jobs failed, diverged or were interrupted.
    """
    from rich.console import Console

    from logreg.report.sweep import report_sweep, winners, write_tables

    jobs = read_jobs(directory)
    if not jobs:  # the command line was refused before the first job started
        if complete or not (directory / "leaderboard.csv").exists():
            with contextlib.suppress(OSError):
                for name in ("multirun.yaml", ".lock"):
                    (directory / name).unlink(missing_ok=True)
                directory.rmdir()
        return 0
    compared = write_tables(directory, jobs)  # whatever comes of the rest
    if complete and not any(job.record.status in ("running", "interrupted") for job in jobs):
        best = [job for of_metric in winners(jobs, compared).values() for job in of_metric]
        changed = _forget([job for job in jobs if job not in best])
        if _measure(best) or changed:
            jobs = read_jobs(directory)
            compared = write_tables(directory, jobs)
    settings = known_settings(jobs[0].directory)  # whose settings of the sweep are those of all jobs
    with_figures = settings is not None and settings.figures
    if remark := different_losses(jobs):
        print(f"warning: {remark}.", file=sys.stderr)
    report_sweep(directory, jobs, compared, Console(), with_figures)
    for job in best_jobs(jobs) if with_figures else ():
        _draw(job.directory)
    _warn_of_changed_data(jobs)
    _show_choice(directory)
    lesson = make_sweep_lesson(settings.sweep.lesson if settings else None, trusted_packages())
    try:
        if complete and lesson is not None:
            lesson.teach(_rows_of_all(jobs), jobs).write(lesson, directory, Console())
    finally:  # with what the lesson shows, or without it where there is none for such data
        if settings is not None and settings.report:
            write_page_of("sweep", directory)
    if not complete:
        print(f"cut off; the same command with sweep.resume={shown(directory)} goes on from here", file=sys.stderr)
    expected = ("diverged",) if lesson is not None and lesson.may_diverge else ()
    return _show_failures([j for j in failures(jobs) if j.record.status not in expected], len(jobs))


def _rows_of_all(jobs: Sequence[Job]) -> Any:
    """The data of a sweep whose jobs were all trained on the same rows, as a lesson needs them.

    Raises:
        UserError: they were not, or some rows were held out, which are others with every seed.
    """
    known = [job.record for job in jobs if job.record.fingerprint is not None]
    held_out = any(record.rows.get(split) for record in known for split in ("val", "test"))
    if held_out or len({record.fingerprint for record in known}) != 1:
        raise UserError(
            "sweep.lesson: all jobs need the same training rows; use one data, with "
            "'data.split={train:1,val:0,test:0}' and monitor=train/log_loss."
        )
    return make_data(read_settings(jobs[0].directory), trusted_packages())


def _show_choice(directory: Path) -> None:
    choice = read_choice(directory)
    if choice is not None:
        print(choice.sentence)
        if (line := refitted(directory)) is not None:
            print(line)


def _show_failures(failed: Sequence[Job], jobs: int) -> int:
    if failed:
        print(f"error: {len(failed)} of {plural(jobs, 'job')} did not complete:", file=sys.stderr)
        for job in sorted(failed, key=lambda job: job.number)[:MOST_SHOWN]:
            print(f"  job {job.number} {job.record.status}: {job.record.error}", file=sys.stderr)
        if len(failed) > MOST_SHOWN:
            print("  … the others are in leaderboard.md", file=sys.stderr)
    return len(failed)


def _warn_of_changed_data(jobs: Sequence[Job]) -> None:
    """Say so where the jobs of a sweep, one that was resumed as a rule, did not see the same data."""
    seen: dict[str, set[str]] = {}
    for job in jobs:
        data, fingerprint = job.record.data, job.record.fingerprint
        if fingerprint is not None:
            seen.setdefault(str(data.get("path") or data.get("name")), set()).add(fingerprint)
    for name, fingerprints in seen.items():
        if len(fingerprints) > 1:
            print(f"warning: {name} was changed between the jobs of this sweep; they do not compare.", file=sys.stderr)


def _forget(jobs: Sequence[Job]) -> bool:
    """Take the test metrics out of the records of jobs that won before a sweep was completed."""
    former = [job for job in jobs if any(n.startswith("test/") for n in job.metrics) and _could_wait(job.directory)]
    for job in former:
        change_record(job.directory, _untested)
    return bool(former)


def _added(metrics: dict[str, float], intervals: dict[str, AccuracyInterval], record: dict[str, Any]) -> dict[str, Any]:
    return {"metrics": record.get("metrics", {}) | metrics, "intervals": record.get("intervals", {}) | intervals}


def _untested(record: dict[str, Any]) -> dict[str, Any]:
    """The metrics and intervals of a record without those of test rows."""
    return {
        key: {name: value for name, value in record.get(key, {}).items() if not name.startswith("test/")}
        for key in ("metrics", "intervals")
    }


def _could_wait(directory: Path) -> bool:
    """Whether a job is measured on test rows only when it has won; see `logreg.cli.assemble.splits_in_sweep`."""
    with contextlib.suppress(UserError):
        monitor = read_settings(directory).monitor
        return (directory / "checkpoints").is_dir() and not monitor.startswith("test/")
    return False


def _measure(jobs: Sequence[Job]) -> bool:
    """Put the test metrics into the records of jobs that have test rows and were not measured on them yet."""
    due = [j for j in jobs if j.record.rows.get("test") and not any(name.startswith("test/") for name in j.metrics)]
    if not due:
        return False

    from tqdm import tqdm

    from logreg.evaluation.reliability import accuracy_intervals
    from logreg.report.tensorboard.events import EventFile
    from logreg.report.tensorboard.texts import write_curves, write_texts
    from logreg.training.measure import evaluate

    for job in tqdm(due, unit=" jobs", desc="test rows of the winner", disable=not sys.stderr.isatty(), leave=False):
        reloaded = reload_run(job.directory, trusted_packages())
        if reloaded.run is None or reloaded.data is None:
            continue
        run, data = reloaded.run, reloaded.data
        data.setup("test")
        metrics = evaluate(run.model, data.batches_of, ("test",))
        change_record(job.directory, partial(_added, metrics, accuracy_intervals(metrics, data)))
        record = read_record(job.directory)
        if any(job.directory.glob("events.out.tfevents.*")):
            events = EventFile(job.directory)
            events.scalars({f"final/{name}": value for name, value in metrics.items()}, record.updates)
            if (job.directory / "figures").exists():  # of others `_draw` follows
                write_curves(events, run.model, data, ("test",), record.evaluated_updates)
                write_texts(events, record, run.settings, job.directory)
            events.close()
    return True


def _draw(directory: Path) -> None:
    """The figures of a job that has none, since it was trained together with many others."""
    from logreg.report.run import draw_run
    from logreg.report.tensorboard.events import EventFile
    from logreg.report.tensorboard.texts import write_texts

    if (directory / "figures").exists():
        return
    reloaded = reload_run(directory, trusted_packages())
    if (run := reloaded.run) is not None and reloaded.data is not None:
        events = EventFile(directory)
        draw_run(run.record, run.model, reloaded.data, directory, events)
        write_texts(events, run.record, run.settings, directory)
        events.close()
