"""What a finished run shows in TensorBoard's tabs for texts and precision-recall curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from jaxtyping import Float

from logreg.core.settings import Settings
from logreg.data.datamodule import BlockData
from logreg.data.rows import Batch, batch_parts
from logreg.data.splits import SPLIT_NAMES
from logreg.records.jobs import rerun_command
from logreg.records.record import RunRecord, shown
from logreg.report.tensorboard.events import EventFile
from logreg.report.terminal.run import metric_rows
from logreg.report.terminal.sentences import conclusions, headline
from logreg.training.classifier import BinaryClassifier

THRESHOLDS = np.linspace(0, 1, 201)  # where TensorBoard takes the columns of a curve to lie
PLAIN = frozenset(" .,:;=%/-+'")  # what means nothing to markdown inside a line, beside letters and digits


# --- precision and recall ---------------------------------------------------------------------------------------------


def write_curves(
    events: EventFile, classifier: BinaryClassifier, data: BlockData, splits: Sequence[str], step: int
) -> None:
    """The precision-recall curve of each of these splits that was held out; of the training rows, if none was."""
    chosen = [split for split in splits if split != "train" and len(data.rows[split])] or ["train"]
    with data.serving(next(classifier.parameters()).dtype):
        for split in chosen:
            table = counts_at_thresholds(classifier, data.batches(split))
            weighted = ", as their weights count them" if data.weights(split) is not None else ""
            events.curve(f"precision_recall/{split}", table, f"{data.name}, {SPLIT_NAMES[split]} rows{weighted}", step)


@torch.no_grad()
def counts_at_thresholds(classifier: BinaryClassifier, batches: Iterable[Batch]) -> Float[np.ndarray, "6 thresholds"]:
    """True positives, false positives, true negatives, false negatives, precision and recall at `THRESHOLDS`.

    Rows count by their weights. A row is predicted to be of label 1 where its probability is at least the
    threshold; where no row is, the precision is 0, as in TensorBoard's own summaries.
    """
    classifier.eval()
    counts = np.zeros((2, len(THRESHOLDS)))  # of label 1 and of label 0, by the largest threshold that is reached
    for batch in batches:
        x, y, weight = batch_parts(batch)
        p = classifier.evaluation.probabilities(classifier.logits(x.to(classifier.device))).double().cpu().numpy()
        reached = np.searchsorted(THRESHOLDS, p, side="right") - 1
        w = np.ones(len(p)) if weight is None else weight.double().cpu().numpy()
        for i, label in enumerate((1, 0)):
            counts[i] += np.bincount(reached, w * (y.cpu().numpy() == label), minlength=len(THRESHOLDS))
    positives = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    true, false = positives
    negatives = positives[:, :1] - positives
    precision = np.divide(true, true + false, out=np.zeros_like(true), where=true + false > 0)
    recall = np.divide(true, true[0], out=np.zeros_like(true), where=true[0] > 0)
    return np.stack([true, false, negatives[1], negatives[0], precision, recall])


# --- texts ------------------------------------------------------------------------------------------------------------


def write_texts(events: EventFile, record: RunRecord, settings: Settings, directory: Path) -> None:
    events.text("conclusion", conclusion(record, directory), record.updates)
    events.text("configuration", configuration(settings.as_config()), record.updates)


def configuration(config: Mapping[str, object]) -> str:
    """A resolved configuration as a block of YAML."""
    return _block(yaml.dump(dict(config), Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=100))


_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # which takes a tenth of the time


def conclusion(record: RunRecord, directory: Path) -> str:
    """What the terminal says of a run, as markdown: how it ended, its metrics, what they are worth, how to run it."""
    parts = [f"**{_escaped(headline(record))}**"]
    if record.tags:
        parts.append(_escaped(f"tags: {', '.join(record.tags)}"))
    if record.error:
        parts.append(_escaped(record.error))
    if record.metrics:
        header, *rows = metric_rows(record.metrics, record.baseline)
        lines = [header, ["---", *["---:"] * (len(header) - 1)], *([_escaped(cell) for cell in row] for row in rows)]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        parts.append("\n".join(f"- {_escaped(line)}" for line in conclusions(record)))
    command = rerun_command(record.overrides)
    parts += [f"run directory:\n\n{_block(shown(directory))}", f"run it again:\n\n{_block(command)}"]
    return "\n\n".join(part for part in parts if part)


def _escaped(text: str) -> str:
    """Text that markdown and HTML take for nothing else."""
    one_line = " ".join(text.split())
    return "".join(c if c in PLAIN or c.isalnum() else f"&#{ord(c)};" for c in one_line)


def _block(text: str) -> str:
    """A block of code; indented, as any fence around it may be in the text."""
    return "\n".join(f"    {line}" for line in text.splitlines())
