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

from logreg.optim.batch_objective import BLOCK_ELEMENTS, ManyObjectives, OfEach, Thetas
from logreg.optim.linalg import Factors
from logreg.optim.solver import OF_ZERO
from logreg.optim.threads import torch_in_one_thread
from logreg.optim.two_loop import inner, inverse_times

SAMPLED_PER_COLUMN, LEAST_SAMPLED = 20, 2000
ROUGHLY = 1e-3  # the relative gap to which the sample is solved
KEPT_PAIRS = 6
SINGLE_TELLS = 1e-9  # the relative gap from which on passes are made in the precision of the rows
LONG = 12  # iterations after which a metric is taken to serve badly
MOST_HALVINGS = 30


@dataclass
class Solved:
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
class Iterations:
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


@dataclass(frozen=True)
class Beginning:
    """Where problems begin, and the Hessians that their metrics begin with."""

    theta: Thetas
    metric: Factors

    def __getitem__(self, problems: Tensor) -> Beginning:
        """That of some problems, by number."""
        return Beginning(self.theta[problems], self.metric[problems])


def solve_penalties(
    x: Float[Tensor, "rows features"],
    y: Float[Tensor, " rows"],
    l2: OfEach,
    weight: Float[Tensor, " rows"] | None = None,
    start: Thetas | None = None,
    tolerance: float | OfEach = 1e-14,
    most: int = 100,
    seen: Callable[[Iterations], bool] | None = None,
    thresholds: OfEach | None = None,
    near: Beginning | None = None,
    lr: float | OfEach = 1.0,
) -> Solved:
    """Minimise ``mean(weight * log loss) + l2 / 2 * ||w||^2`` for every one of these penalties, intercepts free.

    Args:
        weight: of mean 1.
        start: coefficients to begin with, zeros by default.
        tolerance: a problem is finished when its gap is at most this share of its value; of all, or of each.
        most: iterations of each problem.
        seen: is told of every iteration; what it returns says whether to stop.
        thresholds: from which probability on a row is predicted to be of label 1, for the accuracies that it is told.
        near: where the same penalties ended with another table like this one, instead of a start.
        lr: the length of a step that is tried first; of all, or of each.
    """
    rows = ManyObjectives(x, y, weight, l2.double(), None if thresholds is None else thresholds.double())
    settings = _Settings(
        *(torch.as_tensor(value, device=x.device).double().expand(len(l2)) for value in (tolerance, lr))
    )
    with torch_in_one_thread():
        if near is not None:
            solver = _LBFGS(rows, near, settings, most, seen)
            if bool((solver.value <= OF_ZERO).all()):  # or the tables are not alike
                return solver.run()
        shape = (len(l2), x.shape[1] + 1)
        theta = torch.zeros(shape, dtype=torch.float64, device=x.device) if start is None else start.double().clone()
        begin = _on_a_sample(rows, theta)
        solver = _LBFGS(rows, begin, settings, most, seen)
        afar = ~(solver.value <= OF_ZERO)  # where a sample is not like the rest
        if bool(afar.any()):
            theta = torch.where(afar.unsqueeze(1), 0.0, begin.theta)
            solver = _LBFGS(rows, Beginning(theta, rows.factors(theta, solver.active)), settings, most, seen)
        return solver.run()


def neighbour(
    x: Float[Tensor, "rows features"],
    y: Float[Tensor, " rows"],
    l2: OfEach,
    theta: Thetas,
    weight: Float[Tensor, " rows"] | None = None,
) -> Beginning:
    """What tables like this one may begin with: these coefficients, and the Hessians of all rows there."""
    rows = ManyObjectives(x, y, weight, l2.double())
    with torch_in_one_thread():
        return Beginning(theta, rows.factors(theta, torch.arange(len(theta), device=theta.device)))


def _on_a_sample(rows: ManyObjectives, theta: Thetas) -> Beginning:
    """The optima on a sample, roughly, and the factors of the Hessians there."""
    sample = rows.sample(min(len(rows), max(SAMPLED_PER_COLUMN * rows.x.shape[1], LEAST_SAMPLED)))
    everyone = torch.arange(len(theta), device=theta.device)
    value, gradient = sample.of(theta, everyone, False)
    of_zero, at_zero = sample.of(torch.zeros_like(theta), everyone, False)
    afar = ~(value <= of_zero)  # where the curvature says nothing
    theta = torch.where(afar.unsqueeze(1), 0.0, theta)
    value, gradient = torch.where(afar, of_zero, value), torch.where(afar.unsqueeze(1), at_zero, gradient)
    for _ in range(MOST_HALVINGS):
        factors = sample.factors(theta, everyone)
        direction = -factors(gradient)
        slope = inner(gradient, direction)[:, 0]
        active = -slope / 2 > ROUGHLY * value
        if not bool(active.any()):
            break
        step = active.double()
        for _ in range(MOST_HALVINGS):
            reached = theta + step.unsqueeze(1) * direction
            new_value, new_gradient = sample.of(reached, everyone, False)
            worse = active & ~(new_value <= value + 1e-4 * step * slope)
            if not bool(worse.any()):
                break
            step = torch.where(worse, step / 2, step)
        stays = worse.unsqueeze(1)
        theta, gradient = torch.where(stays, theta, reached), torch.where(stays, gradient, new_gradient)
        value = torch.where(worse, value, new_value)
        if bool((worse | ~active).all()):
            break
    return Beginning(theta, factors)


class _Settings(NamedTuple):
    """Of each problem; see `solve_penalties`."""

    tolerance: OfEach
    lr: OfEach


class _LBFGS:
    """The passes over all rows; what is indexed by problem has those alone that are not finished."""

    def __init__(
        self, rows: ManyObjectives, begin: Beginning, settings: _Settings, most: int,
        seen: Callable[[Iterations], bool] | None,
    ) -> None:  # fmt: skip
        self.rows, self.settings, self.most, self.seen = rows, settings, most, seen
        self.single = rows.x.dtype == torch.float64 and rows.x.numel() > BLOCK_ELEMENTS
        self.theta, self.factors = begin.theta, begin.metric
        self.active = torch.arange(len(self.theta), device=self.theta.device)
        self.pairs: list[tuple[Thetas, Thetas]] = []
        self.since = 0  # iterations since the metric was made
        none = torch.zeros_like(self.theta[:, 0])
        self.out = Solved(self.theta.clone(), none, none.clone(), [0] * len(none), none.bool())
        self.value, self.gradient = rows.of(self.theta, self.active, self.single)

    def run(self) -> Solved:
        iteration = 0
        while True:
            direction = -inverse_times(self.pairs, self.gradient, self.factors)
            slope = inner(self.gradient, direction)[:, 0]
            gap = -slope / 2
            least = self.settings.tolerance[self.active]
            too_coarse = (least < SINGLE_TELLS) if self.single else torch.zeros_like(gap, dtype=torch.bool)
            if bool(too_coarse.any()) and bool((gap <= least.clamp(min=SINGLE_TELLS) * self.value).all()):
                self._in_double()
                continue
            finished = (gap <= least * self.value) & ~too_coarse
            self._record(gap, finished, iteration)
            direction, slope, gap = direction[~finished], slope[~finished], gap[~finished]
            self._leave(finished)
            if not len(self.active) or iteration == self.most:
                break
            before, norm, accuracy = self.value, self.gradient.norm(dim=1), self.rows.accuracy[self.active]
            step = self._go(direction, slope)
            iteration, self.since = iteration + 1, self.since + 1
            told = Iterations(iteration - 1, self.active.tolist(), before, accuracy, norm, gap, step)
            if self.seen is not None and self.seen(told):
                self._record(gap, step < 0, iteration)
                break
            stuck = step == 0
            if self.single and bool(stuck.any()):
                self._in_double()
            elif bool(stuck.any()) and self.since > 1:
                self._new_metric()  # the old one may be the reason
            else:
                self._leave(stuck)
            if self.since > LONG:
                self._new_metric()
        return self.out

    def _in_double(self) -> None:
        """From now on in the precision of the rows."""
        self.single = False
        self.value, self.gradient = self.rows.of(self.theta, self.active, False)

    def _go(self, direction: Thetas, slope: OfEach) -> OfEach:
        """Step along the directions, each as far as its objective falls; returns the lengths, 0 where none did.

        Where an objective changes by less than its rounding the gradient decides, in the metric of the sample.
        """
        step, was = self.settings.lr[self.active].clone(), inner(self.gradient, self.factors(self.gradient))[:, 0]
        rounding = (1e-5 if self.single else 1e-13) * self.value
        reached = self.theta + step.unsqueeze(1) * direction
        value, gradient = self.rows.of(reached, self.active, self.single)
        for _ in range(MOST_HALVINGS):
            now = inner(gradient, self.factors(gradient))[:, 0]
            fell = (value <= self.value + 1e-4 * step * slope) | ((value <= self.value + rounding) & (now < was))
            worse = torch.nonzero(~fell)[:, 0]
            if not len(worse):
                break
            step[worse] /= 2
            reached[worse] = self.theta[worse] + step[worse].unsqueeze(1) * direction[worse]
            value[worse], gradient[worse] = self.rows.of(reached[worse], self.active[worse], self.single)
        else:
            reached[worse], value[worse], gradient[worse] = self.theta[worse], self.value[worse], self.gradient[worse]
            step[worse] = 0.0
        self.pairs = [*self.pairs, (reached - self.theta, gradient - self.gradient)][-KEPT_PAIRS:]
        self.theta, self.value, self.gradient = reached, value, gradient
        return step

    def _record(self, gap: OfEach, finished: Tensor, iteration: int) -> None:
        out, active = self.out, self.active
        out.theta[active], out.value[active], out.gap[active] = self.theta, self.value, gap
        out.finished[active] = finished
        for problem in active.tolist():
            out.iterations[problem] = iteration

    def _leave(self, gone: Tensor) -> None:
        """Go on without some problems."""
        if bool(gone.any()):
            stay = ~gone
            self.active, self.theta, self.factors = self.active[stay], self.theta[stay], self.factors[stay]
            self.value, self.gradient = self.value[stay], self.gradient[stay]
            self.pairs = [(s[stay], y[stay]) for s, y in self.pairs]

    def _new_metric(self) -> None:
        self.factors, self.pairs, self.since = self.rows.factors(self.theta, self.active), [], 0
