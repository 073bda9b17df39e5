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
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from logreg.optim.linalg import Factors, gram, inner, inverse_times
from logreg.optim.line_search import search_each
from logreg.optim.losses import LOG_LOSS
from logreg.optim.solver import OF_ZERO
from logreg.optim.threads import Sums, summed, torch_in_one_thread

Thetas = Float[Tensor, "problems coefficients"]  # the intercept last
OfEach = Float[Tensor, " problems"]

BLOCK_ELEMENTS = 2**18  # of the logits of a block
LEAST_BLOCK = 256  # rows
COMPARED = 2000  # rows by whose curvatures problems are compared
ALIKE = 0.05  # of the mean curvature: problems that differ by no more share a Hessian
SAMPLED_PER_COLUMN, LEAST_SAMPLED = 20, 2000
ROUGHLY = 1e-3  # the relative gap to which the sample is solved
KEPT_PAIRS = 6
SINGLE_TELLS = 1e-9  # the relative gap from which on passes are made in the precision of the rows
LONG = 12  # iterations after which a metric is taken to serve badly
MOST_SAMPLE_ITERATIONS = 30
ROUNDING, SINGLE_ROUNDING = 1e-13, 1e-5  # of an objective, in float64 and in float32


@dataclass(eq=False)
class BatchObjective:
    """``mean(weight * log loss) + l2 / 2 * ||w||^2`` for every one of some penalties."""

    x: Tensor  # (rows, features), dense
    y: Tensor  # (rows,), 0 or 1
    weight: Tensor | None  # (rows,) of mean 1
    l2: OfEach
    thresholds: OfEach | None = None  # from which probability on a row is predicted to be of label 1

    def __post_init__(self) -> None:
        self.logit_thresholds = None if self.thresholds is None else torch.logit(self.thresholds)
        self.accuracy = torch.zeros_like(self.l2)  # in the last pass that chose a problem; zeros without thresholds

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def single(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The rows in float32."""
        return self.x.float(), self.y.float(), None if self.weight is None else self.weight.float()

    def sample(self, count: int) -> BatchObjective:
        """The same over some of the rows, drawn in the same way each time, in float64."""
        weighty = torch.ones_like(self.y) if self.weight is None else self.weight > 0
        counted = torch.nonzero(weighty)[:, 0]  # rows without weight do not count
        drawn = torch.randperm(len(counted), generator=torch.Generator().manual_seed(0))[:count].sort().values
        chosen = counted[drawn.to(counted.device)]
        weight = None if self.weight is None else self.weight[chosen].double()
        weight = None if weight is None else weight / weight.mean()
        return BatchObjective(self.x[chosen].double(), self.y[chosen].double(), weight, self.l2)

    def of(self, theta: Thetas, chosen: Tensor, single: bool) -> tuple[OfEach, Thetas]:
        """Value and gradient of the chosen problems, (chosen,) int64; sums in float64.

        Args:
            single: whether to compute in float32 within a block of rows.
        """
        thresholds = None if self.logit_thresholds is None else self.logit_thresholds[chosen]
        x, y, weight = self.single if single else (self.x, self.y, self.weight)
        w, b = theta[:, :-1].to(x.dtype), theta[:, -1].to(x.dtype)

        def of_block(rows: slice) -> Sums:
            z = torch.addmm(b, x[rows], w.t())
            labels, s = y[rows].unsqueeze(1), None if weight is None else weight[rows].unsqueeze(1)
            hits = None if thresholds is None else (z >= thresholds) == (labels > 0.5)
            losses = LOG_LOSS.of_rows(z, labels)
            residual = torch.sigmoid_(z).sub_(labels)
            if s is not None:
                losses, residual = losses.mul_(s), residual.mul_(s)
                hits = None if hits is None else hits * s
            right = torch.zeros_like(b) if hits is None else hits.sum(0)
            sums = losses.sum(0), residual.t() @ x[rows], residual.sum(0), right
            return [part.double() for part in sums]

        value, by_weight, by_intercept, right = self._summed(of_block, len(theta))
        gradient, penalty = torch.cat([by_weight, by_intercept.unsqueeze(1)], dim=1), self._penalties(chosen)
        self.accuracy[chosen] = right / len(self)
        return value / len(self) + 0.5 * (penalty * theta.square()).sum(1), gradient / len(self) + penalty * theta

    def factors(self, theta: Thetas, chosen: Tensor) -> Factors:
        """Of the Hessians of the chosen problems at these coefficients, nearly: those that are alike share one."""
        shared, of_problem = self._shared(theta)

        def of_block(rows: slice) -> Sums:
            x, weight = self.x[rows].double(), None if self.weight is None else self.weight[rows].double()
            curvature = _curvatures(x, theta[shared])
            design = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
            return [gram(design, of_one if weight is None else of_one * weight) for of_one in curvature]

        hessians = torch.stack(self._summed(of_block, max(len(shared), theta.shape[1])))
        return Factors(hessians[of_problem] / len(self) + torch.diag_embed(self._penalties(chosen)))

    def _summed(self, of_block: Callable[[slice], Sums], width: int) -> Sums:
        """The sums over blocks, of few enough rows that ``width`` numbers for each stay in cache."""
        step = max(LEAST_BLOCK, BLOCK_ELEMENTS // max(width, self.x.shape[1]))
        blocks = -(-len(self) // step)
        return summed(lambda block: of_block(slice(block * step, (block + 1) * step)), blocks, self.x.device)

    def _shared(self, theta: Thetas) -> tuple[Tensor, Tensor]:
        """Problems whose curvatures differ, (shared,), and for each problem which of these is like it, (problems,)."""
        x = self.x[:: max(1, len(self) // COMPARED)].double()
        curvature = _curvatures(x, theta)
        shared, of_problem = [0], [0]
        for i in range(1, len(theta)):
            distance = (curvature[shared] - curvature[i]).abs().mean(1)
            nearest = int(distance.argmin())
            if not float(distance[nearest]) <= ALIKE * float(curvature[i].mean()):
                nearest = len(shared)
                shared.append(i)
            of_problem.append(nearest)
        return torch.tensor(shared, device=theta.device), torch.tensor(of_problem, device=theta.device)

    def _penalties(self, chosen: Tensor) -> Thetas:
        l2 = self.l2[chosen].unsqueeze(1)
        return torch.cat([l2.expand(-1, self.x.shape[1]), torch.zeros_like(l2)], dim=1)


def _curvatures(x: Tensor, theta: Thetas) -> Float[Tensor, "problems rows"]:
    z = torch.addmm(theta[:, -1:], theta[:, :-1], x.t())
    return torch.sigmoid(z) * torch.sigmoid(-z)


@dataclass
class BatchSolution:
    """Where the problems ended."""

    theta: Thetas  # coefficients, float64
    value: OfEach  # the objectives there
    iterations: list[int]  # of each problem
    finished: Bool[Tensor, " problems"]  # whether the gap is at most the tolerance's share of the value


@dataclass(frozen=True)
class BatchIteration:
    """One iteration of those problems that are not finished, as it was when it began."""

    iteration: int  # counted from 0
    problems: list[int]  # their numbers
    value: OfEach
    accuracy: OfEach  # of the predictions, as a share of the rows' weight; zeros where no thresholds were given
    gradient_norm: OfEach
    gap: OfEach
    step: OfEach  # the lengths of the steps that were taken, 1 for full ones


class WarmStart(NamedTuple):
    """Where problems begin, and the Hessians that their metrics begin with."""

    theta: Thetas
    metric: Factors


def solve_penalties(
    x: Float[Tensor, "rows features"],
    y: Float[Tensor, " rows"],
    l2: OfEach,
    weight: Float[Tensor, " rows"] | None = None,  # of mean 1
    start: Thetas | None = None,  # coefficients to begin with, zeros by default
    tolerance: float | OfEach = 1e-14,  # a problem is finished when its gap is at most this share of its value
    most: int = 100,  # iterations of each problem
    watch: Callable[[BatchIteration], bool] | None = None,  # called with every iteration; returns whether to stop
    thresholds: OfEach | None = None,  # from which probability on a row is predicted to be of label 1
    near: WarmStart | None = None,  # where the same penalties ended with a table like this one, instead of a start
    lr: float | OfEach = 1.0,  # the length of a step that is tried first
) -> BatchSolution:
    """Minimise ``mean(weight * log loss) + l2 / 2 * ||w||^2`` for every one of these penalties, intercepts free."""
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


def neighbour(x: Tensor, y: Tensor, l2: OfEach, theta: Thetas, weight: Tensor | None = None) -> WarmStart:
    """What tables like this one, see `solve_penalties`, may begin with: these coefficients, and all rows' Hessians."""
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
        self.solution = BatchSolution(self.theta.clone(), zeros, [0] * len(zeros), zeros.bool())
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
            self._record(finished, iteration)
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
                self._record(step < 0, iteration)
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

    def _record(self, finished: Tensor, iteration: int) -> None:
        solution, active = self.solution, self.active
        solution.theta[active], solution.value[active], solution.finished[active] = self.theta, self.value, finished
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
