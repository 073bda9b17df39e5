"""One table and many l2 penalties: the optima of all of them found together, each row read once for all.

    1. The problems are solved on a sample of the rows, by Newton's method for all penalties at once, roughly.
    2. From there each goes on with all rows by L-BFGS (Liu and Nocedal, 1989, Mathematical Programming 45, 503-528)
       whose metric is the Hessian of its sample: what is left of the condition of the columns is the difference between
       a sample and the rest, so a handful of passes is enough. A pass is two matrix products for all problems, a block
       of rows at a time, small enough to stay in cache.
    3. Passes are made in float32 until a gap is as small as float32 tells gaps apart, and in the precision of the rows
       for what is left.

Folds of a table differ by less than a sample differs from the table: from the second on they begin where the first one
has ended, with the Hessians of all its rows, and take a pass or two less (`neighbour`).

A problem whose metric turns out to serve badly gets the Hessian of all rows at its present coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from logreg.optim.batch_objective import BLOCK_ELEMENTS, BatchObjective, OfEach, Thetas
from logreg.optim.linalg import Factors, inner, inverse_times
from logreg.optim.line_search import search_each
from logreg.optim.solver import OF_ZERO
from logreg.optim.threads import torch_in_one_thread

SAMPLED_PER_COLUMN, LEAST_SAMPLED = 20, 2000
ROUGHLY = 1e-3  # the relative gap to which the sample is solved
KEPT_PAIRS = 6
SINGLE_TELLS = 1e-9  # the relative gap from which on passes are made in the precision of the rows
LONG = 12  # iterations after which a metric is taken to serve badly
MOST_SAMPLE_ITERATIONS = 30
ROUNDING, SINGLE_ROUNDING = 1e-13, 1e-5  # of an objective, in float64 and in float32


@dataclass
class BatchSolution:
    """Where the problems ended.

    Attributes:
        theta: coefficients, float64.
        value: the objectives there.
        gap: how far above their least values these are, as the metric estimates it.
        iterations: made by each problem.
        finished: whether the gap is at most the tolerance's share of the value, (problems,).
    """

    theta: Thetas
    value: OfEach
    gap: OfEach
    iterations: list[int]
    finished: Bool[Tensor, " problems"]


@dataclass(frozen=True)
class BatchIteration:
    """One iteration of those problems that are not finished, as it was when it began.

    Attributes:
        iteration: counted from 0.
        problems: their numbers.
        accuracy: of the predictions, as a share of the rows' weight; zeros where no thresholds were given.
        step: the lengths of the steps that were taken, 1 for full ones.
    """

    iteration: int
    problems: list[int]
    value: OfEach
    accuracy: OfEach
    gradient_norm: OfEach
    gap: OfEach
    step: OfEach


class WarmStart(NamedTuple):
    """Where problems begin, and the Hessians that their metrics begin with."""

    theta: Thetas
    metric: Factors


def solve_penalties(
    x: Float[Tensor, "rows features"],
    y: Float[Tensor, " rows"],
    l2: OfEach,
    weight: Float[Tensor, " rows"] | None = None,
    start: Thetas | None = None,
    tolerance: float | OfEach = 1e-14,
    most: int = 100,
    watch: Callable[[BatchIteration], bool] | None = None,
    thresholds: OfEach | None = None,
    near: WarmStart | None = None,
    lr: float | OfEach = 1.0,
) -> BatchSolution:
    """Minimise ``mean(weight * log loss) + l2 / 2 * ||w||^2`` for every one of these penalties, intercepts free.

    Args:
        weight: of mean 1.
        start: coefficients to begin with, zeros by default.
        tolerance: a problem is finished when its gap is at most this share of its value; of all, or of each.
        most: iterations of each problem.
        watch: is called with every iteration; what it returns says whether to stop.
        thresholds: from which probability on a row is predicted to be of label 1, for the accuracies.
        near: where the same penalties ended with another table like this one, instead of a start.
        lr: the length of a step that is tried first; of all, or of each.
    """
    rows = BatchObjective(x, y, weight, l2.double(), None if thresholds is None else thresholds.double())
    tolerance, lr = (torch.as_tensor(value, device=x.device).double().expand(len(l2)) for value in (tolerance, lr))
    with torch_in_one_thread():
        if near is not None:
            solver = _BatchLBFGS(rows, near, tolerance, lr, most, watch)
            if bool((solver.value <= OF_ZERO).all()):  # or the tables are not alike
                return solver.run()
        shape = (len(l2), x.shape[1] + 1)
        theta = torch.zeros(shape, dtype=torch.float64, device=x.device) if start is None else start.double().clone()
        begin = _on_a_sample(rows, theta)
        solver = _BatchLBFGS(rows, begin, tolerance, lr, most, watch)
        too_far = ~(solver.value <= OF_ZERO)  # where a sample is not like the rest
        if bool(too_far.any()):
            theta = torch.where(too_far.unsqueeze(1), 0.0, begin.theta)
            solver = _BatchLBFGS(rows, WarmStart(theta, rows.factors(theta, solver.active)), tolerance, lr, most, watch)
        return solver.run()


def neighbour(
    x: Float[Tensor, "rows features"],
    y: Float[Tensor, " rows"],
    l2: OfEach,
    theta: Thetas,
    weight: Float[Tensor, " rows"] | None = None,
) -> WarmStart:
    """What tables like this one may begin with: these coefficients, and the Hessians of all rows there."""
    rows = BatchObjective(x, y, weight, l2.double())
    with torch_in_one_thread():
        return WarmStart(theta, rows.factors(theta, torch.arange(len(theta), device=theta.device)))


def _on_a_sample(rows: BatchObjective, theta: Thetas) -> WarmStart:
    """The optima on a sample, roughly, and the factors of the Hessians there."""
    sample = rows.sample(min(len(rows), max(SAMPLED_PER_COLUMN * rows.x.shape[1], LEAST_SAMPLED)))
    everyone = torch.arange(len(theta), device=theta.device)
    value, gradient = sample.of(theta, everyone, False)
    of_zero, at_zero = sample.of(torch.zeros_like(theta), everyone, False)
    too_far = ~(value <= of_zero)  # where the curvature says nothing
    theta = torch.where(too_far.unsqueeze(1), 0.0, theta)
    value, gradient = torch.where(too_far, of_zero, value), torch.where(too_far.unsqueeze(1), at_zero, gradient)
    for _ in range(MOST_SAMPLE_ITERATIONS):
        factors = sample.factors(theta, everyone)
        direction = -factors(gradient)
        active = torch.nonzero(-(gradient * direction).sum(1) / 2 > ROUGHLY * value)[:, 0]
        if not len(active):
            break

        def evaluate(theta: Thetas, chosen: Tensor, active: Tensor = active) -> tuple[OfEach, Thetas]:
            return sample.of(theta, active[chosen], False)

        start, full = (theta[active], value[active], gradient[active]), torch.ones_like(value[active])
        theta[active], value[active], gradient[active], step = search_each(evaluate, *start, direction[active], full)
        if not bool(step.any()):
            break
    return WarmStart(theta, factors)


class _BatchLBFGS:
    """The passes over all rows; what is indexed by problem has those alone that are not finished."""

    def __init__(
        self, rows: BatchObjective, begin: WarmStart, tolerance: OfEach, lr: OfEach, most: int,
        watch: Callable[[BatchIteration], bool] | None,
    ) -> None:  # fmt: skip
        self.rows, self.tolerance, self.lr, self.most, self.watch = rows, tolerance, lr, most, watch
        self.single = rows.x.dtype == torch.float64 and rows.x.numel() > BLOCK_ELEMENTS
        self.theta, self.factors = begin.theta, begin.metric
        self.active = torch.arange(len(self.theta), device=self.theta.device)
        self.pairs: list[tuple[Thetas, Thetas]] = []
        self.metric_age = 0  # in iterations
        zeros = torch.zeros_like(self.theta[:, 0])
        self.solution = BatchSolution(self.theta.clone(), zeros, zeros.clone(), [0] * len(zeros), zeros.bool())
        self.value, self.gradient = rows.of(self.theta, self.active, self.single)

    def run(self) -> BatchSolution:
        iteration = 0
        while True:
            # 1. Directions and gaps.
            direction = -inverse_times(self.pairs, self.gradient, self.factors)
            gap = -inner(self.gradient, direction)[:, 0] / 2
            # 2. Problems whose gaps are small leave, those that ask for more than float32 tells once all are so far.
            tolerance = self.tolerance[self.active]
            too_coarse = (tolerance < SINGLE_TELLS) if self.single else torch.zeros_like(gap, dtype=torch.bool)
            if bool(too_coarse.any()) and bool((gap <= tolerance.clamp(min=SINGLE_TELLS) * self.value).all()):
                self._in_double()
                continue
            finished = (gap <= tolerance * self.value) & ~too_coarse
            self._record(gap, finished, iteration)
            direction, gap = direction[~finished], gap[~finished]
            self._leave(finished)
            if not len(self.active) or iteration == self.most:
                break
            # 3. The steps.
            value, norm, accuracy = self.value, self.gradient.norm(dim=1), self.rows.accuracy[self.active]
            step = self._step(direction)
            seen = BatchIteration(iteration, self.active.tolist(), value, accuracy, norm, gap, step)
            iteration, self.metric_age = iteration + 1, self.metric_age + 1
            if self.watch is not None and self.watch(seen):
                self._record(gap, step < 0, iteration)
                break
            # 4. Where a problem is stuck, float32 or the metric may be the reason, else it stays where it is.
            stuck = step == 0
            if self.single and bool(stuck.any()):
                self._in_double()
            elif bool(stuck.any()) and self.metric_age > 1:
                self._new_metric()
            else:
                self._leave(stuck)
            if self.metric_age > LONG:
                self._new_metric()
        return self.solution

    def _in_double(self) -> None:
        """From now on in the precision of the rows."""
        self.single = False
        self.value, self.gradient = self.rows.of(self.theta, self.active, False)

    def _step(self, direction: Thetas) -> OfEach:
        """Step along the directions, each as far as its objective falls; returns the lengths, 0 where none did.

        Where an objective changes by less than its rounding the gradient decides, in the metric of the sample.
        """
        size = inner(self.gradient, self.factors(self.gradient))[:, 0]
        rounding = (SINGLE_ROUNDING if self.single else ROUNDING) * self.value

        def flat(value: OfEach, gradient: Thetas, chosen: Tensor) -> Bool[Tensor, " problems"]:
            smaller = inner(gradient, self.factors[chosen](gradient))[:, 0] < size[chosen]
            return (value <= self.value[chosen] + rounding[chosen]) & smaller

        def evaluate(theta: Thetas, chosen: Tensor) -> tuple[OfEach, Thetas]:
            return self.rows.of(theta, self.active[chosen], self.single)

        start, lr = (self.theta, self.value, self.gradient), self.lr[self.active]
        reached, value, gradient, step = search_each(evaluate, *start, direction, lr, flat)
        self.pairs = [*self.pairs, (reached - self.theta, gradient - self.gradient)][-KEPT_PAIRS:]
        self.theta, self.value, self.gradient = reached, value, gradient
        return step

    def _record(self, gap: OfEach, finished: Tensor, iteration: int) -> None:
        solution, active = self.solution, self.active
        solution.theta[active], solution.value[active], solution.gap[active] = self.theta, self.value, gap
        solution.finished[active] = finished
        for problem in active.tolist():
            solution.iterations[problem] = iteration

    def _leave(self, leaving: Tensor) -> None:
        """Go on without some problems, (active,) bool."""
        if bool(leaving.any()):
            staying = ~leaving
            self.active, self.theta, self.factors = self.active[staying], self.theta[staying], self.factors[staying]
            self.value, self.gradient = self.value[staying], self.gradient[staying]
            self.pairs = [(s[staying], y[staying]) for s, y in self.pairs]

    def _new_metric(self) -> None:
        self.factors, self.pairs, self.metric_age = self.rows.factors(self.theta, self.active), [], 0
