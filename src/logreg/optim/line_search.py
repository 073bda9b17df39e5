"""How far to go along a direction in which the objective falls."""

from __future__ import annotations

import math
from collections.abc import Callable

from logreg.optim.blocks import Theta
from logreg.optim.problem import FirstOrder

SHARE = 1e-4  # of the promised fall that a step has to keep (Armijo)
FLATTER = 0.9  # of the slope that may be left where the objective is too flat to compare
MOST_TRIALS = 40  # step lengths


def search(
    evaluate: Callable[[Theta], FirstOrder],
    theta: Theta,
    at: FirstOrder,
    direction: Theta,
    step: float,
    rounding: float,
) -> tuple[Theta, FirstOrder, float]:
    """The first point along the direction where the objective is low enough.

    Where it falls by less than its rounding, the slope tells better from worse: it has to become flatter.

    Args:
        evaluate: the objective and its gradient at a point.
        at: what they are at theta.
        step: the length that is tried first; each one that fails is followed by a shorter one.
        rounding: changes of the objective that mean nothing.

    Returns:
        The point, the objective there, and the step; theta itself and 0 where there is no such point.
    """
    slope = float(at.gradient @ direction)
    shortest = 1e-16 * float(theta.norm())
    for _ in range(MOST_TRIALS):
        reached = theta + step * direction
        found = evaluate(reached)
        rise = found.value - at.value
        flat = abs(rise) <= rounding and abs(float(found.gradient @ direction)) <= FLATTER * abs(slope)
        if rise <= SHARE * step * slope or flat:
            return reached, found, step
        if step * float(direction.norm()) <= shortest:
            break
        step *= shorter(step * slope, rise)
    return theta, at, 0.0


def shorter(promised: float, rise: float) -> float:
    """Where the parabola through the two ends of a step is lowest, as a share of the step, from 0.1 to 0.5.

    Args:
        promised: the slope at its start times the step, below 0.
        rise: the change of the objective.
    """
    bend = 2 * (rise - promised)
    return min(max(-promised / bend, 0.1), 0.5) if 0 < bend < math.inf else 0.1
