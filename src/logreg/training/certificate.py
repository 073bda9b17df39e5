"""How far a run ended from the best coefficients for its training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lightning.pytorch import Trainer
from torch.optim import Optimizer

from logreg.core.errors import UserError
from logreg.data.adapter import AnyData
from logreg.data.rows import Rows
from logreg.evaluation.coefficients.flatness import remark
from logreg.evaluation.coefficients.optimality import Optimality, certify, separation_of
from logreg.evaluation.coefficients.separation import Separation
from logreg.optim.losses import LOG_LOSS
from logreg.optim.objective import linear_coefficients, theta_of
from logreg.optim.problem import LogisticProblem
from logreg.optim.solver import Solver
from logreg.records.record import Certificate
from logreg.training.classifier import BinaryClassifier


def certificate(
    data: AnyData,
    classifier: BinaryClassifier,
    trainer: Trainer,
    most_searched: float,
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
    optimality = optimality_of(classifier, rows, lambda p: separation_of(p, names, most_searched), optimizer, named)
    return None if optimality is None else optimality.as_record()


def optimality_of(
    classifier: BinaryClassifier,
    rows: Rows,
    separation: Callable[[LogisticProblem], Separation | None],
    optimizer: type[Optimizer],
    names: Sequence[str] = (),
) -> Optimality | None:
    """How far a linear classifier is from the least log loss of its training rows; None of any other.

    Args:
        separation: looks for one of the labels.
        optimizer: what they were trained by.
        names: of the features, for what is said where none was looked for; empty to leave that out.
    """
    if linear_coefficients(classifier.network) is None or classifier.loss != LOG_LOSS:
        return None
    problem = classifier.problem(rows)
    theta, separated = theta_of(classifier.network).cpu(), separation(problem)
    solver = optimizer.name if issubclass(optimizer, Solver) else ""
    optimality = certify(problem, theta, separated, solver)
    if separated is not None or optimality.penalised or not names:
        return optimality
    gap = optimality.gap if optimality.converged else None
    return replace(optimality, remark=remark(problem, theta, gap, names))
