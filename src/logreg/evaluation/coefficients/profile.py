"""Intervals and tests of coefficients by the profile likelihood.

For a linear function c'theta of the coefficients and the objective F of N rows, Firth's penalty included where there is
one, the profile deviance is

    D(t) = 2 N (min over c'theta = t of F  -  F at the optimum)

and the 95 % interval holds the t with D(t) <= 1.96², the p value of t = 0 is that of D(0) for chi² with one degree of
freedom (Venzon and Moolgavkar, Applied Statistics 37, 1988, 87-94; for Firth's, Heinze and Schemper, Statistics in
Medicine 21, 2002). At the minimum the gradient is lambda c, and dD/dt = 2 N lambda, so that each bound is found by
Newton's method on sqrt(D), which is nearly linear in t, inside a bracket.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import chi2

from logreg.evaluation.coefficients.estimates import QUANTILE, Estimates
from logreg.optim.line_search import search
from logreg.optim.newton import newton_direction
from logreg.optim.problem import LogisticProblem, Theta

MOST_ITERATIONS = 200  # of a constrained minimum
MOST_TRIALS = 60  # of a bound
TOLERANCE = 1e-9  # of a bound, in standard errors, and of the deviance at a point
FARTHEST = 1e3  # half widths of the Wald interval beyond which a bound is called infinite


class Point(NamedTuple):
    """The constrained minimum at one t: the deviance, half its derivative over N, and how theta moves with t."""

    theta: Theta
    deviance: float
    slope: float
    direction: Theta


def profile(problem: LogisticProblem, theta: Theta, total: float, functions: np.ndarray, wald: Estimates) -> Estimates:
    """The same estimates with p values and intervals of the profile likelihood.

    Args:
        theta: the optimum.
        total: N.
        functions: c of each estimate, (estimates, coefficients).
        wald: the estimates with their standard errors.
    """
    lower, upper, p = np.empty((3, len(functions)))
    for i, row in enumerate(functions):
        function, error = torch.as_tensor(row, device=theta.device), float(wald.standard_error[i])
        deviance = _ProfileDeviance(problem, theta, total, function, error)
        lower[i], upper[i] = deviance.bound(-1), deviance.bound(1)
        p[i] = chi2.sf(deviance.at(0.0, deviance.start).deviance, 1)
    return Estimates(wald.estimate, wald.standard_error, wald.z, p, lower, upper)


class _ProfileDeviance:
    def __init__(self, problem: LogisticProblem, theta: Theta, total: float, function: Theta, error: float) -> None:
        self.problem, self.total, self.function, self.error = problem, total, function, error
        self.estimate = float(function @ theta)
        at = problem.derivatives(theta)
        self.least = at.value
        move = newton_direction(at.hessian, function)
        self.start = Point(theta, 0.0, 0.0, move / (function @ move))

    def bound(self, sign: int) -> float:
        """Where the deviance reaches 1.96² on one side."""
        inner, outer = self.estimate, math.inf * sign
        t, point = self.estimate + sign * QUANTILE * self.error, self.start
        for _ in range(MOST_TRIALS):
            point = self.at(t, point)
            root = math.sqrt(point.deviance)
            missing = QUANTILE - root
            if abs(missing) <= TOLERANCE:
                break
            inner, outer = (t, outer) if missing > 0 else (inner, t)
            if missing > 0 and abs(t - self.estimate) > FARTHEST * QUANTILE * self.error:
                return math.inf * sign
            rise = self.total * point.slope * sign / root if root > 0 else 0.0  # of the root by t
            newton = t + sign * missing / rise if rise > 0 else outer
            farthest = self.estimate + 3 * (t - self.estimate)
            if math.isinf(outer):  # no bracket yet: at most three times as far as now
                newton = min(newton, farthest) if sign > 0 else max(newton, farthest)
            elif not min(inner, outer) < newton < max(inner, outer):
                newton = (inner + outer) / 2
            if newton == t:
                break
            t = newton
        return t

    def at(self, t: float, near: Point) -> Point:
        """The constrained minimum, from a point nearby."""
        theta = near.theta + (t - float(self.function @ near.theta)) * near.direction
        at = self.problem.derivatives(theta)
        if not math.isfinite(at.value):  # too far for the model of that point: along the straight line
            theta = self.start.theta + (t - self.estimate) * self.start.direction
            at = self.problem.derivatives(theta)
        for _ in range(MOST_ITERATIONS):
            # Newton's step that leaves the function as it is, the multiplier, and how the minimum moves with t.
            free, along = newton_direction(at.hessian, at.gradient), newton_direction(at.hessian, self.function)
            multiplier = float(self.function @ free) / float(self.function @ along)
            direction, move = free - multiplier * along, along / (self.function @ along)
            slope = float(at.gradient @ direction)
            if -slope * self.total <= TOLERANCE:
                break
            theta, at, step = search(self.problem.derivatives, theta, at, direction, 1.0, slope)
            if step == 0.0:
                break
        deviance = max(2 * self.total * (at.value - self.least), 0.0)
        return Point(theta, deviance, multiplier, move)
