"""The leaderboard of a sweep, read from the ``run.json`` files of its jobs and from nothing else."""

from __future__ import annotations

import csv
import functools
import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from logreg.atomic import write_atomically
from logreg.errors import UserError, plural
from logreg.path import REFIT
from logreg.report.terminal import compact_table
from logreg.runs import RECORD, read_record, settings_of, shown

SHOWN = 10


SWEEPS = ("experiment=path", "experiment=lessons/")  # presets that are sweeps by themselves, among others
DIFFERENT_LOSSES = (
    "the jobs minimise different losses, which do not compare; rank them by monitor=train/log_loss or val/log_loss"
)


@dataclass(frozen=True)
class Job:
    """One job of a sweep; ``score`` is its value of the sweep's monitor, None if it has none."""

    number: int
    directory: Path
    record: dict[str, Any]
    score: float | None

    @functools.cached_property
    def settings(self) -> dict[str, str]:
        """The job's overrides, by key."""
        return settings_of(self.record.get("overrides", []))

    @property
    def metrics(self) -> dict[str, float]:
        return self.record.get("metrics", {})


def read_jobs(sweep: Path) -> list[Job]:
    """The jobs of a sweep, best first, then those without a result in the order of their numbers."""
    jobs = []
    for path in sorted(sweep.glob(f"*/{RECORD}")):
        try:
            record = read_record(path.parent)
        except UserError as error:
            record = {"status": "failed", "error": str(error)}
        record |= {key: {} for key in ("metrics", "monitor") if not isinstance(record.get(key, {}), dict)}
        record |= {} if isinstance(record.get("overrides", []), list) else {"overrides": []}
        if path.parent.name == REFIT:  # of the winner, on all rows: no job of the sweep
            continue
        number = path.parent.name.partition("_")[0]
        score = record.get("metrics", {}).get(record.get("monitor", {}).get("metric"))
        jobs.append(Job(int(number) if number.isdigit() else -1, path.parent, record, score))
    return sorted(jobs, key=_rank)


def _rank(job: Job) -> tuple[bool, str, float, int]:
    """Jobs without a result come last; those of different monitors are not compared, but follow each other."""
    if job.score is None or job.record["status"] != "completed":
        return True, "", 0.0, job.number
    score = job.score if job.record["monitor"]["mode"] == "min" else -job.score
    return False, job.record["monitor"]["metric"], score, job.number


def swept_keys(jobs: list[Job]) -> list[str]:
    """The keys whose value is not the same in every job, but for jobs whose record cannot be read."""
    jobs = [job for job in jobs if job.settings]
    keys = list(dict.fromkeys(key for job in jobs for key in job.settings))
    return [key for key in keys if len({job.settings.get(key) for job in jobs}) > 1]


def write(
    sweep: Path,
    jobs: list[Job],
    of_setting: Mapping[Path, Mapping[str, Any]] | None = None,
    preface: Sequence[str] = (),
) -> None:
    """``leaderboard.csv`` and ``leaderboard.md`` in the sweep's directory, atomically.

    Args:
        of_setting: further columns, which say how the setting of a job did over its repetitions; by job directory.
        preface: lines of Markdown before the table of jobs.
    """
    keys = list(dict.fromkeys(key for job in jobs for key in job.settings))
    metrics = list(dict.fromkeys(name for job in jobs for name in job.metrics))
    of_setting = of_setting or {}
    further = list(next(iter(of_setting.values()), ()))
    header = ["job", "status", *keys, *metrics, *further, "seconds", "directory", "error"]
    rows = [
        [
            job.number,
            job.record["status"],
            *(job.settings.get(key, "") for key in keys),
            *(_cell(job.metrics.get(name)) for name in metrics),
            *(of_setting.get(job.directory, {}).get(name, "") for name in further),
            _cell(job.record.get("seconds", {}).get("total")),
            job.directory.name,
            job.record.get("error") or "",
        ]
        for job in jobs
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_atomically(sweep / "leaderboard.csv", text.getvalue())
    write_atomically(sweep / "leaderboard.md", _markdown(sweep, jobs, preface))


def _cell(value: Any) -> str:
    return "" if value is None else repr(float(value))


def _columns(jobs: list[Job]) -> list[str]:
    """The metrics that are worth a column on a page: the monitors, and the accuracy on the same rows."""
    monitors = dict.fromkeys(str(job.record["monitor"]["metric"]) for job in jobs if job.score is not None)
    wanted = dict.fromkeys([*monitors, *(f"{name.partition('/')[0]}/accuracy" for name in monitors)])
    return [name for name in wanted if any(name in job.metrics for job in jobs)]


def _markdown(sweep: Path, jobs: list[Job], preface: Sequence[str]) -> str:
    keys, metrics = swept_keys(jobs), _columns(jobs)
    header = ["job", "status", *keys, *metrics, "seconds", "directory"]
    rows = []
    for job in jobs:
        cells = [str(job.number), job.record["status"], *(job.settings.get(key, "") for key in keys)]
        cells += [_short(job.metrics.get(name)) for name in metrics]
        cells += [_short(job.record.get("seconds", {}).get("total")), f"`{job.directory.name}`"]
        rows.append(cells)
    lines = [f"# Leaderboard of {sweep.name}", "", *preface, *markdown_table(header, rows)]
    errors = [f"- job {job.number}: {job.record['error']}" for job in jobs if job.record.get("error")]
    if errors:
        lines += ["", "Jobs without a result:", "", *errors]
    for best in best_jobs(jobs):
        metric = best.record["monitor"]["metric"]
        lines += ["", f"Best by {metric}: job {best.number}. Run it alone with", "", f"    {rerun_command(best)}"]
    return "\n".join(lines) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (header, *rows)]
    return [lines[0], "|" + " --- |" * len(header), *lines[1:]]


def _short(value: Any) -> str:
    return "" if value is None else f"{value:.6g}"


def best_jobs(jobs: list[Job]) -> list[Job]:
    """The best job of each monitor; one, where all jobs of the sweep are comparable."""
    best: dict[str, Job] = {}
    for job in jobs:
        if not _rank(job)[0]:
            best.setdefault(job.record["monitor"]["metric"], job)
    return list(best.values())


def ranks_different_losses(jobs: Sequence[Job]) -> bool:
    """Whether jobs are ranked by losses that are not the same function."""
    ranked = [job for job in jobs if str(job.record.get("monitor", {}).get("metric")).endswith("/loss")]
    return len({job.settings.get("loss", "log_loss") for job in ranked}) > 1


def rerun_command(job: Job) -> str:
    """The command that runs a job alone, also where its experiment is a sweep by itself."""
    is_sweep = any(override.startswith(SWEEPS) for override in job.record["overrides"])
    once = ["hydra.mode=RUN"] if is_sweep else []
    return shlex.join(["python", "train.py", *job.record["overrides"], *once])


def failures(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if job.record["status"] != "completed"]


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
        rows.append([str(job.number), *values, *(str(job.record[name]) for name in status)])
    title, header = f"{plural(len(jobs), 'job')}, best first", ("job", *keys, *metrics, *status)
    table = compact_table(title, header, rows, console, optional=metrics[1:])
    if len(jobs) > SHOWN:
        table.add_row("…")
    console.print(table)
    for best in best_jobs(jobs) if by_job else ():
        metric = best.record["monitor"]["metric"]
        console.print(f"best: job {best.number}, {metric} = {_short(best.score)}; run it alone with")
        console.print(f"  {rerun_command(best)}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"leaderboard: {shown(sweep / 'leaderboard.csv')}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"look at it:  tensorboard --logdir {shown(sweep)}", markup=False, highlight=False, soft_wrap=True)
