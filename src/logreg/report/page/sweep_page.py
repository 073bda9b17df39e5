"""The page of a sweep: its leaderboard, how sure that is, what was swept, and what went wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from logreg.core.errors import plural
from logreg.records.comparison import Setting, compare
from logreg.records.jobs import Job, best_jobs, failures
from logreg.records.record import shown
from logreg.records.selection import read_choice, refitted
from logreg.report.page import run_sections, sweep_sections
from logreg.report.page.lesson import lesson_of
from logreg.report.page.numbers import shown_number
from logreg.report.page.render import render
from logreg.report.page.sweep_charts import curve_charts, swept_charts
from logreg.report.sweep import overlap, winners


def sweep_page(directory: Path, jobs: list[Job]) -> str:
    """The HTML of a sweep's page.

    Args:
        jobs: as `logreg.records.jobs.read_jobs` found them in the directory; one at least has completed.
    """
    compared = compare(jobs, overlap=overlap(jobs))
    best = winners(jobs, compared)
    failed = failures(jobs)
    reasons, further = sweep_sections.reasons(failed)
    table, note = sweep_sections.leaderboard_table(jobs, compared)
    settings, settings_note = sweep_sections.settings_table(compared)
    top = best_jobs(jobs)
    first = (top or jobs)[0].record
    choice = read_choice(directory)
    values: dict[str, object] = {
        "name": first.name or directory.name,
        "directory": shown(directory),
        "outcome": _outcome(jobs),
        "rows": run_sections.rows_line(first),
        "tiles": _tiles(jobs, compared, best),
        "conclusions": sweep_sections.conclusions(jobs, compared),
        "best": sweep_sections.best_lines(top if not compared else [group[0] for group in best.values()]),
        "is_repeated": bool(compared),
        "choice": None if choice is None else choice.sentence,
        "refit": None if choice is None else refitted(directory),
        "settings": settings,
        "settings_note": settings_note,
        "curves": curve_charts(jobs),
        "swept": swept_charts(directory, jobs, compared),
        "leaderboard": table,
        "note": note,
        "lesson": lesson_of(directory),
        "reasons": reasons,
        "further": further,
        "failed": len(failed),
        "common": sweep_sections.common_overrides(jobs),
        "provenance": [pair for pair in run_sections.provenance(first) if pair[0] != "time in all"],
    }
    return render("sweep.html", values)


Tile = dict[str, object]  # name, value, whether that is a number, and what stands under it


def _outcome(jobs: Sequence[Job]) -> str:
    """How many jobs ended in which way, those that completed first."""
    statuses = Counter(job.record.status for job in jobs)
    ordered = sorted(statuses.items(), key=lambda item: (item[0] != "completed", -item[1]))
    return f"{plural(len(jobs), 'job')}: {', '.join(f'{count:,} {status}' for status, count in ordered)}"


def _tiles(jobs: Sequence[Job], compared: Mapping[str, list[Setting]], best: Mapping[str, list[Job]]) -> list[Tile]:
    """The few numbers that a reader looks for first."""
    tiles: list[Tile] = []
    for metric, winning in list(best.items())[:3]:
        if metric in compared:
            top = compared[metric][0]
            under = f"over {plural(len(top.jobs), 'repetition')}"
            if not math.isnan(top.low):
                under = f"95 % interval {shown_number(top.low)} to {shown_number(top.high)}\n{under}"
            tiles.append({"name": f"Best mean {metric}", "value": top.mean, "number": True, "under": under})
        else:
            job = winning[0]
            tiles.append({"name": f"Best {metric}", "value": job.score, "number": True, "under": f"job {job.number}"})
    if len(best) == 1:
        winning = next(iter(best.values()))
        tested = dict(sweep_sections.tested(winning)) if winning else {}
        under = "of the winner" if len(winning) == 1 else f"of the winner, mean of {len(winning)}"
        for name in [name for name in ("test/accuracy", "test/auroc") if name in tested]:
            title = f"{run_sections.spoken(name.partition('/')[2])}, test"
            tiles.append({"name": title, "value": tested[name], "number": True, "under": under})
    completed = sum(job.is_completed for job in jobs)
    tiles.append({"name": "Jobs completed", "value": f"{completed:,}", "number": False, "under": f"of {len(jobs):,}"})
    return tiles
