"""Pages to send: a run or a sweep as one HTML file, see `logreg.report.page`.

What a page needs of Hydra's side, the run's own data, is made here.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from logreg.core.errors import UserError, plural
from logreg.records.record import PREPROCESSING, read_record

if TYPE_CHECKING:
    from logreg.report.page.run_page import ReloadedRun

PAGE = "report.html"
MOST_REDRAWN = 2_000_000  # rows of a run's data, beyond which reading it again takes too long


def write_run(directory: Path, output: Path, trusted: Sequence[str] = ()) -> None:
    """Write the page of a run.

    Raises:
        UserError: its record cannot be read, or the file cannot be written.
    """
    from logreg.report.page.render import write_page
    from logreg.report.page.run_page import run_page

    write_page(run_page(directory, load(directory, trusted), trusted), output)


def write_sweep(directory: Path, output: Path) -> None:
    """Write the page of a sweep.

    Raises:
        UserError: none of its jobs has completed, or the file cannot be written.
    """
    from logreg.records.jobs import failures, read_jobs

    jobs = read_jobs(directory)
    if len(failures(jobs)) == len(jobs):
        reasons = [job.record.error for job in jobs if job.record.error]
        first = f" (the first error: {reasons[0].rstrip('.')})" if reasons else ""
        have = f"none of its {plural(len(jobs), 'job')} has completed" if jobs else "it has no jobs"
        raise UserError(f"sweep={directory}: {have}, so there is nothing to report{first}.")
    from logreg.report.page.render import write_page
    from logreg.report.page.sweep_page import sweep_page

    write_page(sweep_page(directory, jobs), output)


def write_page_of(kind: str, directory: Path, trusted: Sequence[str] = ()) -> None:
    """Write the page at the end of a run or a sweep that has ``report=true``; what goes wrong is said, and no more."""
    from logreg.records.record import shown

    path = directory / PAGE
    try:
        write_run(directory, path, trusted) if kind == "run" else write_sweep(directory, path)
    except Exception as error:  # the results are there, and stay what they are
        sentence = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        logging.getLogger(__name__).error("error: no report was written: %s", " ".join(sentence.split()))
    else:
        print(f"report:        {shown(path)}" if kind == "run" else f"report: {shown(path)}")


def load(directory: Path, trusted: Sequence[str] = ()) -> ReloadedRun:
    """A run and its data, to draw what it predicts, or a sentence that says why there is none."""
    from logreg.report.page.run_page import ReloadedRun

    if not read_record(directory).metrics:
        return ReloadedRun()
    try:
        return reload_run(directory, trusted, MOST_REDRAWN)
    except Exception as error:  # gone, moved, not trusted, of a kind that only its own code can read: the page says so
        sentence = " ".join(str(error).split()) if isinstance(error, UserError | OSError) else repr(error)
        return ReloadedRun(
            why=f"The run's data could not be read again, so its predictions are not drawn again: {sentence}"
        )


def reload_run(directory: Path, trusted: Sequence[str], most_rows: float = math.inf) -> ReloadedRun:
    """A run in the state that its metrics belong to, and its data; without them where they are not what they were.

    Raises:
        UserError: its files or its data cannot be read, or name a class that is not trusted.
    """
    from logreg.cli.assemble import make_data, quiet_lightning
    from logreg.report.page.run_page import ReloadedRun
    from logreg.runs.load import load_run

    record = read_record(directory)
    if not (directory / "checkpoints" / f"{record.checkpoint}.ckpt").is_file():
        return ReloadedRun(why="The run kept no checkpoint, so its predictions are not drawn again.")
    if (rows := sum(record.rows.values())) > most_rows:
        return ReloadedRun(why=f"The predictions are not drawn again, as the data has {rows:,} rows.")
    if not (directory / PREPROCESSING).is_file():
        return ReloadedRun(why="The run's data is of a kind that only its own code can read.")
    quiet_lightning()
    run = load_run(directory, record.checkpoint, trusted)
    with contextlib.redirect_stdout(None):
        data = make_data(run.settings, trusted).blocks
    if data is None:
        return ReloadedRun(why="The run's data cannot be read split by split.")
    if data.fingerprint != run.record.fingerprint:
        return ReloadedRun(
            why="The run's data has changed since it was trained, so its predictions are not drawn again."
        )
    data.serve(next(run.model.parameters()).dtype)
    return ReloadedRun(run, data)
