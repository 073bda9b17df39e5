"""The metrics of a trained classifier by split, and its calibration on validation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from logreg.data.blocks import EvaluationBatches
from logreg.data.rows import Batch, batch_parts
from logreg.data.splits import SPLITS
from logreg.evaluation.calibration import fit_calibration
from logreg.optim.firth import FirthProblem
from logreg.optim.objective import theta_of
from logreg.training.checks import TRAIN_METRICS
from logreg.training.classifier import BinaryClassifier

OF_CALIBRATION = ("log_loss", "brier", "calibration_error")  # are kept as they were before it
BatchesOf = Callable[[str], Iterable[Batch] | None]  # a split, None where it has no rows


def calibrate(
    classifier: BinaryClassifier,
    method: str,
    batches_of: BatchesOf,
    splits: Sequence[str],
) -> dict[str, object]:
    """Calibrate a classifier on its validation rows; returns what ``run.json`` says of it.

    An isotonic calibration can be as steep as two validation rows are close, so that rounding logits to float32 would
    show in the probabilities: it takes float64 for a run to give the same ones everywhere.

    Raises:
        UserError: the validation rows are none, or of one label only.
    """
    before = evaluate(classifier, batches_of, [split for split in splits if split != "train"])
    z, y, weight = held_out(classifier, batches_of("val"), logits=True)
    calibration = fit_calibration(method, z, y, weight)
    classifier.decide(classifier.threshold, calibration)
    uncalibrated = {name: value for name, value in before.items() if name.partition("/")[2] in OF_CALIBRATION}
    return {**calibration.as_record(), "rows": len(y), "uncalibrated": uncalibrated}


def validation_labels(batches: Iterable[Batch] | None) -> np.ndarray:
    """The labels of those rows that have a weight, (rows,)."""
    labels = [y if weight is None else y[weight > 0] for _, y, weight in map(batch_parts, batches or ())]
    return torch.cat(labels).numpy() if labels else np.empty(0)


@torch.no_grad()
def held_out(
    classifier: BinaryClassifier, batches: Iterable[Batch] | None, logits: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Probabilities, or logits before calibration, labels and weights of the validation rows, (rows,) each."""
    classifier.eval()
    columns: list[list[torch.Tensor]] = [[], [], []]
    for batch in batches or ():
        x, y, weight = batch_parts(batch)
        z = classifier.logits(x.to(classifier.device))
        columns[0].append((z if logits else classifier.evaluation.probabilities(z)).cpu())
        columns[1].append(y)
        if weight is not None:
            columns[2].append(weight)
    probabilities, labels, weights = (torch.cat(parts).double().numpy() if parts else None for parts in columns)
    assert probabilities is not None
    assert labels is not None
    return probabilities, labels, weights


def evaluate(
    classifier: BinaryClassifier,
    batches_of: BatchesOf,
    splits: Iterable[str] = SPLITS,
    firth: float | None = None,
) -> dict[str, float]:
    """Metrics of every one of these splits that has rows, by name.

    ``train/loss`` is the objective, penalty included; ``val/loss`` and ``test/loss`` are the mean of the loss that was
    minimised, alone, and every ``log_loss`` is the mean log loss.

    Args:
        firth: weight of Firth's penalty, where the classifier was loaded and does not know it.
    """
    metrics: dict[str, float] = {}
    objective = classifier.objective
    firth = objective.firth if firth is None else firth
    for split in splits:
        batches = batches_of(split)
        if batches is None:
            continue
        values = classifier.evaluate(batches, TRAIN_METRICS if split == "train" else None)
        if split == "train":
            if objective.penalised:
                values["loss"] += float(objective.penalty(classifier.network))
            if firth:
                assert isinstance(batches, EvaluationBatches)
                problem = FirthProblem(batches.rows, firth, classifier.threshold)
                values["loss"] += problem.penalty(theta_of(classifier.network).cpu())
            values = {name: values[name] for name in TRAIN_METRICS if name in values}
        metrics |= {f"{split}/{name}": value for name, value in values.items()}
    return metrics
