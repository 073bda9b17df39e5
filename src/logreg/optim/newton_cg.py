"""Newton's method without a Hessian, for many columns and sparse rows.

An iteration solves H d = -g by conjugate gradients, which need products of the Hessian with a vector only: a pass over
the rows each, ``X'(curvature * (X v)) / n + l2 v``. They are preconditioned by the Hessian of a subsample, or by its
diagonal (`logreg.optim.precondition`), and end where the residual is a share of the gradient that falls with the
distance from the optimum, so that no product is spent on an exact solution of a model that is not exact itself (Dembo,
Eisenstat and Steihaug, Inexact Newton methods, 1982).

The gap is half the squared Newton decrement, as far as the conjugate gradients have come. Gradients are computed in
float64, products in what the rows are stored in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from logreg.optim.blocks import Theta
from logreg.optim.line_search import search
from logreg.optim.precondition import Preconditioner, subsample
from logreg.optim.problem import FirstOrder, HessianProduct, LogisticProblem
from logreg.optim.solver import SMALL, Iteration, Solver

LARGEST_SHARE = 0.5  # of the gradient that a solution of the model may leave
MOST_PRODUCTS = 500  # of an iteration


class NewtonCG(Solver):
    """See the module."""

    name = "newton_cg"

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1.0, tolerance: float = 1e-16) -> None:
        super().__init__(params, lr, tolerance)
        self._sample: tuple[LogisticProblem, LogisticProblem] | None = None  # a problem and its subsample

    def forget(self) -> None:
        super().forget()
        self._sample = None

    def _iterate(self, problem: LogisticProblem, theta: Theta) -> Iteration:
        at = self._look(problem, theta, problem.first_order)
        self._check(at.value)
        if (back := self._from_afar(theta, at)) is not None:
            return back
        norm = float(at.gradient.norm())
        if self._sample is None or self._sample[0] is not problem:
            self._sample = problem, subsample(problem)
        precondition = Preconditioner(self._sample[1], theta, problem.diagonal(theta))
        size = max(at.value, SMALL)
        distance = max(float(at.gradient @ precondition(at.gradient)) / size, 1e-300)
        share = min(LARGEST_SHARE, max(math.sqrt(distance), 0.1 * math.sqrt(self._setting("tolerance") / distance)))
        direction = conjugate_gradients(HessianProduct(problem, theta), -at.gradient, precondition, share)
        gap = -float(at.gradient @ direction) / 2
        if gap <= self._setting("tolerance") * size:
            return Iteration(theta, at.value, at.accuracy, norm, gap, 0.0, finished=True)

        def evaluate(theta: Theta) -> FirstOrder:
            return self._look(problem, theta, problem.first_order)

        rounding = problem.noise * size
        reached, found, step = search(evaluate, theta, at, direction, self._setting("lr"), rounding)
        # Where the objective does not change any more, a gradient that does not fall either is rounding.
        stuck = at.value - found.value <= rounding and float(found.gradient.norm()) > norm / 2
        return Iteration(reached, at.value, at.accuracy, norm, gap, step, finished=step == 0.0 or stuck)


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
