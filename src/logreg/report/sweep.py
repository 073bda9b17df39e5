"""The report of a sweep: its leaderboard, how sure its ranking is, and the figures of what was swept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rich.console import Console

from logreg.core.files import write_csv
from logreg.records.comparison import DATA_SEED, FOLD, Setting, compare, table_rows, tied, verdict
from logreg.records.jobs import Job, best_jobs, rerun_command
from logreg.records.selection import read_choice
from logreg.report import leaderboard
from logreg.report.terminal.tables import compact_table, say

SHOWN = 10
MOST_TESTED = 5  # metrics of the test rows on the terminal
FEW = 5  # repetitions; with fewer, hardly any two settings differ significantly


def report_sweep(
    directory: Path, jobs: list[Job], compared: Mapping[str, list[Setting]], console: Console, with_figures: bool
) -> None:
    """Write ``figures/`` of a sweep; print the top of its tables.

    Args:
        compared: as `write_tables` found it.
    """
    if with_figures and len(jobs) > 1:
        _draw(directory, jobs, compared)
    leaderboard.show(directory, jobs, console, by_job=not compared)
    if compared:
        _show(compared, console)
    _show_tested(winners(jobs, compared), console)


def write_tables(directory: Path, jobs: list[Job]) -> dict[str, list[Setting]]:
    """Write the leaderboard and, where settings were repeated, ``settings.csv``; returns how these compare."""
    compared = compare(jobs, overlap=overlap(jobs))
    table, preface = table_rows(compared), []
    if compared:
        write_csv(directory / "settings.csv", table)
        preface = ["Settings over their repetitions:", "", *leaderboard.markdown_table(table), "", "Jobs:", ""]
    leaderboard.write(directory, jobs, _of_setting(compared), preface)
    return compared


def winners(jobs: list[Job], compared: Mapping[str, list[Setting]]) -> dict[str, list[Job]]:
    """By monitored metric the best job; where settings were repeated, all jobs of the best setting."""
    best = {job.monitor: [job] for job in best_jobs(jobs)}
    return best | {metric: settings[0].jobs for metric, settings in compared.items()}


def _of_setting(compared: Mapping[str, Sequence[Setting]]) -> dict[Path, dict[str, object]]:
    """What the leaderboard says of the setting that a job repeats, by the job's directory."""
    return {
        job.directory: {
            "setting": each.rank,
            "mean": repr(each.mean),
            "sd": _defined(each.deviation),
            "low": _defined(each.low),
            "high": _defined(each.high),
            "verdict": verdict(each, settings),
        }
        for settings in compared.values()
        for each in settings
        for job in each.jobs
    }


def _defined(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _show_tested(best: Mapping[str, Sequence[Job]], console: Console) -> None:
    """The test metrics of the winner, which alone has any."""
    for jobs in best.values():
        names = [name for name in jobs[0].metrics if name.startswith("test/")][:MOST_TESTED]
        means = {name: fmean(job.metrics[name] for job in jobs if name in job.metrics) for name in names}
        if means:
            which = "" if len(jobs) == 1 else f", mean of its {len(jobs)} repetitions"
            values = ", ".join(f"{name} {value:.6g}" for name, value in means.items())
            say(console, f"the winner on test rows{which}: {values}")


def overlap(jobs: Sequence[Job]) -> float | None:
    """n_val / n_train where every seed draws the split anew; None where folds are swept, or nothing is held out."""
    given = {job.settings.get(DATA_SEED) for job in jobs}
    for job in jobs:
        rows = job.record.rows
        same_split = job.settings.get(DATA_SEED) is not None and len(given) == 1
        if rows.get("val") and rows.get("train") and FOLD not in job.settings and not same_split:
            return float(rows["val"] / rows["train"])
    return None


def _show(compared: Mapping[str, Sequence[Setting]], console: Console) -> None:
    header, *rows = table_rows(compared, digits=4)
    unsaid = {"metric"} if len(compared) == 1 else set()  # which is named below, if there is one for all
    if not any(each.failed for settings in compared.values() for each in settings):
        unsaid.add("failed")
    columns = [i for i, name in enumerate(header) if name not in unsaid]
    shown = [[row[i] for i in columns] for row in rows[:SHOWN]]
    title = "settings over their repetitions, best first"
    table = compact_table(title, [header[i] for i in columns], shown, console, optional=("sd", "failed"))
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
            console.print(f"{len(best.jobs)} repetitions tell few settings apart; more seeds or folds tell more")


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
