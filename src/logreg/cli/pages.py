"""Pages to send: a run or a sweep as one HTML file, see `logreg.report.page`.

What a page needs of Hydra's side, the run's own data, is made here.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from logreg.core.errors import UserError, plural
from logreg.records.record import PREPROCESSING, RECORD, read_record

if TYPE_CHECKING:
    from logreg.report.page.run_page import ReloadedRun

PAGE = "report.html"
ENDINGS = (".html", ".htm")
MOST_REDRAWN = 2_000_000  # rows of a run's data, beyond which reading it again takes too long
JOB = re.compile(r"\d+(_|$)")  # how the directory of a job begins


def checked(run: object, sweep: object, output: object) -> tuple[str, Path, Path]:
    """Which kind of directory is reported on, ``run`` or ``sweep``, the directory, and the file to write.

    Nothing heavy is imported for it.

    Raises:
        UserError: both or neither are given, the directory is not of that kind, or nothing can be written to the file.
    """
    if (run is None) == (sweep is None):
        example = "give one of the two, as in run=outputs/runs/<name>/<run> or sweep=outputs/sweeps/<name>/<sweep>"
        raise UserError(f"run, sweep: {example}{'' if run is None else '; not both'}.")
    kind, directory = ("run", Path(str(run))) if sweep is None else ("sweep", Path(str(sweep)))
    _check_directory(kind, directory)
    path = directory / PAGE if output is None else Path(str(output))
    if path.suffix.lower() not in ENDINGS or path.is_dir():
        what = "this is a directory; " if path.is_dir() else ""
        raise UserError(f"output={path}: {what}a file that ends in .html is needed.")
    if not path.parent.is_dir():
        raise UserError(f"output={path}: there is no folder {path.parent}; create it first.")
    return kind, directory, path


def _check_directory(kind: str, directory: Path) -> None:
    given = f"{kind}={directory}"
    if not directory.is_dir():
        what = "this is a file, not a directory" if directory.exists() else "there is no such directory"
        raise UserError(f"{given}: {what}; give the directory of a {kind}.")
    is_run = (directory / RECORD).is_file()
    inside = [] if is_run else sorted(path.parent for path in directory.glob(f"*/{RECORD}"))
    is_sweep = not is_run and ((directory / "multirun.yaml").is_file() or any(JOB.match(p.name) for p in inside))
    if kind == "run" and is_sweep:
        raise UserError(f"{given}: this is a sweep; use sweep={directory}.")
    if kind == "sweep" and is_run:
        raise UserError(f"{given}: this is a run; use run={directory}.")
    if not (is_run or is_sweep):
        hint = f"it holds runs, such as run={inside[-1]}" if inside else f"it has no {RECORD}, nor runs that have one"
        raise UserError(f"{given}: this is not the directory of a {kind}; {hint}.")


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
    from logreg.report.page.render import write_page
    from logreg.report.page.sweep_page import sweep_page

    jobs = read_jobs(directory)
    if len(failures(jobs)) == len(jobs):
        reasons = [job.record.error for job in jobs if job.record.error]
        first = f" (the first error: {reasons[0].rstrip('.')})" if reasons else ""
        have = f"none of its {plural(len(jobs), 'job')} has completed" if jobs else "it has no jobs"
        raise UserError(f"sweep={directory}: {have}, so there is nothing to report{first}.")
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
