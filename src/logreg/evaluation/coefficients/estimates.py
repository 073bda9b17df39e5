"""What a fit says beyond its estimates: standard errors, tests, intervals, and how well it fits."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import xlogy
from scipy.stats import chi2, norm

from logreg.evaluation.coefficients.covariance import Matrix
from logreg.evaluation.reliability import CONFIDENCE
from logreg.optim.firth import FirthProblem
from logreg.optim.problem import LogisticProblem, Theta

QUANTILE = float(norm.ppf((1 + CONFIDENCE) / 2))
Vector = Float[np.ndarray, " estimates"]


@dataclass(frozen=True)
class Estimates:
    """Estimates with what is known of their error, (estimates,) each.

    Attributes:
        z: estimate over standard error.
        p: of the hypothesis that the true value is 0.
        lower, upper: of the 95 % interval.
    """

    estimate: Vector
    standard_error: Vector
    z: Vector
    p: Vector
    lower: Vector
    upper: Vector

    @classmethod
    def wald(cls, estimate: Vector, variance: Vector) -> Estimates:
        """Normal theory: p and the interval from the standard error alone."""
        error = np.sqrt(variance)
        with np.errstate(divide="ignore", invalid="ignore"):  # an effect that is 0 in every row has no error
            z = estimate / error
        return cls(estimate, error, z, 2 * norm.sf(np.abs(z)), estimate - QUANTILE * error, estimate + QUANTILE * error)

    @property
    def odds_ratio(self) -> Vector:
        """What the odds are multiplied by per unit."""
        with np.errstate(over="ignore"):
            return np.exp(self.estimate)


@dataclass(frozen=True)
class FitStatistics:
    """How well the coefficients fit, of maximum likelihood or of a Firth fit.

    Of a Firth fit all but the test are of the plain log-likelihood at its estimates, since the penalised one has
    another constant in other units. The test is the penalised one: its null model has slopes of 0 and the information
    of all columns in its penalty, whose intercept is the logit of (n1 + k/2) / (N + k) for n1 rows of label 1.

    Attributes:
        observations: N, the number of rows, or the sum of their weights.
        parameters: k, the number of coefficients with the intercept.
        log_likelihood: L, -N times the mean log loss.
        null_log_likelihood: L0, that of the best constant.
        deviance, aic, bic: -2 L, 2 k - 2 L and k log N - 2 L.
        mcfadden_r2: 1 - L / L0.
        likelihood_ratio, likelihood_ratio_p: 2 (L - L0), the test of all slopes, and its p of chi² with k - 1 degrees
            of freedom.
        penalised_log_likelihood: of a Firth fit, in the units of the table; None of another one.
    """

    observations: float
    parameters: int
    log_likelihood: float
    null_log_likelihood: float
    deviance: float
    aic: float
    bic: float
    mcfadden_r2: float
    likelihood_ratio: float
    likelihood_ratio_p: float
    penalised_log_likelihood: float | None = None


@dataclass(frozen=True)
class Inference:
    """The inference of a run, in the units of the table.

    Attributes:
        method: ``wald``, or ``profile`` for intervals and p values from the profile likelihood.
        covariance: see `logreg.evaluation.coefficients.covariance`.
        coefficients: of the features in their order, the intercept last.
        marginal_effects: of the features in their order.
        clusters: how many, where the covariance is by cluster.
    """

    method: str
    covariance: str
    statistics: FitStatistics
    coefficients: Estimates
    marginal_effects: Estimates
    clusters: int | None = None

    def as_record(self) -> dict[str, object]:
        """The content of ``inference`` in ``run.json``."""
        head = {"method": self.method, "covariance": self.covariance, "confidence": CONFIDENCE}
        return head | {"clusters": self.clusters, **asdict(self.statistics)}


class NoInference(Exception):
    """Why a fit has no standard errors.

    Args:
        is_news: whether the run's certificate does not say it already.
    """

    def __init__(self, reason: str, is_news: bool = True) -> None:
        super().__init__(reason)
        self.sentence, self.is_news = f"no standard errors: {reason}.", is_news

    def as_record(self) -> dict[str, object]:
        return {"refused": self.sentence}


def statistics(problem: LogisticProblem, theta: Theta, total: float, raw: Matrix) -> FitStatistics:
    """How well the coefficients fit.

    Args:
        total: N.
        raw: the matrix that takes theta to the units of the table.
    """
    plain = problem.likelihood if isinstance(problem, FirthProblem) else problem
    at_fit = plain.derivatives(theta)
    log_likelihood, count = -total * at_fit.value, len(theta)
    share = sum(float((block.weights * block.y).sum()) for block in problem.blocks()) / len(problem)  # of label 1
    null = total * float(xlogy(share, share) + xlogy(1 - share, 1 - share))
    ratio, penalised = 2 * (log_likelihood - null), None
    if plain is not problem:
        constant = (total * share + count / 2) / (total + count)
        at_null = torch.zeros_like(theta)
        at_null[-1] = math.log(constant / (1 - constant))
        ratio = 2 * total * (problem.value(at_null) - problem.value(theta))
        information = total * at_fit.hessian.cpu().numpy()
        # The determinant changes with the units of the columns: that of theirs in the table.
        log_det = np.linalg.slogdet(information)[1] - 2 * np.linalg.slogdet(raw)[1]
        penalised = log_likelihood + float(log_det) / 2
    return FitStatistics(
        observations=total,
        parameters=count,
        log_likelihood=log_likelihood,
        null_log_likelihood=null,
        deviance=-2 * log_likelihood,
        aic=2 * count - 2 * log_likelihood,
        bic=count * math.log(total) - 2 * log_likelihood,
        mcfadden_r2=1 - log_likelihood / null,
        likelihood_ratio=ratio,
        likelihood_ratio_p=float(chi2.sf(max(ratio, 0.0), count - 1)),
        penalised_log_likelihood=penalised,
    )


def raw_matrix(scale: Float[np.ndarray, " features"], mean: Float[np.ndarray, " features"]) -> Matrix:
    """The matrix that takes coefficients of features ``(raw - mean) / scale``, the intercept last, to raw units."""
    matrix = np.diag(np.append(1 / scale, 1.0))
    matrix[-1, :-1] = -mean / scale
    return matrix
