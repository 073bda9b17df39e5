"""The report of one run: figures, its row in TensorBoard's HParams tab, the summary on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning.pytorch import Trainer
from rich.console import Console
from scipy.special import expit

from logreg.data.adapter import AnyData
from logreg.data.datamodule import BlockData
from logreg.data.images.data import ImageData
from logreg.data.splits import SPLITS
from logreg.evaluation.coefficients.estimates import Inference, NoInference
from logreg.evaluation.metrics import bins_of
from logreg.records.record import RunRecord, read_settings, splits_of
from logreg.report.figures.boundary import BoundarySeries, is_plane, points_of, write_series
from logreg.report.tensorboard.events import EventFile, TensorBoardLogger
from logreg.report.tensorboard.texts import write_curves, write_texts
from logreg.report.terminal import run
from logreg.report.terminal.coefficients import Coefficients, coefficients
from logreg.report.terminal.inference import write_marginal_effects
from logreg.training.classifier import BinaryClassifier
from logreg.training.measure import held_out

if TYPE_CHECKING:
    from logreg.report.figures.theme import Drawing

MOST_DRAWN = 200_000  # rows of a large table that the curves are drawn from


def report_run(
    record: RunRecord,
    classifier: BinaryClassifier,
    data: AnyData,
    trainer: Trainer | None,
    directory: Path,
    with_figures: bool,
    brief: bool = False,
    inference: Inference | NoInference | None = None,
) -> None:
    """Write and print everything that a finished run shows of itself; in brief, a line on the terminal."""
    loggers = [] if trainer is None else trainer.loggers
    events = next((logger.events for logger in loggers if isinstance(logger, TensorBoardLogger)), None)
    table = data.blocks
    if with_figures and record.metrics and table is not None:
        draw_run(record, classifier, table, directory, events)
    if events is not None:
        for callback in trainer.callbacks if with_figures and trainer is not None else ():  # type: ignore[attr-defined]
            if isinstance(callback, BoundarySeries) and table is not None:
                write_series(events, classifier, callback.states, table)
        write_texts(events, record, read_settings(directory), directory)
        events.layout()
        events.finish(record)
    learned: Coefficients | None = None
    if record.metrics and table is not None:
        learned = coefficients(classifier, table.preprocessor, record.optimality, inference)
        if learned is not None:
            learned.write(directory)
    if isinstance(inference, Inference) and learned is not None:
        write_marginal_effects(inference.marginal_effects, learned, directory)
    if brief:
        run.show_briefly(record, Console(stderr=True))
    else:
        run.show(record, classifier, data, learned, directory, Console(), inference)


def draw_run(
    record: RunRecord, classifier: BinaryClassifier, data: BlockData, directory: Path, events: EventFile | None
) -> None:
    """The figures of a run that has metrics, and its curves in TensorBoard."""
    splits, step = splits_of(record.metrics), record.evaluated_updates
    save_figures(draw(classifier, data, splits), directory, events, step)
    if events is not None:
        write_curves(events, classifier, data, splits, step)


def draw(
    classifier: BinaryClassifier, data: BlockData, splits: Sequence[str], on_page: bool = False
) -> dict[str, Drawing]:
    """The figures that suit the data, by name, over the rows that were held out the longest of these splits."""
    from logreg.report.figures import classifier as figures
    from logreg.report.figures.theme import Look

    look = Look.PAGE if on_page else Look.FILE
    split = next(name for name in reversed(SPLITS) if name in splits)
    title = f"{data.name}, {split} rows"
    with data.serving(next(classifier.parameters()).dtype):
        z, labels, weight = held_out(classifier, data.batches(split), logits=True)
    drawings: dict[str, Drawing] = {}
    if isinstance(data, ImageData):
        from logreg.report.figures.photos import photo_figures

        probabilities = classifier.evaluation.probabilities(torch.from_numpy(z)).numpy()
        drawings |= photo_figures(classifier, data, split, probabilities, f"{data.name}, {split} photos")
    if is_plane(data):
        x, y, names = points_of(data, next(classifier.parameters()).dtype)
        all_rows = f"{data.name}, all rows"
        drawings["decision_boundary"] = figures.decision_boundary(classifier, x, y, names, all_rows, look)
        if split == "train":  # how good the probabilities are shows on rows that were held out
            return drawings
    if len(labels) > MOST_DRAWN:
        chosen = np.linspace(0, len(labels) - 1, MOST_DRAWN).astype(np.int64)
        title = f"{title}, {MOST_DRAWN:,} of {len(labels):,}"
        labels, z, weight = labels[chosen], z[chosen], None if weight is None else weight[chosen]
    evaluation = classifier.evaluation
    p = evaluation.probabilities(torch.from_numpy(z)).numpy()
    curves = {"predicted": p}
    if classifier.calibration is not None:
        curves = {classifier.calibration.method: p, "uncalibrated": expit(z)}
    bins = bins_of(evaluation.metrics.values())
    return drawings | {
        "roc": figures.roc(labels, p, title, look),
        "precision_recall": figures.precision_recall(labels, p, title, look),
        "reliability": figures.reliability_diagram(labels, curves, bins, title, weight, look),
    }


def save_figures(
    drawings: Mapping[str, Drawing], directory: Path, events: EventFile | None, step: int, prefix: str = ""
) -> None:
    """Write figures into ``figures`` of a directory, and into its event file under tags that begin with ``prefix``."""
    from logreg.report.figures.theme import save_png

    for name, drawing in drawings.items():
        png = save_png(drawing.figure, directory / "figures" / f"{name}.png")
        if events is not None:
            events.image(f"{prefix}{name}", png, step)
