"""The report of a sweep: its leaderboard, how sure its ranking is, and the figures of what was swept.

The leaderboard is read from the ``run.json`` files of the jobs and from nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rich.console import Console

from logreg.core.errors import plural
from logreg.core.files import write_atomically, write_csv
from logreg.records.comparison import DATA_SEED, FOLD, Setting, compare, table_rows, tied, verdict
from logreg.records.jobs import Job, best_jobs, failures, rerun_command, swept_keys
from logreg.records.record import shown
from logreg.records.selection import read_choice
from logreg.report.terminal.tables import compact_table, say

SHOWN = 10
MOST_TESTED = 5  # metrics of the test rows on the terminal
FEW = 5  # repetitions; with fewer, hardly any two settings differ significantly


def report_sweep(
    directory: Path, jobs: list[Job], compared: Mapping[str, list[Setting]], console: Console, with_figures: bool
) -> None:
    """Write ``figures/`` of a sweep; print the top of its tables.

    Args:
        compared: what `write_tables` returned.
    """
    if with_figures and len(jobs) > 1:
        _draw(directory, jobs, compared)
    _show_jobs(directory, jobs, console, by_job=not compared)
    if compared:
        _show_settings(compared, console)
    for winning in winners(jobs, compared).values():
        names = [name for name in winning[0].metrics if name.startswith("test/")][:MOST_TESTED]
        means = {name: fmean(job.metrics[name] for job in winning if name in job.metrics) for name in names}
        if means:
            which = "" if len(winning) == 1 else f", mean of its {len(winning)} repetitions"
            values = ", ".join(f"{name} {value:.6g}" for name, value in means.items())
            say(console, f"the winner on test rows{which}: {values}")


def write_tables(directory: Path, jobs: list[Job]) -> dict[str, list[Setting]]:
    """Write ``leaderboard.csv`` and ``.md`` and, where settings were repeated, ``settings.csv``, each atomically.

    Returns:
        How the settings compare.
    """
    compared = compare(jobs, overlap=overlap(jobs))
    of_setting = {  # what the leaderboard says of the setting that a job repeats
        job.directory: {
            "setting": str(each.rank),
            "mean": repr(each.mean),
            **{
                name: "" if math.isnan(value) else repr(value)
                for name, value in (("sd", each.deviation), ("low", each.low), ("high", each.high))
            },
            "verdict": verdict(each, settings),
        }
        for settings in compared.values()
        for each in settings
        for job in each.jobs
    }
    keys = list(dict.fromkeys(key for job in jobs for key in job.settings if key != "tags"))
    metrics = list(dict.fromkeys(name for job in jobs for name in job.metrics))
    header, *rows = _rows(jobs, keys, metrics, repr, of_setting)
    errors = [job.record.error or "" for job in jobs]
    lines = [[*row, error] for row, error in zip(rows, errors, strict=True)]
    write_csv(directory / "leaderboard.csv", [[*header, "error"], *lines])
    preface = []
    if compared:
        table = table_rows(compared)
        write_csv(directory / "settings.csv", table)
        preface = ["Settings over their repetitions:", "", *_markdown_table(table), "", "Jobs:", ""]
    write_atomically(directory / "leaderboard.md", _markdown(directory, jobs, preface))
    return compared


def winners(jobs: list[Job], compared: Mapping[str, list[Setting]]) -> dict[str, list[Job]]:
    """By monitored metric the best job; where settings were repeated, all jobs of the best setting."""
    best = {job.monitor: [job] for job in best_jobs(jobs)}
    return best | {metric: settings[0].jobs for metric, settings in compared.items()}


def overlap(jobs: Sequence[Job]) -> float | None:
    """n_val / n_train where every seed draws a split of its own; None where folds are swept, or nothing is held out."""
    given = {job.settings.get(DATA_SEED) for job in jobs}
    for job in jobs:
        rows = job.record.rows
        same_split = job.settings.get(DATA_SEED) is not None and len(given) == 1
        if rows.get("val") and rows.get("train") and FOLD not in job.settings and not same_split:
            return float(rows["val"] / rows["train"])
    return None


def _rows(
    jobs: Sequence[Job],
    keys: Sequence[str],
    metrics: Sequence[str],
    number: Callable[[float], str],
    of_setting: Mapping[Path, Mapping[str, str]],
) -> list[list[str]]:
    """A header, and a row of text for each job; there is a column of tags where any job has some."""
    tagged = ["tags"] if any(job.record.tags for job in jobs) else []
    further = list(next(iter(of_setting.values()), ()))
    rows = [["job", "status", *tagged, *keys, *metrics, *further, "seconds", "directory"]]
    for job in jobs:
        *values, seconds = (
            "" if value is None else number(float(value))
            for value in (*map(job.metrics.get, metrics), job.record.seconds.get("total"))
        )
        tags = [", ".join(job.record.tags) for _ in tagged]
        cells = [*tags, *(job.settings.get(key, "") for key in keys), *values]
        cells += [of_setting.get(job.directory, {}).get(name, "") for name in further]
        rows.append([str(job.number), job.record.status, *cells, seconds, job.directory.name])
    return rows


def _columns(jobs: list[Job]) -> list[str]:
    """The metrics that are worth a column on a page: the monitors, and the accuracy on the same rows."""
    monitors = dict.fromkeys(job.monitor for job in jobs if job.score is not None)
    wanted = dict.fromkeys([*monitors, *(f"{name.partition('/')[0]}/accuracy" for name in monitors)])
    return [name for name in wanted if any(name in job.metrics for job in jobs)]


def _markdown(sweep: Path, jobs: list[Job], preface: Sequence[str]) -> str:
    header, *rows = _rows(jobs, swept_keys(jobs), _columns(jobs), "{:.6g}".format, {})
    table = _markdown_table([header, *([*cells, f"`{directory}`"] for *cells, directory in rows)])
    lines = [f"# Leaderboard of {sweep.name}", "", *preface, *table]
    errors = [f"- job {job.number}: {job.record.error}" for job in jobs if job.record.error]
    if errors:
        lines += ["", "Jobs without a result:", "", *errors]
    for best in best_jobs(jobs):
        command = rerun_command(best.record.overrides)
        lines += ["", f"Best by {best.monitor}: job {best.number}. Run it alone with", "", f"    {command}"]
    return "\n".join(lines) + "\n"


def _markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose first row is its header."""
    header, *lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [header, "|" + " --- |" * len(rows[0]), *lines]


def _show_jobs(sweep: Path, jobs: list[Job], console: Console, by_job: bool) -> None:
    """The top of the leaderboard, and the best job and how to run it alone.

    Args:
        by_job: name the best job; not where jobs repeat settings, as the luckiest repetition says little.
    """
    keys, metrics, status = swept_keys(jobs), _columns(jobs), ["status"] if failures(jobs) else []
    header, *rows = _rows(jobs[:SHOWN], keys, metrics, "{:.6g}".format, {})
    names = ["job", *keys, *metrics, *status]
    cells = [[row[header.index(name)] for name in names] for row in rows]
    table = compact_table(f"{plural(len(jobs), 'job')}, best first", names, cells, console, optional=metrics[1:])
    if len(jobs) > SHOWN:
        table.add_row("…")
    console.print(table)
    for best in best_jobs(jobs) if by_job else ():
        console.print(f"best: job {best.number}, {best.monitor} = {best.score:.6g}; run it alone with")
        say(console, f"  {rerun_command(best.record.overrides)}")
    csv = shown(sweep / "leaderboard.csv")
    say(console, f"leaderboard: {csv}", f"look at it:  tensorboard --logdir {shown(sweep)}")


def _show_settings(compared: Mapping[str, Sequence[Setting]], console: Console) -> None:
    header, *rows = table_rows(compared, digits=4)
    hidden = {"metric"} if len(compared) == 1 else set()  # which is named below, if there is one for all
    if not any(each.failed for settings in compared.values() for each in settings):
        hidden.add("failed")
    columns = [i for i, name in enumerate(header) if name not in hidden]
    cells = [[row[i] for i in columns] for row in rows[:SHOWN]]
    title = "settings over their repetitions, best first"
    table = compact_table(title, [header[i] for i in columns], cells, console, optional=("sd", "failed"))
    if len(rows) > SHOWN:
        table.add_row("…")
    console.print(table)
    for metric, settings in compared.items():
        best = settings[0]
        equal = tied(settings)
        also = f"; {equal} {'others' if equal > 1 else 'other'} may be as good" if equal else ""
        console.print(f"best by {metric}: {best.name}, mean {best.mean:.6g}{also}", markup=False, highlight=False)
        say(console, "run one of its repetitions alone with", f"  {rerun_command(best.jobs[0].record.overrides)}")
        if len(settings) > 1 and len(best.jobs) < FEW:
            few = f"{len(best.jobs)} repetitions show few differences between settings"
            console.print(f"{few}; more seeds or folds show more")


def _draw(directory: Path, jobs: Sequence[Job], compared: Mapping[str, Sequence[Setting]]) -> None:
    from logreg.report.figures.path import path_figure
    from logreg.report.figures.sweep import sweep_figures
    from logreg.report.figures.theme import Drawing
    from logreg.report.run import save_figures
    from logreg.report.tensorboard.events import EventFile

    drawings, choice = sweep_figures(jobs), read_choice(directory)
    if choice is not None and choice.metric in compared:
        path = path_figure(compared[choice.metric], choice)
        drawings |= {} if path is None else {"path": Drawing(path)}
    events = EventFile(directory / "figures")
    save_figures(drawings, directory, events, 0, prefix="sweep/")
    events.close()
