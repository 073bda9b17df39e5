"""The leaderboard of a sweep, read from the ``run.json`` files of its jobs and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from logreg.core.errors import plural
from logreg.core.files import write_atomically, write_csv
from logreg.records.jobs import Job, best_jobs, failures, rerun_command, swept_keys
from logreg.records.record import shown
from logreg.report.terminal.tables import compact_table, say

SHOWN = 10


def write(
    sweep: Path,
    jobs: list[Job],
    of_setting: Mapping[Path, Mapping[str, object]] | None = None,
    preface: Sequence[str] = (),
) -> None:
    """``leaderboard.csv`` and ``leaderboard.md`` in the sweep's directory, atomically.

    Args:
        of_setting: further columns, which say how the setting of a job did over its repetitions; by job directory.
        preface: lines of Markdown before the table of jobs.
    """
    keys = list(dict.fromkeys(key for job in jobs for key in job.settings if key != "tags"))
    tagged = _tagged(jobs)
    metrics = list(dict.fromkeys(name for job in jobs for name in job.metrics))
    of_setting = of_setting or {}
    further = list(next(iter(of_setting.values()), ()))
    header = ["job", "status", *tagged, *keys, *metrics, *further, "seconds", "directory", "error"]
    rows = [
        [
            job.number,
            job.record.status,
            *(", ".join(job.record.tags) for _ in tagged),
            *(job.settings.get(key, "") for key in keys),
            *(_cell(job.metrics.get(name)) for name in metrics),
            *(of_setting.get(job.directory, {}).get(name, "") for name in further),
            _cell(job.record.seconds.get("total")),
            job.directory.name,
            job.record.error or "",
        ]
        for job in jobs
    ]
    write_csv(sweep / "leaderboard.csv", [header, *rows])
    write_atomically(sweep / "leaderboard.md", _markdown(sweep, jobs, preface))


def _tagged(jobs: list[Job]) -> list[str]:
    """The column of tags, where any job has some."""
    return ["tags"] if any(job.record.tags for job in jobs) else []


def _cell(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _columns(jobs: list[Job]) -> list[str]:
    """The metrics that are worth a column on a page: the monitors, and the accuracy on the same rows."""
    monitors = dict.fromkeys(job.monitor for job in jobs if job.score is not None)
    wanted = dict.fromkeys([*monitors, *(f"{name.partition('/')[0]}/accuracy" for name in monitors)])
    return [name for name in wanted if any(name in job.metrics for job in jobs)]


def _markdown(sweep: Path, jobs: list[Job], preface: Sequence[str]) -> str:
    keys, metrics, tagged = [key for key in swept_keys(jobs) if key != "tags"], _columns(jobs), _tagged(jobs)
    rows = [["job", "status", *tagged, *keys, *metrics, "seconds", "directory"]]
    for job in jobs:
        tags = [", ".join(job.record.tags) for _ in tagged]
        cells = [str(job.number), job.record.status, *tags, *(job.settings.get(key, "") for key in keys)]
        cells += [_short(job.metrics.get(name)) for name in metrics]
        cells += [_short(job.record.seconds.get("total")), f"`{job.directory.name}`"]
        rows.append(cells)
    lines = [f"# Leaderboard of {sweep.name}", "", *preface, *markdown_table(rows)]
    errors = [f"- job {job.number}: {job.record.error}" for job in jobs if job.record.error]
    if errors:
        lines += ["", "Jobs without a result:", "", *errors]
    for best in best_jobs(jobs):
        command = rerun_command(best.record.overrides)
        lines += ["", f"Best by {best.monitor}: job {best.number}. Run it alone with", "", f"    {command}"]
    return "\n".join(lines) + "\n"


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose first row is its header."""
    header, *lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [header, "|" + " --- |" * len(rows[0]), *lines]


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def show(sweep: Path, jobs: list[Job], console: Console, by_job: bool = True) -> None:
    """The top of the leaderboard, and the best job and how to run it alone.

    Args:
        by_job: name the best job; not where jobs repeat settings, as the luckiest repetition says little.
    """
    keys, metrics = swept_keys(jobs), _columns(jobs)
    status = ["status"] if failures(jobs) else []
    rows = []
    for job in jobs[:SHOWN]:
        values = [job.settings.get(key, "") for key in keys] + [_short(job.metrics.get(name)) for name in metrics]
        rows.append([str(job.number), *values, *(job.record[name] for name in status)])
    title, header = f"{plural(len(jobs), 'job')}, best first", ("job", *keys, *metrics, *status)
    table = compact_table(title, header, rows, console, optional=metrics[1:])
    if len(jobs) > SHOWN:
        table.add_row("…")
    console.print(table)
    for best in best_jobs(jobs) if by_job else ():
        console.print(f"best: job {best.number}, {best.monitor} = {_short(best.score)}; run it alone with")
        say(console, f"  {rerun_command(best.record.overrides)}")
    say(
        console, f"leaderboard: {shown(sweep / 'leaderboard.csv')}", f"look at it:  tensorboard --logdir {shown(sweep)}"
    )
