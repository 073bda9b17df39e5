"""How far to go along a direction in which the objective falls.

The full step is tried first, then shorter ones, until the objective has fallen by a share of what its slope promises
(Armijo; Nocedal and Wright, Numerical Optimization, 2006, algorithm 3.1). Near the optimum it falls by less than its
own rounding: there each solver has another measure that tells better from worse, `Flat`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from logreg.optim.problem import FirstOrder, Theta, Value

SHARE = 1e-4  # of the promised fall that a step has to keep
FLATTER = 0.9  # of the slope that may be left where the objective is too flat to compare
MOST_TRIALS = 40  # step lengths
MOST_HALVINGS = 30
STANDSTILL = 1e-16  # of the length of theta: a shorter step does not change it


Point = TypeVar("Point", bound=Value)  # what is known of the objective at a point

# Of a point, what is known there and the rise of the objective: whether it is better, as far as rounding lets one tell.
Flat = Callable[[Theta, Point, float], bool]


def search(
    evaluate: Callable[[Theta], Point],
    theta: Theta,
    at: Point,
    direction: Theta,
    step: float,
    slope: float,
    flat: Flat[Point] | None = None,
    trials: int = MOST_TRIALS,
) -> tuple[Theta, Point, float]:
    """The first point along the direction where the objective is low enough.

    Args:
        evaluate: what is known of the objective at a point.
        theta: where the search starts, (features + 1,); ``at`` is what is known there.
        step: the length that is tried first; each one that fails is followed by a shorter one.
        slope: how fast the objective falls along the direction at first, below 0.
        flat: accepts a point where the objective itself has not fallen enough.
        trials: the most lengths that are tried.

    Returns:
        The point, what is known there, and the step; theta itself and 0 where there is no such point.
    """
    shortest = STANDSTILL * float(theta.norm())
    for _ in range(trials):
        reached = theta + step * direction
        point = evaluate(reached)
        rise = point.value - at.value
        if rise <= SHARE * step * slope or (flat is not None and flat(reached, point, rise)):
            return reached, point, step
        if step * float(direction.norm()) <= shortest:
            break
        # To where the parabola through the two ends of the step is lowest, a share of it from 0.1 to 0.5.
        promised, bend = step * slope, 2 * (rise - step * slope)
        step *= min(max(-promised / bend, 0.1), 0.5) if 0 < bend < math.inf else 0.1
    return theta, at, 0.0


def slope_is_flatter(direction: Theta, slope: float, rounding: float) -> Flat[FirstOrder]:
    """Accepts points whose objective differs by rounding alone, where the slope along the direction is less steep."""

    def flat(theta: Theta, point: FirstOrder, rise: float) -> bool:
        return abs(rise) <= rounding and abs(float(point.gradient @ direction)) <= FLATTER * abs(slope)

    return flat


def search_each(
    evaluate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],  # value and gradient at theta of chosen problems
    theta: Tensor,  # (problems, coefficients)
    value: Tensor,  # (problems,)
    gradient: Tensor,  # (problems, coefficients)
    direction: Tensor,
    step: Tensor,  # the lengths that are tried first, (problems,)
    flat: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,  # of values and gradients of chosen problems
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`search` for a batch of problems: those whose objective has not fallen enough halve their steps.

    Returns:
        The points, their values and gradients, and the steps; where no step is good, the start and 0.
    """
    step, slope = step.clone(), (gradient * direction).sum(1)
    chosen = torch.arange(len(theta), device=theta.device)
    reached, values, gradients = theta.clone(), value.clone(), gradient.clone()
    for _ in range(MOST_HALVINGS):
        trial = theta[chosen] + step[chosen].unsqueeze(1) * direction[chosen]
        reached[chosen] = trial
        values[chosen], gradients[chosen] = evaluate(trial, chosen)
        fell = values[chosen] <= value[chosen] + SHARE * step[chosen] * slope[chosen]
        if flat is not None:
            fell |= flat(values[chosen], gradients[chosen], chosen)
        chosen = chosen[~fell]
        if not len(chosen):
            break
        step[chosen] /= 2
    step[chosen] = 0.0
    reached[chosen], values[chosen], gradients[chosen] = theta[chosen], value[chosen], gradient[chosen]
    return reached, values, gradients, step
