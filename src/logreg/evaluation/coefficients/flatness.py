"""Where the log loss is flat at the end of a fit, of tables too large for the linear programs: a few passes.

Columns that are combinations of others show in the Hessian at coefficients of 0. For a separation of the labels, let
u_i = x_i d for a direction d, v_i = p_i (1 - p_i) and f_i the frequency of row i, which adds f_i c_i, c_i = v_i u_i²,
to the curvature along d. The rows that carry it have a mean v of sum f c v / sum f c, and (sum f c)² / sum f c² is
their number, so that

    sum f c  sum f c v / sum f c²

is the sum of v over them, about the number of events among them. At a finite estimate some of these rows have the one
label and some the other, which takes about one event. Where d separates, rows that are not certain yet have u_i = 0,
and what carries the curvature goes to 0 with the squared Newton decrement. That the curvature itself is small shows
nothing: a row far out has most of it at coefficients of 0, and none once it is certain. So, of the space of directions
that are flat for either reason, those are looked at in which the mean of v is stationary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh
from torch import Tensor

from logreg.evaluation.coefficients.covariance import Matrix, designs
from logreg.evaluation.coefficients.separation import dependence, independent_columns, listed
from logreg.optim.problem import LogisticProblem, Theta

MOST_COLUMNS = 2000  # of a Hessian that is looked at
FLAT = 1e-5  # of the curvature at 0 in some direction: what is looked at
FEWEST_EVENTS = 1e-4  # that carry the curvature in a direction which does not separate
SURE = 1e-6  # a squared Newton decrement, of all rows, at which separated rows are certain enough to be recognised
DEPENDENT = 1e-6  # of a column's norm that is left when those before it are taken out; a Gram matrix resolves 1e-8

Directions = Float[np.ndarray, "coefficients directions"]
UNKNOWN = "whether the labels are separated is not known; separation=true finds out"


@dataclass(frozen=True)
class Flatness:
    """In which directions the objective is all but flat.

    Attributes:
        dependent: columns that are combinations of others.
        separating: columns along which the labels seem to be separated.
    """

    dependent: list[str]
    separating: list[str]

    @property
    def separation(self) -> str:
        """By which columns the labels seem to be separated."""
        what = "its estimate says" if len(self.separating) == 1 else "their estimates say"
        return f"the labels are separated by {listed(self.separating)}, or nearly, so that {what} little"


def flatness(problem: LogisticProblem, theta: Theta, names: Sequence[str], total: float | None = None) -> Flatness:
    """Look at an unpenalised fit that is as good as converged.

    Args:
        theta: (features + 1,), the intercept last.
        names: of the features.
        total: the sum of the frequencies of the rows; their number by default.
    """
    at_zero = problem.derivatives(torch.zeros_like(theta)).hessian.cpu().numpy()
    scale = 1 / np.sqrt(np.maximum(at_zero.diagonal(), np.finfo(float).tiny))
    at_fit = problem.derivatives(theta).hessian.cpu().numpy()
    at_zero, at_fit = (hessian * np.outer(scale, scale) for hessian in (at_zero, at_fit))
    independent = _independent(at_zero)
    dependent = [name for i, name in enumerate(names) if i not in set(independent)]
    part = np.ix_(independent, independent)
    values, vectors = np.linalg.eigh(at_zero[part])
    positive = values > DEPENDENT**2 * values[-1]
    # In these coordinates the Hessian at 0 is the identity: eigenvalues are ratios of the curvatures.
    white = vectors[:, positive] / np.sqrt(values[positive])
    ratios, rotated = np.linalg.eigh(white.T @ at_fit[part] @ white)
    flat = white @ rotated[:, ratios < FLAT]
    if not flat.size:
        return Flatness(dependent, [])
    directions = np.zeros((len(theta), flat.shape[1]))
    directions[independent] = flat
    directions = directions @ _by_certainty(problem, theta, scale[:, None] * directions)
    events = _events(problem, theta, scale[:, None] * directions) * (total or len(problem)) / len(problem)
    strongest: list[int] = []  # the column that is most correlated with x_i d, dependent ones too, for each direction d
    if len(names):
        centred = at_zero - np.outer(at_zero[:, -1], at_zero[-1]) / at_zero[-1, -1]
        deviation = np.sqrt(np.maximum(centred.diagonal()[:-1], DEPENDENT**2))
        separating = (centred @ directions[:, events < FEWEST_EVENTS])[:-1]
        strongest = np.abs(separating / deviation[:, None]).argmax(0).tolist()
    return Flatness(dependent, [names[i] for i in sorted(set(strongest))])


def remark(problem: LogisticProblem, theta: Theta, gap: float | None, names: Sequence[str]) -> str | None:
    """What there is to say of an unpenalised fit whose labels were not searched for a separation.

    Args:
        gap: half the squared Newton decrement, over the number of rows; None where it is not known.
        names: of the features.
    """
    if gap is None or problem.features > MOST_COLUMNS or not 2 * len(problem) * gap <= SURE:
        return UNKNOWN
    flat, parts = flatness(problem, theta, names), []
    if flat.separating:
        parts.append(f"{flat.separation}; use penalty.l2=<number> or penalty=firth, or separation=true to make sure")
    if flat.dependent:
        parts.append(dependence(flat.dependent))
    return "; ".join(parts) or None


def _independent(gram: Matrix) -> list[int]:
    """The first columns that span all of them, the constant before all others; ascending."""
    values, vectors = np.linalg.eigh(gram)
    # A square root of the matrix: columns with this Gram matrix, and so with the same dependencies.
    root = np.sqrt(np.where(values > DEPENDENT**2 * values[-1], values, 0.0))[:, None] * vectors.T
    independent = independent_columns(np.roll(root, 1, axis=1), DEPENDENT)
    return sorted((i - 1) % len(gram) for i in independent)


def _by_certainty(problem: LogisticProblem, theta: Theta, directions: Directions) -> np.ndarray:
    """The combinations of directions in which the mean v of the rows that carry the curvature is stationary."""
    width = directions.shape[1]
    of_v, of_vv = np.zeros((width, width)), np.zeros((width, width))
    for u, v, weight in _along(problem, theta, directions):
        of_v += (u.t() @ (u * v * weight)).cpu().numpy()
        of_vv += (u.t() @ (u * v * v * weight)).cpu().numpy()
    size = 1 / np.sqrt(np.maximum(of_v.diagonal(), np.finfo(float).tiny))
    of_v, of_vv = (m * np.outer(size, size) for m in (of_v, of_vv))
    _, combinations = eigh(of_vv, of_v + 1e-12 * np.eye(width))  # the curvature may be 0
    return size[:, None] * combinations


def _events(problem: LogisticProblem, theta: Theta, directions: Directions) -> Float[np.ndarray, " directions"]:
    """The number of events among the rows that carry the curvature in each direction: see the module."""
    sums = theta.new_zeros((3, directions.shape[1]))
    for u, v, weight in _along(problem, theta, directions):
        c = v * u.square()
        sums += torch.stack([(weight * part).sum(0) for part in (c, c * v, c * c)])
    of_c, of_cv, of_cc = sums.cpu().numpy()
    return of_c * of_cv / np.maximum(of_cc, np.finfo(float).tiny)


def _along(
    problem: LogisticProblem, theta: Theta, directions: Directions
) -> Iterator[tuple[Float[Tensor, "rows directions"], Float[Tensor, "rows 1"], Float[Tensor, "rows 1"]]]:
    """RowBlock by block the u of all directions, v, and the row weights."""
    along = torch.as_tensor(directions, device=theta.device)
    for x, _, weight in designs(problem, theta):
        z = x @ theta
        yield x @ along, (torch.sigmoid(z) * torch.sigmoid(-z)).unsqueeze(1), weight.unsqueeze(1)
