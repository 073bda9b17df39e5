"""The page of a sweep: its leaderboard, how sure that is, what was swept, and what went wrong."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from logreg.core.errors import plural
from logreg.core.numbers import is_finite
from logreg.records.comparison import Setting, compare, tied, verdict
from logreg.records.jobs import Job, best_jobs, different_losses, failures, rerun_command, swept_keys
from logreg.records.record import shown
from logreg.records.selection import read_choice, refitted
from logreg.report.page.charts import lesson_of
from logreg.report.page.render import render
from logreg.report.page.run_page import provenance, rows_line
from logreg.report.page.sweep_charts import curve_charts, swept_charts
from logreg.report.page.tables import PagedTable, bounded, decimals_of, numbers, shown_number, texts
from logreg.report.sweep import overlap, winners
from logreg.report.terminal.sentences import is_part, spoken

FIRST = ("loss", "log_loss", "accuracy", "auroc", "brier", "f1")  # metrics, as readers look for them
LEADERBOARD_BYTES, SETTINGS_BYTES = 1_300_000, 500_000  # of the data of the tables
MOST_KEYS, MOST_METRICS = 12, 6  # columns of a table
FEWER_METRICS, MANY = 3, 5_000  # rows matter more than the metrics that nobody monitors
LONGEST_NAME, LONGEST_COMMAND, MOST_COMMON = 1_000, 20_000, 200
MOST_REASONS, MOST_NAMED = 20, 12  # different errors; jobs that are named for each


def sweep_page(directory: Path, jobs: list[Job]) -> str:
    """The HTML of a sweep's page.

    Args:
        jobs: of `logreg.records.jobs.read_jobs`; one at least has completed.
    """
    compared = compare(jobs, overlap=overlap(jobs))
    best = winners(jobs, compared)
    failed = failures(jobs)
    errors, further = reasons(failed)
    table, note = leaderboard_table(jobs, compared)
    settings, settings_note = settings_table(compared)
    top = best_jobs(jobs)
    first = (top or jobs)[0].record
    choice = read_choice(directory)
    counts = Counter(job.record.status for job in jobs)
    statuses = sorted(counts.items(), key=lambda item: (item[0] != "completed", -item[1]))
    elsewhere = {*swept_keys(jobs), "tags"}  # tags stand among the facts
    common = [(bounded(k, 100), bounded(v, 300)) for k, v in jobs[0].settings.items() if k not in elsewhere]
    values: dict[str, object] = {
        "name": first.name or directory.name,
        "directory": shown(directory),
        "outcome": f"{plural(len(jobs), 'job')}: {', '.join(f'{count:,} {status}' for status, count in statuses)}",
        "rows": rows_line(first),
        "tiles": _tiles(jobs, compared, best),
        "conclusions": conclusions(jobs, compared),
        "best": [  # of each monitored metric the best job, with the command that runs it alone
            (job, bounded(rerun_command(job.record.overrides), LONGEST_COMMAND))
            for job in ([group[0] for group in best.values()] if compared else top)[:MOST_REASONS]
        ],
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
        "reasons": errors,
        "further": further,
        "failed": len(failed),
        "common": common[:MOST_COMMON],
        "provenance": [pair for pair in provenance(first) if pair[0] != "time in all"],
    }
    return render("sweep.html", values)


def _tiles(
    jobs: Sequence[Job], compared: Mapping[str, list[Setting]], best: Mapping[str, list[Job]]
) -> list[dict[str, object]]:
    """The few numbers that a reader looks for first."""
    tiles: list[dict[str, object]] = []
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
        under = "of the winner" if len(winning) == 1 else f"of the winner, mean of {len(winning)}"
        for name in ("accuracy", "auroc"):
            values = [v for job in winning if is_finite(v := job.metrics.get(f"test/{name}"))]
            if values:
                tiles.append({"name": f"{spoken(name)}, test", "value": fmean(values), "number": True, "under": under})
    completed = sum(job.is_completed for job in jobs)
    tiles.append({"name": "Jobs completed", "value": f"{completed:,}", "number": False, "under": f"of {len(jobs):,}"})
    return tiles


def reasons(failed: Sequence[Job]) -> tuple[list[dict[str, object]], int]:
    """Why jobs did not complete, the commonest reason first, and how many further reasons there are.

    Args:
        failed: by number.
    """

    def error_of(job: Job) -> str:
        return job.record.error or "no reason was written down"

    by_reason: dict[tuple[str, str], list[Job]] = {}
    for job in failed:
        text = re.sub(r"\d[\d,.]*", "0", error_of(job))  # the same reason after 42 updates and after 43
        by_reason.setdefault((job.record.status, text), []).append(job)
    listed = []
    for (status, _), jobs in sorted(by_reason.items(), key=lambda item: -len(item[1]))[:MOST_REASONS]:
        named = ", ".join(str(job.number) for job in jobs[:MOST_NAMED]) + (", …" if len(jobs) > MOST_NAMED else "")
        first = bounded(error_of(jobs[0]), 600)
        also = " (in the others with other numbers)" if len({error_of(job) for job in jobs}) > 1 else ""
        listed.append({"status": status, "error": first + also, "count": len(jobs), "jobs": named})
    return listed, max(0, len(by_reason) - MOST_REASONS)


def leaderboard_table(jobs: Sequence[Job], compared: Mapping[str, Sequence[Setting]]) -> tuple[PagedTable, str]:
    """The jobs of a sweep, best first, as far as there is room, and a sentence on what there was none for.

    Args:
        jobs: as `logreg.records.jobs.read_jobs` ranks them.
    """
    keys, metrics = swept_keys(list(jobs)), metric_names(jobs)
    shown_keys, shown_metrics = keys[:MOST_KEYS], metrics[: FEWER_METRICS if len(jobs) > MANY else MOST_METRICS]
    is_ranked = [job.is_ranked for job in jobs]
    seconds = [job.record.seconds.get("total") for job in jobs]
    rank = {job.directory: each.rank for group in compared.values() for each in group for job in each.jobs}
    columns = [
        numbers("rank", [place + 1 if ok else None for place, ok in enumerate(is_ranked)], 0),
        numbers("job", [job.number for job in jobs], 0),
        *([] if all(is_ranked) else [texts("status", [job.record.status for job in jobs], "status")]),
        *(texts(bounded(key, 60), [job.settings.get(key, "") for job in jobs], "setting") for key in shown_keys),
        *(numbers(bounded(name, 60), [job.metrics.get(name) for job in jobs]) for name in shown_metrics),
        *([numbers("setting", [rank.get(job.directory) for job in jobs], 0)] if rank else []),
        numbers("seconds", seconds, min(3, decimals_of(seconds))),
    ]
    table = PagedTable("leaderboard", columns, "leaderboard.csv", is_ranked=True).within(LEADERBOARD_BYTES)
    counts = {"jobs": (table.count, len(jobs)), "swept keys": (len(shown_keys), len(keys))}
    return table, _shown_of(counts | {"metrics": (len(shown_metrics), len(metrics))}, table.rest)


def _shown_of(counts: Mapping[str, tuple[int, int]], rest: str) -> str:
    """A sentence on how many of what are shown, where that is not all."""
    parts = [f"{shown:,} of {count:,} {name}" for name, (shown, count) in counts.items() if shown < count]
    return f"Shown are {' and '.join(parts)}; {rest} has all." if parts else ""


def metric_names(jobs: Sequence[Job]) -> list[str]:
    """The metrics of the jobs, those first that are monitored, then those of the same rows."""
    monitors = list(dict.fromkeys(job.monitor for job in jobs if job.score is not None))
    splits = [name.partition("/")[0] for name in monitors]
    names = dict.fromkeys(name for job in jobs for name in job.metrics if not is_part(name))
    doubled = {name.replace("log_loss", "loss"): name for name in names if name.endswith("/log_loss")}
    for loss, log_loss in doubled.items():  # the same number twice, as a rule
        if all(job.metrics.get(loss) == job.metrics.get(log_loss) for job in jobs) and log_loss not in monitors:
            del names[log_loss]

    def place(name: str) -> tuple[bool, int]:
        split, _, metric = name.partition("/")
        return split not in splits, FIRST.index(metric) if metric in FIRST else len(FIRST)

    return [name for name in monitors if name in names] + sorted(
        set(names) - set(monitors), key=lambda n: (place(n), n)
    )


def settings_table(compared: Mapping[str, Sequence[Setting]]) -> tuple[PagedTable | None, str]:
    """How the settings did over their repetitions, and a sentence on what there was no room for.

    None where nothing was repeated.
    """
    rows = [each for group in compared.values() for each in group]
    if not rows:
        return None, ""
    keys = list(dict.fromkeys(key for each in rows for key in each.settings))
    metrics = [metric for metric, group in compared.items() for _ in group]
    failed = [each.failed for each in rows]
    means = numbers("mean", [each.mean for each in rows])
    columns = [
        numbers("rank", [each.rank for each in rows], 0),
        *([texts("metric", metrics)] if len(compared) > 1 else []),
        *(
            texts(bounded(key, 60), [each.settings.get(key, "") for each in rows], "setting")
            for key in keys[:MOST_KEYS]
        ),
        numbers("n", [len(each.jobs) for each in rows], 0),
        *([numbers("failed", failed, 0)] if any(failed) else []),
        means,
        numbers("sd", [each.deviation for each in rows], means.decimals),
        numbers("95 % from", [each.low for each in rows], means.decimals),
        numbers("to", [each.high for each in rows], means.decimals),
        texts("verdict", [verdict(each, compared[metric]) for each, metric in zip(rows, metrics, strict=True)]),
    ]
    table = PagedTable("settings", columns, "settings.csv", page=20, is_ranked=True).within(SETTINGS_BYTES)
    counts = {"settings": (table.count, len(rows)), "swept keys": (min(MOST_KEYS, len(keys)), len(keys))}
    return table, _shown_of(counts, table.rest)


def conclusions(jobs: Sequence[Job], compared: Mapping[str, Sequence[Setting]]) -> list[str]:
    """How sure the ranking is, a sentence for each monitored metric whose settings were repeated."""
    remark = different_losses(jobs)
    lines = [f"{remark[0].upper()}{remark[1:]}."] if remark else []
    for metric, group in compared.items():
        best = group[0]
        name, equal = bounded(best.name, LONGEST_NAME), tied(group)
        also = f"; {equal:,} {'others' if equal > 1 else 'other'} of {len(group):,} may be as good" if equal else ""
        if not equal and len(group) > 1:
            also = (
                f"; it differs from all {len(group) - 1:,} others" if len(group) > 2 else "; it differs from the other"
            )
        lines.append(f"Best by {metric}: {name}, mean {best.mean:.6g} over {plural(len(best.jobs), 'job')}{also}.")
    return lines
