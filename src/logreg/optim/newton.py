"""Newton's method, which for this objective is iteratively reweighted least squares.

An iteration solves H d = -g for the Hessian and the gradient of `logreg.optim.problem` and goes along d as far as the
objective falls: the full step is tried first, then shorter ones, until the objective has fallen by a share of what
the slope promises (Armijo). The derivatives at the new point come with its objective, so an iteration whose full
step is accepted reads the rows once.

The Hessian is scaled to a unit diagonal before it is factorised, which takes the units of the columns out of its
condition. Where that is not enough, for columns that are combinations of others, the step of least norm is taken.
"""

from __future__ import annotations

import torch
from torch import Tensor

from logreg.core.errors import UserError
from logreg.core.memory import free_memory
from logreg.optim.blocks import Theta
from logreg.optim.firth import FirthProblem
from logreg.optim.linalg import SCALE, unit_scale
from logreg.optim.line_search import MOST_TRIALS, SHARE, shorter
from logreg.optim.problem import Derivatives, LogisticProblem
from logreg.optim.solver import SMALL, Iteration, Solver

# Matrices of the Hessian's size at once: itself, the one that is summed at the next point, a block of rows, the same
# weighted, their product, and that with the intercept.
HELD = 6
NEGLIGIBLE = 1e-12  # of the largest eigenvalue of the scaled Hessian


class Newton(Solver):
    """See the module."""

    name = "newton"

    def _iterate(self, problem: LogisticProblem, theta: Theta) -> Iteration:
        if self._known is None or self._known[0] is not problem:
            check_memory(problem)
        at = self._look(problem, theta, problem.derivatives)
        self._check(at.value)
        if (back := self._from_afar(theta, at)) is not None:
            return back
        if not bool(at.hessian.isfinite().all()):
            raise UserError(f"optimizer={self.name}: the Hessian is not finite; {SCALE}.")
        direction = newton_direction(at.hessian, at.gradient)
        slope = float(at.gradient @ direction)
        gap = -slope / 2
        small = gap <= self._setting("tolerance") * max(at.value, SMALL)
        # Fisher scoring converges linearly: the next step is as much better as this one was.
        last = small and not isinstance(problem, FirthProblem)
        step, reached = 0.0, theta
        if not small:
            reached, step = self._search(problem, theta, at.value, direction, slope)
        if step == 0.0:
            reached, step = self._in_the_noise(problem, theta, at, direction, gap)
        norm = float(at.gradient.norm())
        return Iteration(reached, at.value, at.accuracy, norm, gap, step, finished=last or step == 0.0)

    @staticmethod
    def _in_the_noise(
        problem: LogisticProblem, theta: Theta, at: Derivatives, direction: Theta, gap: float
    ) -> tuple[Theta, float]:
        """A full step where the objective changes by less than its rounding: the gap tells better from worse."""
        value, gradient = problem.gradient(theta + direction)
        left = -float(gradient @ newton_direction(at.hessian, gradient)) / 2
        better = value <= at.value + problem.noise * max(at.value, SMALL) and left < gap
        return (theta + direction, 1.0) if better else (theta, 0.0)

    def _search(
        self, problem: LogisticProblem, theta: Theta, value: float, direction: Theta, slope: float
    ) -> tuple[Theta, float]:
        """The first point along the direction where the objective is low enough, and the step there; none is 0."""
        step = self._setting("lr")
        for trial in range(MOST_TRIALS):
            reached = theta + step * direction
            # Trials after the first one look for a length, before the Hessian is worth its while.
            found = self._look(problem, reached, problem.derivatives).value if trial == 0 else problem.value(reached)
            rise = found - value
            if rise <= SHARE * step * slope and rise < 0:
                return reached, step
            step *= shorter(step * slope, rise)
        return theta, 0.0


def check_memory(problem: LogisticProblem) -> None:
    """Refuse more columns than there is memory for their Gram matrix.

    Raises:
        UserError: names the solver that needs none.
    """
    wanted, free = HELD * 8 * (problem.features + 1) ** 2, free_memory(problem.device)
    if wanted > free:
        raise UserError(
            f"optimizer=newton needs {wanted / 2**30:,.1f} GiB for the Gram matrix of {problem.features:,} columns and "
            f"its factor, and {free / 2**30:,.1f} GiB are free; use optimizer=newton_cg."
        )


def newton_direction(hessian: Tensor, gradient: Theta) -> Theta:
    """``-H^-1 g``; of least norm, in units of the scaled columns, where H is singular."""
    scale = unit_scale(hessian)
    scaled = hessian * scale * scale.unsqueeze(1)
    factor, failed = torch.linalg.cholesky_ex(scaled)
    if not int(failed) and float(factor.diagonal().square().min()) > NEGLIGIBLE:
        return -scale * torch.cholesky_solve((scale * gradient).unsqueeze(1), factor).squeeze(1)
    values, vectors = torch.linalg.eigh(scaled)
    kept = values > NEGLIGIBLE * values[-1]
    parts = (vectors.t() @ (scale * gradient))[kept] / values[kept]
    return -scale * (vectors[:, kept] @ parts)
