"""What a lesson is, and where its conclusion goes."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from logreg.core.errors import UserError
from logreg.core.files import write_atomically
from logreg.core.numbers import is_number
from logreg.data.adapter import AnyData
from logreg.data.datamodule import BlockData
from logreg.optim.losses import LOG_LOSS
from logreg.records.jobs import Job
from logreg.records.record import LESSON, LESSON_FIGURES, finite
from logreg.report.figures.theme import Drawing
from logreg.report.run import save_figures
from logreg.report.tensorboard.events import EventFile
from logreg.report.terminal.tables import say
from logreg.training.classifier import BinaryClassifier


@dataclass(frozen=True)
class Conclusion:
    """What a lesson shows.

    Attributes:
        lines: for the reader.
        numbers: that the lines are of, by name.
        figures: by name.
    """

    lines: Sequence[str]
    numbers: Mapping[str, object]
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def write(self, lesson: Lesson | SweepLesson, directory: Path, console: Console) -> None:
        """Print the lines; write ``lesson.json``, the figures, and these into the event file of the directory."""
        content = {"lesson": type(lesson).__name__, "conclusion": list(self.lines), "numbers": finite(self.numbers)}
        write_atomically(directory / LESSON, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        events = EventFile(directory)
        events.text("lesson", "\n".join(f"    {line}" for line in self.lines), 0)  # indented, and so as it stands
        drawings = {f"{LESSON_FIGURES}{name}": Drawing(figure) for name, figure in self.figures.items()}
        save_figures(drawings, directory, events, 0)
        events.close()
        console.print("\nwhat this lesson shows", style="bold")
        say(console, *(f"  {line}" for line in self.lines))
        for name in self.figures:
            console.print(f"  figures/{LESSON_FIGURES}{name}.png", style="dim", markup=False, highlight=False)


class Lesson(ABC):
    """A lesson over a run.

    Attributes:
        follows_log_loss: whether it goes its own way through training, which is always that of the log loss.
    """

    follows_log_loss = True

    def check(self, data: AnyData, classifier: BinaryClassifier) -> None:
        """Refuse what the lesson is not made for, before anything is trained.

        Raises:
            UserError: names it.
        """
        training_rows(data)
        if self.follows_log_loss and classifier.loss != LOG_LOSS:
            raise UserError(
                f"loss={classifier.loss.name}: this lesson follows the log loss; leave it out, or see "
                "experiment=lessons/squared_error_or_log_loss."
            )

    @abstractmethod
    def teach(self, data: BlockData, classifier: BinaryClassifier) -> Conclusion:
        """What there is to see.

        Raises:
            UserError: the data or the model is of a kind that it is not made for.
        """


class SweepLesson(ABC):
    """A lesson over the jobs of a sweep.

    Attributes:
        may_diverge: whether jobs that diverge are part of what there is to see, and no failure.
    """

    may_diverge = False

    @abstractmethod
    def teach(self, data: BlockData, jobs: Sequence[Job]) -> Conclusion:
        """What there is to see.

        Args:
            data: of the first job, which is that of all.

        Raises:
            UserError: the data or the jobs are of a kind that it is not made for.
        """


def refuse(jobs: Sequence[Job], key: str, only: str, why: str) -> None:
    """Refuse jobs that set a key to something else.

    Raises:
        UserError: names it.
    """
    for job in jobs:
        value = job.settings.get(key, only)
        if value != only and not (is_number(value) and is_number(only) and float(value) == float(only)):
            raise UserError(f"{key}={value}: this lesson {why}; leave it out.")


def training_rows(data: AnyData) -> tuple[np.ndarray, np.ndarray]:
    """Features (rows, features) and labels (rows,) of the training rows, float64, as the model sees them.

    Raises:
        UserError: they are not a dense table in memory.
    """
    needed = "lesson: this one needs a dense table that fits into memory; use data=toy."
    table = data.needs_blocks(needed)
    if table.preprocessor.sparse or table.is_large("train"):
        raise UserError(needed)
    if table.weights("train") is not None:
        raise UserError("lesson: this one counts every row once; leave data.weight and class_weight out.")
    x, y = (part.double().numpy() for part in table.tensors("train")[:2])
    return x.reshape(len(x), -1), y
