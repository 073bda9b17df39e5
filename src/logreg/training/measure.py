"""How good a trained classifier is: its metrics by split, its calibration, and its distance from the optimum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch.optim import Optimizer

from logreg.core.errors import UserError
from logreg.data.adapter import AnyData
from logreg.data.blocks import EvaluationBatches
from logreg.data.rows import Batch, Rows, batch_parts
from logreg.data.splits import SPLITS
from logreg.evaluation.calibration import check_labels, fit_calibration
from logreg.evaluation.coefficients.flatness import remark
from logreg.evaluation.coefficients.optimality import certify, separation_of
from logreg.evaluation.coefficients.separation import Separation
from logreg.evaluation.reliability import CALIBRATED
from logreg.evaluation.thresholds import ThresholdRule
from logreg.optim.firth import FirthProblem
from logreg.optim.losses import LOG_LOSS
from logreg.optim.objective import linear_coefficients, theta_of
from logreg.optim.problem import LogisticProblem
from logreg.optim.solver import Solver
from logreg.records.record import Certificate, ChosenThreshold, RunRecord
from logreg.training.checks import TRAIN_METRICS
from logreg.training.classifier import BinaryClassifier

BatchesOf = Callable[[str], Iterable[Batch] | None]  # a split, None where it has no rows


def conclude(
    record: RunRecord,
    classifier: BinaryClassifier,
    batches_of: BatchesOf,
    splits: Sequence[str],
    rule: ThresholdRule | None,
    calibration: str | None,
) -> None:
    """Calibrate a trained classifier by a method and choose its threshold by a rule, if asked for; and measure it.

    An isotonic calibration can be as steep as two validation rows are close, so that rounding logits to float32 would
    show in the probabilities: it takes float64 for a run to give the same ones everywhere.

    Raises:
        UserError: the validation rows are none, or of one label only.
    """
    if calibration is not None:
        before = evaluate(classifier, batches_of, [split for split in splits if split != "train"])
        z, y, weight = held_out(classifier, batches_of("val"), logits=True)
        fitted = fit_calibration(calibration, z, y, weight)
        classifier.decide(classifier.threshold, fitted)
        uncalibrated = {name: value for name, value in before.items() if name.partition("/")[2] in CALIBRATED}
        record.calibration = {**fitted.as_record(), "rows": len(y), "uncalibrated": uncalibrated}
    if rule is not None:
        threshold, value = rule.choose(*held_out(classifier, batches_of("val")))
        classifier.decide(threshold, classifier.calibration)
        record.threshold_rule = ChosenThreshold(rule.name, value)
    record.threshold = classifier.threshold
    record.metrics = evaluate(classifier, batches_of, splits)


def check_calibration(method: str | None, batches_of: BatchesOf) -> None:
    """Refuse to calibrate on validation rows of one label, or on none; rows of weight 0 do not count."""
    if method is not None:
        labels = [y if weight is None else y[weight > 0] for _, y, weight in map(batch_parts, batches_of("val") or ())]
        check_labels(method, torch.cat(labels).numpy() if labels else np.empty(0))


@torch.no_grad()
def held_out(
    classifier: BinaryClassifier, batches: Iterable[Batch] | None, logits: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Probabilities, or logits before calibration, labels and weights of the validation rows, (rows,) each."""
    classifier.eval()
    rows = []
    for x, *labels_and_weights in batches or ():
        z = classifier.logits(x.to(classifier.device))
        rows.append([(z if logits else classifier.evaluation.probabilities(z)).cpu(), *labels_and_weights])
    values, y, *weight = (torch.cat(parts).double().numpy() for parts in zip(*rows, strict=True))
    return values, y, weight[0] if weight else None


def evaluate(
    classifier: BinaryClassifier, batches_of: BatchesOf, splits: Iterable[str] = SPLITS, firth: float | None = None
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


def certificate(
    data: AnyData, classifier: BinaryClassifier, trainer: Trainer, most_searched: float
) -> Certificate | None:
    """What the record says of the distance from the optimum; None of a model that is not linear, or on another loss."""
    if linear_coefficients(classifier.network) is None or classifier.loss != LOG_LOSS:
        return None
    try:
        rows, names = data.training_rows()
    except UserError as why:
        return Certificate(f"not certified: {why}")
    optimizer = type(trainer.optimizers[0]) if trainer.optimizers else Optimizer  # a signal may come early
    named = names if most_searched else ()
    return certificate_of(classifier, rows, lambda p: separation_of(p, names, most_searched), optimizer, named)


def certificate_of(
    classifier: BinaryClassifier,
    rows: Rows,
    separation: Callable[[LogisticProblem], Separation | None],  # looks for one of the labels
    optimizer: type[Optimizer],  # that it was trained by
    names: Sequence[str],  # of the features, for what is said where none was looked for; empty to leave that out
) -> Certificate | None:
    """How far a linear classifier is from the least log loss of its training rows; None of any other."""
    if linear_coefficients(classifier.network) is None or classifier.loss != LOG_LOSS:
        return None
    problem = classifier.problem(rows)
    theta, separated = theta_of(classifier.network).cpu(), separation(problem)
    solver = optimizer.name if issubclass(optimizer, Solver) else ""
    certificate = certify(problem, theta, separated, solver)
    if separated is None and names and not certificate.penalised:
        further = remark(problem, theta, certificate.gap if certificate.converged else None, names)
        if further is not None:
            return replace(certificate, sentence=f"{certificate.sentence}; {further}", remark=further)
    return certificate
