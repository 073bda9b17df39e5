"""The page of one run: what was run, what came out, how good that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from logreg.data.preprocessing import is_of_photos
from logreg.data.splits import SPLIT_NAMES
from logreg.records.jobs import rerun_command
from logreg.records.record import PREPROCESSING, RunRecord, known_config, known_settings, read_record, shown, splits_of
from logreg.report.figures.theme import page_colors
from logreg.report.page import run_charts, run_sections
from logreg.report.page.charts import Chart
from logreg.report.page.lesson import lesson_of
from logreg.report.page.render import render
from logreg.report.page.run_charts import TITLES
from logreg.report.page.tables import PagedTable, bounded
from logreg.report.terminal.sentences import ending, headline

if TYPE_CHECKING:
    from logreg.data.datamodule import BlockData
    from logreg.runs.load import Run

NOTHING_HELD_OUT = (
    "No rows were held out: how well the probabilities do on rows that training did not see cannot be drawn, so there "
    "are no ROC, precision-recall and reliability figures."
)
LONGEST = 20_000  # characters of a command or an error


@dataclass(frozen=True)
class ReloadedRun:
    """A run in the state that its metrics belong to, with the data that it was trained on, or why there is none.

    Attributes:
        run: None where it was not loaded.
        data: the run's DataModule; None where it was not loaded.
        why: one sentence for the page; empty where all is there, or nothing was to be loaded.
    """

    run: Run | None = None
    data: BlockData | None = None
    why: str = ""


def run_page(directory: Path, loaded: ReloadedRun, trusted: Sequence[str] = ()) -> str:
    """The HTML of a run's page.

    Args:
        directory: of the run.
        loaded: to draw its predictions of held-out rows anew; the figures in the directory are shown otherwise.

    Raises:
        UserError: there is no run.
    """
    record, settings = read_record(directory), known_settings(directory)
    baseline = run_sections.majority(record, settings, loaded.data, trusted) if record.metrics else {}
    figures, notes = _figures(directory, record, loaded)
    titles = {figure.title for figure in figures}
    if splits_of(record.metrics) == ["train"] and titles and TITLES["roc"] not in titles:
        notes.append(NOTHING_HELD_OUT)
    table, forest, left_out = _coefficients(directory)
    values: dict[str, object] = {
        "record": record,
        "error": bounded(str(record.error or ""), LONGEST),
        "outcome": headline(record) if record.metrics else ending(record),
        "rows": run_sections.rows_line(record),
        "splits": [SPLIT_NAMES.get(split, split) for split in splits_of(record.metrics)],
        "tiles": run_sections.tiles(record, baseline),
        "truths": run_sections.truths(record),
        "metrics": run_sections.metric_rows(record, baseline) if record.metrics else [],
        "baseline": baseline,
        "loss": run_sections.trained_on(settings).name,
        "curves": run_charts.curve_charts(directory, record),
        "figures": figures,
        "notes": notes,
        "lesson": lesson_of(directory),
        "statistics": run_sections.statistics(record),
        "coefficients": table,
        "forest": forest,
        "left_out": left_out,
        "settings": _settings(record),
        "provenance": run_sections.provenance(record),
        "configuration": run_sections.configuration_text(known_config(directory)),
        "command": bounded(rerun_command(record.overrides), LONGEST),
        "directory": shown(directory),
    }
    return render("run.html", values)


def _settings(record: RunRecord) -> list[tuple[str, str]]:
    """The settings that TensorBoard shows of a run, without those that are not set."""
    given = [(key, value) for key, value in record.hyperparameters.items() if value not in (None, "null")]
    return [(key, f"{value:.6g}" if isinstance(value, float) else bounded(str(value), 400)) for key, value in given]


def _figures(directory: Path, record: RunRecord, loaded: ReloadedRun) -> tuple[list[Chart], list[str]]:
    """The figures of what the run predicts, and remarks on them."""
    notes = [loaded.why] if loaded.why else []
    if loaded.run is not None and loaded.data is not None and record.metrics:
        from logreg.report.run import draw

        try:
            with page_colors():
                drawings = draw(loaded.run.model, loaded.data, splits_of(record.metrics), on_page=True)
                return run_charts.held_out_charts(drawings), notes
        except Exception as error:  # whatever a model or data of the user's own may raise: the rest of the page stands
            notes.append(f"The predictions could not be drawn ({type(error).__name__}: {error}).")
    files = run_charts.figure_files(directory)
    if files and notes:
        notes.append("The figures are those that the run drew when it ended.")
    return files, notes


def _coefficients(directory: Path) -> tuple[PagedTable | None, Chart | None, int]:
    """Table and chart of the coefficients, and how many small ones the table leaves out.

    Nothing of photos: a pixel by itself says nothing.
    """
    rows = [] if is_of_photos(directory / PREPROCESSING) else run_sections.read_coefficients(directory)
    if len(rows) < 2:
        return None, None, 0
    intercept = [row for row in rows if row["feature"] == "(intercept)"][:1]
    features = sorted((row for row in rows if row not in intercept), key=_size)
    most = run_sections.MOST_COEFFICIENTS
    table = run_sections.coefficient_table([*intercept, *features[:most]], len(rows))
    return table, run_charts.forest(features), max(0, len(features) - most)


def _size(row: Mapping[str, str]) -> float:
    """What the largest coefficients come first by; those that are infinite before all others."""
    value = run_sections.as_number(row["coefficient_standardised"])
    return -math.inf if value is None else -abs(value)
