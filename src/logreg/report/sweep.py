"""The report of a sweep: its leaderboard, how sure its ranking is, and the figures of what was swept."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from logreg.report import leaderboard
from logreg.report.comparison import DATA_SEED, FOLD, Setting, compare, table_rows
from logreg.report.leaderboard import Job
from logreg.runs import write_atomically

SHOWN = 10
FEW = 5  # repetitions, below which hardly any settings can be told apart


def report_sweep(directory: Path, jobs: list[Job], console: Console, with_figures: bool) -> None:
    """Write the leaderboard, ``settings.csv`` where settings were repeated, and ``figures/``; print the top."""
    compared = compare(jobs, overlap=_overlap(jobs))
    leaderboard.write(directory, jobs)
    if compared:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(table_rows(compared))
        write_atomically(directory / "settings.csv", text.getvalue())
    if with_figures and len(jobs) > 1:
        _draw(directory, jobs)
    leaderboard.show(directory, jobs, console, by_job=not compared)
    if compared:
        _show(compared, console)


def _overlap(jobs: Sequence[Job]) -> float | None:
    """n_val / n_train where every seed draws the split anew; None where folds are swept, or nothing is held out."""
    for job in jobs:
        rows = job.record.get("data", {}).get("rows") or {}
        if rows.get("val") and rows.get("train") and FOLD not in job.settings and DATA_SEED not in job.settings:
            return float(rows["val"] / rows["train"])
    return None


def _show(compared: Mapping[str, Sequence[Setting]], console: Console) -> None:
    header, *rows = table_rows(compared)
    table = Table(title="settings over their repetitions, best first", title_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows[:SHOWN]:
        table.add_row(*(escape(cell) for cell in row))
    if len(rows) > SHOWN:
        table.add_row("…")
    console.print(table)
    for metric, settings in compared.items():
        best = settings[0]
        name = " ".join(f"{key}={value}" for key, value in best.settings.items() if value) or "the one setting"
        tied = sum(each.indistinguishable is not False for each in settings) - 1
        also = f"; {tied} others may be as good" if tied else ""
        console.print(f"best by {metric}: {name}, mean {best.mean:.6g}{also}", markup=False, highlight=False)
        command = leaderboard.rerun_command(best.jobs[0])
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)
        if len(settings) > 1 and len(best.jobs) < FEW:
            console.print(f"{len(best.jobs)} repetitions tell few settings apart; more seeds or folds tell more")


def _draw(directory: Path, jobs: Sequence[Job]) -> None:
    from logreg.report.figures import to_png
    from logreg.report.sweep_figures import sweep_figure
    from logreg.report.tensorboard import EventFile

    events = EventFile(directory / "figures")
    for name, figure in sweep_figure(jobs).items():
        png, width, height = to_png(figure, directory / "figures" / f"{name}.png")
        events.image(f"sweep/{name}", png, width, height, 0)
    events.close()
