"""The least value of a quadratic function with an l1 penalty, from its Gram matrix.

    minimise over z   1/2 z' H z + c' z + sum_j l1_j |z_j|

Given which coordinates are zero and the signs of the others, the minimum solves linear equations. So signs are guessed:
the equations are solved, all coordinates that the solution contradicts are guessed anew, those of the wrong sign as
zero, zeros whose slope is more than l1 with the sign that it asks for, and so on (block principal pivoting; Kim and
Park, Fast active-set-type algorithms for l1-regularized linear regression, AISTATS 2010). That takes some ten systems
of equations, however many coordinates there are and whatever their correlations.

Nothing says that it ends, and where H is singular, as it is for more columns than rows, it goes round in circles. Then
the same is done for the function plus ridge/2 ||z - start||², whose minimum is a point where the function is lower, and
from there again, with a smaller ridge wherever the guesses come to an end and a larger one wherever they do not
(proximal point method; Rockafellar, SIAM Journal on Control and Optimization 14, 1976).
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Float

MOST_ROUNDS = 200
PATIENCE = 3  # guesses in a row that are no better than the best one before they are given up
SLACK = 1e-12  # of the numbers that a slope is the sum of: by so much it may miss what it should be
LEAST_RIDGE = 1e-14  # of H scaled to a unit diagonal: its rounding
FIRST_RIDGE = 1e-4  # where guesses do not end without one
RAISED, LOWERED = 10.0, 3.0  # by these factors

Vector = Float[np.ndarray, " coordinates"]


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
        if _is_least(h, c, l1, z):
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


def _is_least(h: np.ndarray, c: Vector, l1: Vector, z: Vector) -> bool:
    """Whether every slope is what it is at the minimum: -l1 sign(z), or at most l1 where z is zero."""
    slope = h @ z + c
    off = np.where(z != 0, np.abs(slope + l1 * np.sign(z)), np.abs(slope) - l1)
    return bool((off <= SLACK * (l1 + np.abs(c) + np.abs(z).max())).all())
