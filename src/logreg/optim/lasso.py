"""The least value of a quadratic function with an l1 penalty, from its Gram matrix.

    minimise over z   1/2 z' H z + c' z + sum_j l1_j |z_j|

Sweeps of coordinate descent (Friedman, Hastie and Tibshirani, Journal of Statistical Software 33, 2010) find which
coordinates are zero and the signs of the others; given these the minimum solves linear equations. The way there ends
where the first coordinate would change its sign, which is zero from then on (feature-sign search; Lee, Battle, Raina
and Ng, Advances in Neural Information Processing Systems 19, 2006). So the answer is exact where the sweeps alone would
converge slowly, as they do for columns that are nearly combinations of others.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Float

MOST_ROUNDS = 500
MOST_SWEEPS = 50  # of coordinate descent before each system of equations: until no sign changes in one
SLACK = 1e-12  # of the penalty and the gradient: a slope within it of the penalty keeps a coordinate at zero

Vector = Float[np.ndarray, " coordinates"]


def minimise(h: Float[np.ndarray, "coordinates coordinates"], c: Vector, l1: Vector, z: Vector) -> Vector:
    """The minimum.

    Args:
        h: positive semidefinite; a ridge of its rounding keeps combinations of columns solvable.
        z: where to start.
    """
    scale = np.sqrt(np.maximum(h.diagonal(), np.finfo(float).tiny))  # to units in which the diagonal is 1
    h, c, l1, z = h / scale / scale[:, None], c / scale, l1 / scale, z * scale
    h = h + 1e-14 * np.eye(len(h))
    slack = SLACK * (l1 + np.abs(c) + 1e-300)
    for _ in range(MOST_ROUNDS):
        z = _swept(h, c, l1, z)
        z, same = _to_the_minimum_of_its_signs(h, c, l1, z)
        slope = h @ z + c
        if same and bool((np.abs(slope[z == 0]) <= (l1 + slack)[z == 0]).all()):
            break
    return z / scale


def _swept(h: np.ndarray, c: Vector, l1: Vector, z: Vector) -> Vector:
    """Sweeps of coordinate descent, until one changes no sign."""
    z, slope = z.copy(), h @ z + c
    for _ in range(MOST_SWEEPS):
        signs = np.sign(z)
        # A coordinate that is zero and whose slope is small stays there, at this moment.
        for j in np.flatnonzero((z != 0) | (np.abs(slope) > l1)).tolist():
            bend = h[j, j]
            target = z[j] * bend - slope[j]
            new = np.copysign(max(abs(target) - l1[j], 0.0), target) / bend
            if new != z[j]:
                slope += (new - z[j]) * h[j]
                z[j] = new
        if (np.sign(z) == signs).all():
            break
    return z


def _to_the_minimum_of_its_signs(h: np.ndarray, c: Vector, l1: Vector, z: Vector) -> tuple[Vector, bool]:
    """Towards the minimum with the same signs and zeros, up to the first that changes; whether none did."""
    on = np.flatnonzero((z != 0) | (l1 == 0))
    if not len(on):
        return z, True
    sign = np.sign(z[on])
    part = h[np.ix_(on, on)]
    wanted = -(c[on] + l1[on] * sign)
    try:
        target = scipy.linalg.cho_solve(scipy.linalg.cho_factor(part), wanted)
    except np.linalg.LinAlgError:
        target = np.linalg.lstsq(part, wanted, rcond=None)[0]
    crosses = (target * sign < 0) & (l1[on] > 0)
    moved = z.copy()
    if not crosses.any():
        moved[on] = target
        return moved, True
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(crosses, z[on] / (z[on] - target), np.inf)
    first = int(share.argmin())
    moved[on] = z[on] + share[first] * (target - z[on])
    moved[on[first]] = 0.0
    return moved, False
