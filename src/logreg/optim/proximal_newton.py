"""Proximal Newton: the elastic net, ``mean log loss + l1 ||w||_1 + l2/2 ||w||²``, and its model's minimum.

The model over the working set is

    minimise over z   1/2 z' H z + c' z + sum_j l1_j |z_j|

Given which coordinates are zero and the signs of the others, the minimum solves linear equations. So signs are guessed:
the equations are solved, all coordinates that the solution contradicts are guessed again, those of the wrong sign as
zero, zeros whose slope is more than l1 with the sign that it asks for, and so on (block principal pivoting; Kim and
Park, Fast active-set-type algorithms for l1-regularized linear regression, AISTATS 2010). That takes some ten systems
of equations, however many coordinates there are and whatever their correlations.

Nothing says that it ends, and where H is singular, as it is for more columns than rows, it goes round in circles. Then
the same is done for the function plus ridge/2 ||z - start||², whose minimum is a point where the function is lower, and
from there again, with a smaller ridge wherever the guesses come to an end and a larger one wherever they do not
(proximal point method; Rockafellar, SIAM Journal on Control and Optimization 14, 1976).
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from logreg.core.errors import UserError
from logreg.optim.linalg import SCALE
from logreg.optim.line_search import MOST_TRIALS, search
from logreg.optim.problem import FirstOrder, LogisticProblem, Theta
from logreg.optim.solver import SMALL, Iteration, Solver

LEAST_NEW = 100  # columns that may enter the working set in an iteration, or as many as are in it
MOST_WORKING = 3000  # columns of a Gram matrix
MOST_ROUNDS = 200
PATIENCE = 3  # guesses in a row that are no better than the best one before they are given up
SLACK = 1e-12  # of the numbers that a slope is the sum of: by so much it may miss what it should be
LEAST_RIDGE = 1e-14  # of H scaled to a unit diagonal: its rounding
FIRST_RIDGE = 1e-4  # where guesses do not end without one
RAISED, LOWERED = 10.0, 3.0  # by these factors

Vector = Float[np.ndarray, " coordinates"]


class ProximalNewton(Solver):
    """Proximal Newton on the elastic net, ``mean log loss + l1 ||w||_1 + l2/2 ||w||²``.

    An iteration minimises the quadratic model of the smooth part plus the l1 penalty itself over a working set: the
    columns whose coefficients are not zero, and those whose slope is more than l1 and that therefore do not want to
    stay zero. Only of these is a Gram matrix made. Then it goes along the way to the model's minimum as far as the
    objective falls (Lee, Sun and Saunders, SIAM Journal on Optimization 24, 2014). The slopes of all columns are looked
    at in each iteration, so the last one certifies that the optimum is that of all columns. The gap is the fall that
    the model promises.

    Args:
        params: weight and intercept.
        lr: the length of a step that is tried first.
        tolerance: of the objective; at a gap of at most this share of it the solver is done.

    Raises:
        UserError: the Hessian is not finite.
    """

    name = "proximal_newton"

    def _go_on(self, problem: LogisticProblem, theta: Theta, at: FirstOrder) -> Iteration:
        # 2. The direction: to the minimum of the model over the working set. The gap is the fall on the way.
        working, complete = working_set(problem, theta, at.gradient)
        on = torch.cat([working, working.new_tensor([problem.features])])  # and the intercept
        hessian = problem.hessian(theta, working).cpu().numpy()
        if not np.isfinite(hessian).all():
            raise UserError(f"optimizer={self.name}: the Hessian is not finite; {SCALE}.")
        gradient, here = at.gradient[on].cpu().numpy(), theta[on].cpu().numpy()
        l1 = np.append(np.full(len(working), problem.l1), 0.0)
        lowest, solved = minimise(hessian, gradient - hessian @ here, l1, here)
        move = lowest - here
        rise = gradient @ move + move @ hessian @ move / 2 + float(l1 @ (np.abs(lowest) - np.abs(here)))
        direction, gap = torch.zeros_like(theta), max(-float(rise), 0.0)
        direction[on] = torch.as_tensor(move, device=theta.device)
        # 3. A small gap ends it, after a last step; a model that was not solved may promise too little.
        small = complete and solved and self._is_small(gap, at)
        # 4. The step. The last one promises less than the rounding of the objective: it is taken where the slopes
        # become smaller.
        norm, w, d = float(stationarity(problem, theta, at.gradient).norm()), theta[:-1], direction[:-1]
        falls = float(at.gradient @ direction) + problem.l1 * float((w + d).abs().sum() - w.abs().sum())
        rounding = problem.noise * max(at.value, SMALL)

        def flat(point: Theta, known: FirstOrder, rise: float) -> bool:
            if not (rise <= rounding and (small or rise >= -rounding)):
                return False
            return float(stationarity(problem, point, known.gradient).norm()) < norm

        slope, trials = (-math.inf, 1) if small else (falls, MOST_TRIALS)  # nothing falls by more than infinity
        evaluate = partial(self._evaluate, problem)
        reached, _, step = search(evaluate, theta, at, direction, self._setting("lr"), slope, flat, trials)
        return Iteration(reached, at.value, at.accuracy, norm, gap, step, finished=small or step == 0.0)


def stationarity(problem: LogisticProblem, theta: Theta, gradient: Theta) -> Theta:
    """The subgradient of the objective of least norm: zero at the optimum and nowhere else."""
    subgradient, w, g = gradient.clone(), theta[:-1], gradient[:-1]
    at_zero = g.sign() * (g.abs() - problem.l1).clamp(min=0)  # the slopes there are g ± l1: the one nearest to zero
    subgradient[:-1] = torch.where(w == 0, at_zero, g + problem.l1 * w.sign())
    return subgradient


def working_set(problem: LogisticProblem, theta: Theta, gradient: Theta) -> tuple[Tensor, bool]:
    """Columns that are not zero, or do not want to stay so, (working,) int64; and whether these are all of them."""
    residual = stationarity(problem, theta, gradient)[:-1].abs()
    inside = theta[:-1] != 0
    wanted = ~inside & (residual > 0)
    most = max(LEAST_NEW, int(inside.sum()))
    complete = int(wanted.sum()) <= most
    if not complete:
        steepest = torch.where(wanted, residual, 0).topk(most).indices
        wanted = torch.zeros_like(wanted).index_fill_(0, steepest, True)
    chosen = (inside | wanted).nonzero().squeeze(1)
    if len(chosen) > MOST_WORKING:
        complete, best = False, residual[chosen].topk(MOST_WORKING).indices
        chosen = chosen[best].sort().values
    return chosen, complete


def minimise(h: Float[np.ndarray, "coordinates coordinates"], c: Vector, l1: Vector, z: Vector) -> tuple[Vector, bool]:
    """The minimum, and whether it is one: else the lowest point that was found before the rounds ran out.

    Args:
        h: positive semidefinite.
        z: where to start.
    """
    scale = np.sqrt(np.maximum(h.diagonal(), np.finfo(float).tiny))  # to units in which the diagonal is 1
    h, c, l1, z = h / scale / scale[:, None], c / scale, l1 / scale, z * scale
    ridge = LEAST_RIDGE
    for _ in range(MOST_ROUNDS):
        minimum = _by_guesses(h, c - ridge * z, l1, np.sign(z), ridge)
        if minimum is None:
            ridge = max(RAISED * ridge, FIRST_RIDGE)
            continue
        z, ridge = minimum, max(ridge / LOWERED, LEAST_RIDGE)
        slope = h @ z + c  # -l1 sign(z) at the minimum, or at most l1 where z is zero
        off = np.where(z != 0, np.abs(slope + l1 * np.sign(z)), np.abs(slope) - l1)
        if (off <= SLACK * (l1 + np.abs(c) + np.abs(z).max())).all():
            return z / scale, True
    return z / scale, False


def _by_guesses(h: np.ndarray, c: Vector, l1: Vector, signs: Vector, ridge: float) -> Vector | None:
    """The minimum with a ridge, by guesses of its signs, from these on; None where they do not become better."""
    best, left = len(c) + 1, PATIENCE
    while left:
        on = np.flatnonzero((signs != 0) | (l1 == 0))
        part, z = h[np.ix_(on, on)], np.zeros_like(c)
        part[np.diag_indices_from(part)] += ridge
        try:
            factor = scipy.linalg.cho_factor(part, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        z[on] = scipy.linalg.cho_solve(factor, -(c + l1 * signs)[on], check_finite=False)
        slope = h @ z + c  # of coordinates that are zero: of the others it lacks the ridge
        leaves = (z * signs < 0) & (l1 > 0)
        enters = (signs == 0) & (l1 > 0) & (np.abs(slope) > l1 + SLACK * (l1 + np.abs(c)))
        wrong = int(leaves.sum() + enters.sum())
        if not wrong:
            return z
        best, left = (wrong, PATIENCE) if wrong < best else (best, left - 1)
        signs = np.where(enters, -np.sign(slope), np.where(leaves, 0.0, signs))
    return None
