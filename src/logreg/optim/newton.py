"""Newton's method, which for this objective is iteratively reweighted least squares."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from logreg.core.errors import UserError
from logreg.core.memory import free_memory
from logreg.optim.firth import FirthProblem
from logreg.optim.linalg import SCALE, unit_scale
from logreg.optim.line_search import search
from logreg.optim.problem import Derivatives, FirstOrder, LogisticProblem, Theta, Value
from logreg.optim.solver import SMALL, Iteration, Latest, Solver

# Matrices of the Hessian's size at once: itself, the one that is summed at the next point, a block of rows, the same
# weighted, their product, and that with the intercept.
MATRICES_AT_ONCE = 6
NEGLIGIBLE = 1e-12  # of the largest eigenvalue of the scaled Hessian


class Newton(Solver):
    """Iteratively reweighted least squares on ``F(w, b)``, the mean log loss plus ``l2/2 ||w||²`` or Firth's penalty.

    An iteration solves H d = -g for the Hessian (features + 1, features + 1) and the gradient and goes along d as far
    as F falls (`logreg.optim.line_search`); one whose full step is accepted reads the rows once. H is scaled to a unit
    diagonal before it is factorised, which takes the units of the columns out of its condition; where that is not
    enough, for columns that are combinations of others, the step of least norm is taken.

    Args:
        params: weight and intercept.
        lr: the length of a step that is tried first.
        tolerance: of the objective; at a gap of at most this share of it the solver is done.

    Raises:
        UserError: the Hessian is not finite or does not fit into memory.
    """

    name = "newton"

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1.0, tolerance: float = 1e-12) -> None:
        super().__init__(params, lr, tolerance)
        self._room = Latest[None]()

    def _evaluate(self, problem: LogisticProblem, theta: Theta) -> FirstOrder:
        self._room(lambda: check_memory(problem), problem)
        return self._at(lambda: problem.derivatives(theta), problem, theta)

    def _go_on(self, problem: LogisticProblem, theta: Theta, at: FirstOrder) -> Iteration:
        assert isinstance(at, Derivatives)
        if not bool(at.hessian.isfinite().all()):
            raise UserError(f"optimizer={self.name}: the Hessian is not finite; {SCALE}.")
        # 2. The direction and its gap.
        direction = newton_direction(at.hessian, at.gradient)
        slope = float(at.gradient @ direction)
        gap = -slope / 2
        # 3. A small gap ends it: Newton's method converges quadratically, so a further full step costs one pass and
        # takes what is left. Fisher scoring converges linearly: the next step is as much better as this one was.
        small = self._is_small(gap, at)
        last = small and not isinstance(problem, FirthProblem)
        # 4. The step.
        step, reached, trials = 0.0, theta, itertools.count()

        def evaluate(point: Theta) -> Value:  # the first trial is accepted as a rule: it makes the Hessian too
            return self._evaluate(problem, point) if next(trials) == 0 else Value(problem.value(point))

        if not small:
            reached, _, step = search(evaluate, theta, Value(at.value), direction, self._setting("lr"), slope)
        # Where the objective changes by less than its rounding the gap tells better from worse, after a full step.
        if step == 0.0:
            further = problem.first_order(theta + direction)
            gap_there = -float(further.gradient @ newton_direction(at.hessian, further.gradient)) / 2
            if further.value <= at.value + problem.noise * max(at.value, SMALL) and gap_there < gap:
                reached, step = theta + direction, 1.0
        return self._iteration(reached, at, gap, step, finished=last or step == 0.0)


def check_memory(problem: LogisticProblem) -> None:
    """Refuse more columns than there is memory for their Gram matrix.

    Raises:
        UserError: names the solver that needs none.
    """
    wanted, free = MATRICES_AT_ONCE * 8 * (problem.features + 1) ** 2, free_memory(problem.device)
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
    regular = values > NEGLIGIBLE * values[-1]  # the others are rounding, and a step along them could be of any length
    parts = (vectors.t() @ (scale * gradient))[regular] / values[regular]
    return -scale * (vectors[:, regular] @ parts)
