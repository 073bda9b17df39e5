"""Standard errors and the like of a run, or the sentence that says why it has none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from logreg.core.errors import UserError
from logreg.core.settings import AUTO
from logreg.data.adapter import AnyData
from logreg.data.datamodule import BlockData
from logreg.evaluation.coefficients.covariance import covariance
from logreg.evaluation.coefficients.estimates import Estimates, Inference, NoInference, raw_matrix, statistics
from logreg.evaluation.coefficients.flatness import flatness
from logreg.evaluation.coefficients.marginal_effects import marginal_effects
from logreg.evaluation.coefficients.optimality import MOST_GRAM_COLUMNS
from logreg.evaluation.coefficients.profile import profile
from logreg.evaluation.coefficients.separation import dependence
from logreg.optim.objective import linear_coefficients, theta_of
from logreg.records.record import Certificate, RunRecord
from logreg.training.classifier import BinaryClassifier

NEAR_ENOUGH = 1e-3  # standard errors that an estimate may be from the optimum
MOST_PROFILED = 20  # coefficients whose profiles are made unasked: each takes some hundred passes


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        inference: ``auto``, ``wald`` or ``profile``.
        covariance: see `logreg.evaluation.coefficients.covariance`.
        by_name: whether a fit without standard errors is to say why in any case.
    """

    inference: str
    covariance: str
    by_name: bool


def check_model(classifier: BinaryClassifier, data: AnyData) -> None:
    """Refuse inference that no training would give a meaning to.

    Raises:
        UserError: the model is not linear, or its data cannot be read once more.
    """
    if linear_coefficients(classifier.network) is None:
        raise UserError("inference=wald and covariance need a linear model, which this one is not; use inference=auto.")
    data.needs_blocks("inference needs data that can be read once more; derive it from BlockData.")


def infer(
    classifier: BinaryClassifier, data: BlockData, optimality: Certificate | None, wanted: Wanted
) -> Inference | None:
    """The inference of a trained classifier; None where it is not asked for and has no meaning.

    Args:
        optimality: what the record says of it.

    Raises:
        NoInference: it would be meaningless.
    """
    objective = classifier.objective
    linear = linear_coefficients(classifier.network) is not None
    if not linear or optimality is None or objective.penalised or data.class_weight is not None:
        return None
    problem, theta = classifier.problem(data.served("train")), theta_of(classifier.network).cpu()
    total = data.training_weight
    _check_known(optimality, total, problem.features)
    if optimality.separation is None:
        # What the linear programs would have found, had they been asked.
        flat = flatness(problem, theta, data.preprocessor.feature_names, total)
        if flat.dependent:
            raise NoInference(dependence(flat.dependent))
        if flat.separating:
            raise NoInference(f"{flat.separation}; use penalty=firth")
    scale, mean = data.preprocessor.raw_units
    groups = data.training_groups if wanted.covariance == "cluster" else None
    weight = data.own_weights("train")
    clusters = None if groups is None else len(np.unique(groups if weight is None else groups[weight > 0]))
    if clusters is not None and clusters < 2:
        raise NoInference("data.group has one group only, and covariance=cluster needs several")
    if wanted.covariance in ("HC1", "cluster") and total <= len(theta):
        raise NoInference(f"covariance={wanted.covariance} needs more rows than coefficients")
    raw = raw_matrix(scale, mean)
    try:
        spread = covariance(problem, theta, total, wanted.covariance, groups)
    except np.linalg.LinAlgError:
        raise NoInference("the Fisher information is singular") from None
    coefficients = Estimates.wald(raw @ theta.numpy(), np.einsum("ij,jk,ik->i", raw, spread, raw, optimize=True))
    method = wanted.inference
    if method == AUTO:  # the intervals of Firth's are lopsided
        method = "profile" if objective.firth and len(theta) <= MOST_PROFILED else "wald"
    return Inference(
        method=method,
        covariance=wanted.covariance,
        statistics=statistics(problem, theta, total, raw),
        coefficients=profile(problem, theta, total, raw, coefficients) if method == "profile" else coefficients,
        marginal_effects=marginal_effects(problem, theta, spread, scale, list(data.preprocessor.flags())),
        clusters=clusters,
    )


def infer_run(
    record: RunRecord, classifier: BinaryClassifier, data: AnyData, wanted: Wanted
) -> Inference | NoInference | None:
    """`infer` for a run, whose record says what came out, or why nothing did."""
    if not record.metrics or data.blocks is None:
        return None
    inference: Inference | NoInference | None
    try:
        inference = infer(classifier, data.blocks, record.optimality, wanted)
    except NoInference as reason:
        inference = NoInference(str(reason), reason.is_news or wanted.by_name)
    record.inference = None if inference is None else inference.as_record()
    return inference


def _check_known(optimality: Certificate, total: float, features: int) -> None:
    """Hold what the run's certificate says against what inference needs."""
    separation: Mapping[str, Any] = optimality.separation or {}
    kind = separation.get("kind", "none")
    if kind != "none":
        raise NoInference(
            f"the labels are {kind}ly separated, so that there is no finite estimate; penalty=firth has one", False
        )
    if dependent := separation.get("dependent"):
        raise NoInference(dependence(dependent), False)
    if features > MOST_GRAM_COLUMNS:
        raise NoInference(f"there are more than {MOST_GRAM_COLUMNS:,} features")
    gap = optimality.gap
    distance = math.inf if gap is None else math.sqrt(2 * total * max(gap, 0.0))
    if not distance <= NEAR_ENOUGH:
        far = f", about {distance:.2g} standard errors from the optimum" if math.isfinite(distance) else ""
        raise NoInference(f"the fit is not converged{far}; try {optimality.remedy}", optimality.converged is True)
