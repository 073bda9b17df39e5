"""How far a linear classifier is from the best possible value of its objective: the certificate of a run.

The objective F of `LogisticProblem` is convex, so its distance from the least value F* can be bounded from what is
known at one point.

With an l2 penalty, by duality. For any a_i in (0, 1) the residuals r_i = s_i (a_i - y_i) / n with sum r_i = 0 give

    D(r) = -1/n sum_i s_i (a_i log a_i + (1 - a_i) log(1 - a_i)) - ||X'r||² / (2 l2)  <=  F*

and at a point whose intercept is the best one for its weights, a_i = p_i is such a choice, with F - D = ||g||² / (2 l2)
for the gradient g by the weights. So, for any point,

    F(w, b) - F*  <=  F(w, b) - F(w, b*)  +  ||g(w, b*)||² / (2 l2)

With an l1 penalty, let u = X'r be the gradient of the mean log loss at such a point. The same residuals, where
l2 > 0, and c = min(1, l1 / max_j |u_j|) times the same are feasible for the dual, so that

    F - F*  <=  w'u + l1 ||w||_1 + l2/2 ||w||² + sum_j max(|u_j| - l1, 0)² / (2 l2)        where l2 > 0
    F - F*  <=  F(w, b*) + 1/n sum_i s_i (a_i log a_i + (1 - a_i) log(1 - a_i)),    a_i = y_i + c (p_i - y_i)

The gap is the smaller of the two.

Without a penalty there is no such bound. Where the maximum-likelihood estimate exists, half the squared Newton
decrement, g' H^-1 g / 2, is what the quadratic model at this point expects to gain: near the optimum it is the
distance, far from it an estimate; where the Hessian has lost directions in which the gradient still points, it says
nothing and there is none. F* is at most log 2, that without coefficients. Where the labels are completely separated
the least value is 0, which nothing reaches, and the distance is F itself; where they are partly separated the estimate
does not exist either, and the decrement says how far the other directions are. H^-1 g comes from a factor of H, or from
conjugate gradients where there are too many columns for one; either way H times it has to be g.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, replace

import torch

from logreg.core.errors import UserError
from logreg.evaluation.coefficients.separation import (
    Separation,
    Undetermined,
    check_memory,
    dependence,
    find_separation,
)
from logreg.optim.auto import choose
from logreg.optim.firth import FirthProblem
from logreg.optim.linalg import unit_scale
from logreg.optim.newton import newton_direction
from logreg.optim.newton_cg import conjugate_gradients
from logreg.optim.precondition import Preconditioner
from logreg.optim.problem import Derivatives, FirstOrder, HessianProduct, LogisticProblem, Theta
from logreg.optim.proximal_newton import stationarity
from logreg.optim.solver import OF_ZERO, SMALL
from logreg.records.record import Certificate

log = logging.getLogger(__name__)

CONVERGED = 1e-6  # of the objective: a relative distance that no metric shows
FLAT = 1e-12  # of the objective: squared slopes, over the curvature, in directions that count as flat
ROUNDING = 1e-16  # no distance is said to be smaller
# The same where the directions were not looked for one by one: what is left in one whose scaled curvature is 1e-12,
# which a factor would count as curved, is then at most `CONVERGED` of the objective.
UNSOLVED = 1e-18
MOST_GRAM_COLUMNS = 2000  # of the Hessian of which a factor is made for the Newton decrement
# Rows times columns that are searched for a separation unasked, of a run and of each job of a sweep.
MOST_SEARCHED, MOST_SEARCHED_IN_SWEEP = 500_000, 5_000
DUALITY, DECREMENT = "duality gap", "half squared Newton decrement"  # where gaps come from


def certify(
    problem: LogisticProblem, theta: Theta, separation: Separation | None = None, optimizer: str = ""
) -> Certificate:
    """How good these coefficients are.

    Args:
        theta: (features + 1,), the intercept last, in float64.
        separation: what `separation_of` found for the problem, if it was looked for.
        optimizer: that they come from, if it is a solver: by its name.
    """
    firth = isinstance(problem, FirthProblem)
    # Firth's problem makes the matrix for its gradient anyway.
    has_factor = firth or (not problem.penalised and problem.features <= MOST_GRAM_COLUMNS)
    at = problem.derivatives(theta) if has_factor else problem.first_order(theta)
    if separation is None and not problem.penalised:
        weight = problem.rows.weight
        lightest = 1.0 if weight is None else float(weight[weight > 0].min())
        if at.value < math.log(2) * lightest / len(problem):  # of one row on the wrong side
            separation = Separation("complete")
    kind = "none" if separation is None or problem.penalised else separation.kind
    gap, method = _gap(problem, theta, at, kind == "complete")
    relative, converged = math.inf, None if gap is None else False
    if gap is not None and method in (DUALITY, DECREMENT):
        least = max(at.value - gap, 0.0)  # the log loss is never negative
        relative = gap / least if least > 0 else math.inf
        converged = relative <= CONVERGED and kind == "none"
    certificate = Certificate(
        "", at.value, float(stationarity(problem, theta, at.gradient).norm()), gap,
        relative if math.isfinite(relative) else None, method, converged,
        None if separation is None else asdict(separation), problem.penalised, _remedy(problem, optimizer),
    )  # fmt: skip
    return replace(certificate, sentence=_sentence(certificate, separation))


def _gap(problem: LogisticProblem, theta: Theta, at: FirstOrder, separated: bool) -> tuple[float | None, str | None]:
    """How far F is above its least value, and where that comes from; ``separated`` is completely, without a penalty."""
    if not math.isfinite(at.value):
        return None, None
    if problem.penalised and not isinstance(problem, FirthProblem):
        return _duality_gap(problem, theta, at.value), DUALITY
    if separated:
        return at.value, "separation"
    if at.value > OF_ZERO:
        return at.value - OF_ZERO, None
    decrement = _newton_decrement(at) if isinstance(at, Derivatives) else _by_products(problem, theta, at)
    return decrement, None if decrement is None else DECREMENT


def _sentence(certificate: Certificate, separation: Separation | None) -> str:
    """A certificate in one plain line."""
    if separation is None:
        return _distance(certificate)
    if certificate.penalised:
        without = "; without the penalty there would be none: the labels are " + separation.sentence
        return _distance(certificate) + (without if separation.kind != "none" else "")
    if separation.kind == "complete":
        return (
            f"{separation.sentence}: the maximum-likelihood estimate does not exist and the cost falls without "
            f"end, here to {certificate.objective:.3g}; use penalty.l2=<number> or penalty=firth"
        )
    if separation.kind != "none":
        one, several = "its maximum-likelihood estimate is", "their maximum-likelihood estimates are"
        return (
            f"{separation.sentence}: {one if len(separation.columns) == 1 else several} infinite, and the number found "
            "says only when training stopped; use penalty.l2=<number> or penalty=firth"
        )
    return _distance(certificate) + (f"; {dependence(separation.dependent)}" if separation.dependent else "")


def _distance(certificate: Certificate) -> str:
    gap, relative = certificate.gap, certificate.relative_gap
    if gap is None:
        return f"not certified: the norm of the gradient is {certificate.gradient_norm:.2g}"
    if relative is None:
        return f"not converged: far from the optimum (objective {certificate.objective:.3g}); try {certificate.remedy}"
    bound = certificate.method == DUALITY
    if certificate.converged:
        return f"within{'' if bound else ' about'} {max(gap, ROUNDING):.1g} of the optimum"
    share = f"{100 * relative:.0f} %" if relative >= 1 else f"{100 * relative:.2g} %"
    share = f"{relative:.0f} times" if relative >= 10 else share
    return f"not converged: {'at most' if bound else 'about'} {share} above the optimum; try {certificate.remedy}"


def _remedy(problem: LogisticProblem, optimizer: str) -> str:
    """What would lead nearer to the optimum: the solver that suits the problem, unless it was that one already."""
    firth = isinstance(problem, FirthProblem)
    solver = choose(len(problem), problem.features, sparse=problem.sparse, linear=True, l1=problem.l1, firth=firth).name
    if solver == optimizer:
        return "more epochs, a smaller optimizer.tolerance, or columns of one scale (data.standardize=true)"
    return f"optimizer={solver} or more epochs"


def _duality_gap(problem: LogisticProblem, theta: Theta, value: float) -> float:
    at, best = problem.with_best_intercept(theta)
    w, l1, l2 = at[:-1], problem.l1, problem.l2
    if l1 == 0:
        return max(value - best.value, 0.0) + float(best.gradient[:-1].square().sum()) / (2 * l2)
    u = best.gradient[:-1] - l2 * w
    largest = float(u.abs().max())
    share = min(1.0, l1 / largest) if largest > 0 else 1.0
    gap = best.value - problem.entropy(at, share)
    if l2 > 0:
        excess = (u.abs() - l1).clamp(min=0).square() / (2 * l2)
        gap = min(gap, float((w * u + l1 * w.abs() + l2 / 2 * w.square() + excess).sum()))
    return max(value - best.value, 0.0) + max(gap, 0.0)


def _newton_decrement(at: Derivatives) -> float | None:
    """``g' H^-1 g / 2``; None where the Hessian is flat in a direction that g is not, or not finite."""
    if not bool(at.hessian.isfinite().all()):
        return None
    direction = newton_direction(at.hessian, at.gradient)
    residual = at.gradient + at.hessian @ direction
    left = float((unit_scale(at.hessian) * residual).square().sum())  # in units of the objective
    if not left <= FLAT * max(at.value, SMALL):
        return None
    return max(-0.5 * float(at.gradient @ direction), 0.0)


def _by_products(problem: LogisticProblem, theta: Theta, at: FirstOrder) -> float | None:
    """The same from products of the Hessian; None where they find neither H^-1 g nor that the optimum is far."""
    precondition, product = Preconditioner(problem, theta), HessianProduct(problem, theta)
    value, gradient = at.value, at.gradient
    enough = UNSOLVED * max(value, SMALL)
    slopes = max(float(gradient @ precondition(gradient)), enough)
    # The residual that conjugate gradients reckon with drifts from the true one: they are to end well below it.
    direction = conjugate_gradients(product, -gradient, precondition, min(1e-3, 0.1 * math.sqrt(enough / slopes)))
    image, slope = product(direction), float(gradient @ direction)
    residual, curvature = gradient + image, float(direction @ image)
    if float(residual @ precondition(residual)) <= enough:
        return max(-0.5 * slope, 0.0)
    # Along any direction the model falls by no more than it does at its minimum: enough to tell what is far from it.
    least = slope**2 / (2 * curvature) if curvature > 0 else 0.0
    return least if CONVERGED * value < least < math.inf else None


def separation_of(problem: LogisticProblem, names: list[str], most: float = MOST_SEARCHED) -> Separation | None:
    """Look for a separation of the training rows.

    Args:
        most: rows times columns up to which an unpenalised problem is searched; infinity for any problem.

    Returns:
        What was found; None where it was not looked for, as where the memory is too small, or a linear program failed.
    """
    if most != math.inf and (problem.penalised or len(problem) * problem.features > most):
        return None
    try:
        check_memory(len(problem), problem.features)
    except UserError as reason:
        log.warning("not looked for a separation of the labels: %s", reason)
        return None
    parts = zip(*((block.dense, block.y, block.weights) for block in problem.blocks(problem.features)), strict=True)
    x, y, weight = (torch.cat(part).cpu().numpy() for part in parts)
    try:
        return find_separation(x, y, names, weight)
    except Undetermined:
        return None
