"""Newton's method without a Hessian, for many columns and sparse rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import nn

from logreg.optim.line_search import search, slope_is_flatter
from logreg.optim.precondition import Preconditioner, subsample
from logreg.optim.problem import FirstOrder, HessianProduct, LogisticProblem, Theta
from logreg.optim.solver import SMALL, Iteration, Latest, Solver

LARGEST_SHARE = 0.5  # of the gradient that a solution of the model may leave
MOST_PRODUCTS = 500  # of an iteration
LEAST_DISTANCE = 1e-300  # which can be divided by


class NewtonCG(Solver):
    """Newton's method on the mean log loss plus ``l2/2 ||w||²``, by products of the Hessian with vectors alone.

    An iteration solves H d = -g by conjugate gradients, with a pass over the rows for each ``X'(curvature * (X v)) / n
    + l2 v``. They are preconditioned by the Hessian of a subsample, or by its diagonal (`logreg.optim.precondition`),
    and end where the residual is a share of the gradient that falls with the distance from the optimum, so that no
    product is spent on an exact solution of a model that is not exact itself (Dembo, Eisenstat and Steihaug, Inexact
    Newton methods, 1982). The gap is half the squared Newton decrement, as far as the conjugate gradients have come.
    Gradients are computed in float64, products in what the rows are stored in.

    Args:
        params: weight and intercept.
        lr: the length of a step that is tried first.
        tolerance: of the objective; at a gap of at most this share of it the solver is done.
    """

    name = "newton_cg"

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1.0, tolerance: float = 1e-16) -> None:
        super().__init__(params, lr, tolerance)
        self._sample = Latest[LogisticProblem]()

    def _go_on(self, problem: LogisticProblem, theta: Theta, at: FirstOrder) -> Iteration:
        # 2. The direction, by conjugate gradients: the nearer the optimum, the more exactly.
        sample = self._sample(lambda: subsample(problem), problem)
        precondition = Preconditioner(sample, theta, problem.diagonal(theta))
        size = max(at.value, SMALL)
        distance = max(float(at.gradient @ precondition(at.gradient)) / size, LEAST_DISTANCE)
        # The square root makes the convergence superlinear. Closer than the tolerance asks for no share is needed.
        share = min(LARGEST_SHARE, max(math.sqrt(distance), 0.1 * math.sqrt(self._setting("tolerance") / distance)))
        direction = conjugate_gradients(HessianProduct(problem, theta), -at.gradient, precondition, share)
        slope = float(at.gradient @ direction)
        gap = -slope / 2
        # 3. A small gap ends it.
        if self._is_small(gap, at):
            return self._iteration(theta, at, gap, 0.0, finished=True)
        # 4. The step.
        rounding = problem.noise * size
        evaluate, flat = partial(self._evaluate, problem), slope_is_flatter(direction, slope, rounding)
        reached, point, step = search(evaluate, theta, at, direction, self._setting("lr"), slope, flat)
        # Where the objective does not change any more, a gradient that does not fall either is rounding.
        stuck = at.value - point.value <= rounding and float(point.gradient.norm()) > float(at.gradient.norm()) / 2
        return self._iteration(reached, at, gap, step, finished=step == 0.0 or stuck)


def conjugate_gradients(
    product: Callable[[Theta], Theta], target: Theta, precondition: Callable[[Theta], Theta], share: float
) -> Theta:
    """The solution d of ``H d = target``, up to a residual of this share of the target in the preconditioner's norm.

    Args:
        product: ``H v`` of a positive definite H.
        precondition: nearly ``H^-1 v``.
    """
    solution, residual = torch.zeros_like(target), target.clone()
    z = precondition(residual)
    along, size = z.clone(), float(residual @ z)
    enough = share**2 * size
    for _ in range(MOST_PRODUCTS):
        image = product(along)
        curvature = float(along @ image)
        if curvature <= 0:  # of columns that are combinations of others, but for rounding
            break
        solution += size / curvature * along
        residual -= size / curvature * image
        z = precondition(residual)
        previous, size = size, float(residual @ z)
        if size <= enough:
            break
        along = z + size / previous * along
    return solution if bool(solution.any()) else precondition(target)
