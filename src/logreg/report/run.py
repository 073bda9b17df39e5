"""The report of one run: figures, its row in TensorBoard's HParams tab, the summary on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from logreg.classifier import BinaryClassifier
from logreg.data.in_memory import InMemoryData
from logreg.report import summary
from logreg.report.tensorboard import EventFile, TensorBoardLogger
from logreg.runs import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def report_run(
    record: RunRecord,
    classifier: BinaryClassifier,
    data: Any,
    loggers: Sequence[Any],
    directory: Path,
    hyperparameters: Mapping[str, Any],
    with_figures: bool,
    brief: bool = False,
) -> None:
    """Write and print everything that a finished run shows of itself; in brief, a line on the terminal."""
    events = next((logger.events for logger in loggers if isinstance(logger, TensorBoardLogger)), None)
    if with_figures and record.metrics and isinstance(data, InMemoryData):
        _save_figures(draw(classifier, data), directory, events, record.evaluated["updates"])
    if events is not None:
        events.hyperparameters(hyperparameters, group=f"{directory.parent.name}/{directory.name}")
        events.scalars({f"final/{name}": value for name, value in record.metrics.items()}, record.updates)
        events.end(success=record.status == "completed")
        events.close()
    if brief:
        summary.show_briefly(record, Console(stderr=True))
    else:
        summary.show(record, classifier, data, directory, Console())


def draw(classifier: BinaryClassifier, data: InMemoryData) -> dict[str, Figure]:
    """The figures that suit the data, by name, over the rows that were held out the longest."""
    from logreg.report import figures

    split = next(name for name in ("test", "val", "train") if len(data.rows[name]))
    title = f"{data.name}, {split} rows"
    if data.num_features == 2:
        x, y = (np.concatenate(parts) for parts in zip(*(_arrays(data, name) for name in data.rows), strict=True))
        names = [f"{name} (standardised)" if data.standardize else name for name in data.source.features]
        return {"decision_boundary": figures.decision_boundary(classifier, x, y, names, f"{data.name}, all rows")}
    rows, truth = data.tensors(split)
    p, labels = _probabilities(classifier, rows), truth.numpy()
    return {
        "roc": figures.roc(labels, p, title),
        "precision_recall": figures.precision_recall(labels, p, title),
        "reliability": figures.reliability(labels, p, title),
    }


def _arrays(data: InMemoryData, split: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = data.tensors(split)
    return x.numpy(), y.numpy()


def _probabilities(classifier: BinaryClassifier, x: Any) -> np.ndarray:
    import torch

    with torch.no_grad():
        return torch.sigmoid(classifier.logits(x.to(classifier.device)).double().cpu()).numpy()


def _save_figures(drawn: Mapping[str, Figure], directory: Path, events: EventFile | None, step: int) -> None:
    from logreg.report.figures import to_png

    for name, figure in drawn.items():
        png, width, height = to_png(figure, directory / "figures" / f"{name}.png")
        if events is not None:
            events.image(name, png, width, height, step)
