"""One table and many l2 penalties: the optima of all of them found together, each row read once for all.

    1. The problems are solved on a sample of the rows, by Newton's method for all penalties at once, roughly.
    2. From there each goes on with all rows by L-BFGS (Liu and Nocedal, 1989, Mathematical Programming 45, 503-528)
       whose metric is the Hessian of its sample: what is left of the condition of the columns is the difference between
       a sample and the rest, so a handful of passes is enough. A pass is two matrix products for all problems, a block
       of rows at a time, small enough to stay in cache.
    3. Passes are made in float32 until a gap is as small as float32 tells gaps apart, and in the precision of the rows
       for what is left.

A problem whose metric turns out to serve badly gets the Hessian of all rows at its present coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from logreg.errors import UserError
from logreg.objective import SOFTPLUS_IS_LINEAR

Thetas = Float[Tensor, "problems coefficients"]  # the intercept last
OfEach = Float[Tensor, " problems"]

SAMPLED_PER_COLUMN, LEAST_SAMPLED = 20, 2000
ROUGHLY = 1e-3  # the relative gap to which the sample is solved
BLOCK_ELEMENTS = 2**18  # of the logits of a block
KEPT_PAIRS = 6
SINGLE_TELLS = 1e-9  # the relative gap from which on passes are made in the precision of the rows
LONG = 12  # iterations after which a metric is taken to serve badly
RIDGE = 1e-10  # of the mean curvature, for columns of the sample that are combinations of others
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


class _Rows:
    """Objective and gradient of some problems over the rows."""

    def __init__(
        self, x: Tensor, y: Tensor, weight: Tensor | None, l2: OfEach, thresholds: OfEach | None = None
    ) -> None:
        self.x, self.y, self.weight, self.l2 = x, y, weight, l2
        self.cuts = None if thresholds is None else torch.logit(thresholds)
        self.accuracy = torch.zeros_like(l2)  # of each problem in the last pass that chose it

    @cached_property
    def single(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The rows in float32."""
        return self.x.float(), self.y.float(), None if self.weight is None else self.weight.float()

    def __len__(self) -> int:
        return len(self.y)

    def penalties(self, chosen: Tensor) -> Thetas:
        """The diagonal of each penalty's Hessian."""
        l2 = self.l2[chosen].unsqueeze(1)
        return torch.cat([l2.expand(-1, self.x.shape[1]), torch.zeros_like(l2)], dim=1)

    def of(self, theta: Thetas, chosen: Tensor, single: bool) -> tuple[OfEach, Thetas]:
        """Value and gradient of the chosen problems, sums in float64."""
        value, gradient = torch.zeros_like(theta[:, 0]), torch.zeros_like(theta)
        right = torch.zeros_like(value)
        cuts = None if self.cuts is None else self.cuts[chosen]
        for x, y, weight in self._blocks(len(theta), single):
            w, b = theta[:, :-1].to(x.dtype), theta[:, -1].to(x.dtype)
            z = torch.addmm(b, x, w.t())
            y, s = y.unsqueeze(1), None if weight is None else weight.unsqueeze(1)
            if cuts is not None:
                hits = (z >= cuts) == (y > 0.5)
                right += (hits if s is None else hits * s).sum(0)
            losses = F.softplus((1 - 2 * y) * z, threshold=SOFTPLUS_IS_LINEAR)
            residual = torch.sigmoid_(z).sub_(y)
            if s is not None:
                losses, residual = losses.mul_(s), residual.mul_(s)
            value += losses.sum(0).double()
            gradient[:, :-1] += (residual.t() @ x).double()
            gradient[:, -1] += residual.sum(0).double()
        penalty = self.penalties(chosen)
        self.accuracy[chosen] = right / len(self)
        return value / len(self) + 0.5 * (penalty * theta.square()).sum(1), gradient / len(self) + penalty * theta

    def _blocks(self, problems: int, single: bool) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        x, y, weight = self.single if single else (self.x, self.y, self.weight)
        step = max(256, BLOCK_ELEMENTS // max(problems, x.shape[1]))
        for i in range(0, len(y), step):
            yield x[i : i + step], y[i : i + step], None if weight is None else weight[i : i + step]

    def factors(self, theta: Thetas, chosen: Tensor) -> Float[Tensor, "problems coefficients coefficients"]:
        """Cholesky factors of the Hessians of the chosen problems at these coefficients."""
        hessians = torch.zeros((*theta.shape, theta.shape[1]), dtype=theta.dtype, device=theta.device)
        for x, _, weight in self._blocks(theta.shape[1], False):
            rows = torch.cat([x.double(), torch.ones_like(x[:, :1], dtype=torch.float64)], dim=1)
            p = torch.sigmoid(theta @ rows.t())
            curvature = p.mul_(1 - p) if weight is None else p.mul_(1 - p).mul_(weight.double())
            for hessian, of_one in zip(hessians, curvature, strict=True):
                hessian.addmm_((rows * of_one.unsqueeze(1)).t(), rows)
        return _factorised((hessians / len(self)).add_(torch.diag_embed(self.penalties(chosen))))


def _factorised(hessians: Tensor) -> Tensor:
    """Cholesky factors; of what is singular, with a ridge that makes it regular.

    Raises:
        UserError: a Hessian is not of finite numbers.
    """
    if not bool(hessians.isfinite().all()):
        raise UserError("the objective is not finite; scale the columns (data.standardize=true).")
    ridge = RIDGE * hessians.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-300)
    while True:
        factors, failed = torch.linalg.cholesky_ex(
            hessians + torch.diag_embed(ridge.unsqueeze(1).expand_as(hessians[:, 0]))
        )
        if not bool(failed.any()):
            return factors
        ridge = torch.where(failed > 0, 100 * ridge, ridge)


def _solved(factors: Tensor, gradient: Thetas) -> Thetas:
    """``H^-1 g`` of each problem."""
    return torch.cholesky_solve(gradient.unsqueeze(2), factors).squeeze(2)


def _inner(a: Thetas, b: Thetas) -> OfEach:
    return (a * b).sum(1)


def solve_penalties(
    x: Float[Tensor, "rows features"],
    y: Float[Tensor, " rows"],
    l2: OfEach,
    weight: Float[Tensor, " rows"] | None = None,
    start: Thetas | None = None,
    tolerance: float = 1e-14,
    most: int = 100,
    seen: Callable[[Iterations], bool] | None = None,
    thresholds: OfEach | None = None,
) -> Solved:
    """Minimise ``mean(weight * log loss) + l2 / 2 * ||w||^2`` for every one of these penalties, intercepts free.

    Args:
        weight: of mean 1.
        start: coefficients to begin with, zeros by default.
        tolerance: a problem is finished when its gap is at most this share of its value.
        most: iterations of each problem.
        seen: is told of every iteration; what it returns says whether to stop.
        thresholds: from which probability on a row is predicted to be of label 1, for the accuracies that it is told.
    """
    rows = _Rows(x, y, weight, l2.double(), None if thresholds is None else thresholds.double())
    shape = (len(l2), x.shape[1] + 1)
    theta = torch.zeros(shape, dtype=torch.float64, device=x.device) if start is None else start.double().clone()
    factors, theta = _on_a_sample(rows, theta)
    return _LBFGS(rows, theta, factors, tolerance, most, seen).run()


def _on_a_sample(rows: _Rows, theta: Thetas) -> tuple[Tensor, Thetas]:
    """The optima on a sample, roughly, and the factors of the Hessians there."""
    count = min(len(rows), max(SAMPLED_PER_COLUMN * rows.x.shape[1], LEAST_SAMPLED))
    order = (
        torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:count].sort().values.to(rows.y.device)
    )
    weight = None if rows.weight is None else rows.weight[order].double()
    sample = _Rows(rows.x[order].double(), rows.y[order].double(), weight, rows.l2)
    everyone = torch.arange(len(theta), device=theta.device)
    value, gradient = sample.of(theta, everyone, False)
    of_zero, at_zero = sample.of(torch.zeros_like(theta), everyone, False)
    afar = ~(value <= of_zero)  # where the curvature says nothing
    theta = torch.where(afar.unsqueeze(1), 0.0, theta)
    value, gradient = torch.where(afar, of_zero, value), torch.where(afar.unsqueeze(1), at_zero, gradient)
    for _ in range(MOST_HALVINGS):
        factors = sample.factors(theta, everyone)
        direction = -_solved(factors, gradient)
        slope = _inner(gradient, direction)
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
    return factors, theta


class _LBFGS:
    """The passes over all rows; what is indexed by problem has those alone that are not finished."""

    def __init__(
        self, rows: _Rows, theta: Thetas, factors: Tensor, tolerance: float, most: int,
        seen: Callable[[Iterations], bool] | None,
    ) -> None:  # fmt: skip
        self.rows, self.tolerance, self.most, self.seen = rows, tolerance, most, seen
        self.single = rows.x.dtype == torch.float64 and rows.x.numel() > BLOCK_ELEMENTS
        self.active = torch.arange(len(theta), device=theta.device)
        self.theta, self.factors = theta, factors
        self.pairs: list[tuple[Thetas, Thetas]] = []
        self.since = 0  # iterations since the metric was made
        self.out = Solved(
            theta.clone(), torch.zeros_like(theta[:, 0]), torch.zeros_like(theta[:, 0]), [0] * len(theta),
            torch.zeros(len(theta), dtype=torch.bool, device=theta.device),
        )  # fmt: skip

    def run(self) -> Solved:
        self.value, self.gradient = self.rows.of(self.theta, self.active, self.single)
        iteration = 0
        while True:
            direction = -self._metric(self.gradient)
            slope = _inner(self.gradient, direction)
            gap = -slope / 2
            too_coarse = self.single and self.tolerance < SINGLE_TELLS
            if too_coarse and bool((gap <= SINGLE_TELLS * self.value).all()):
                self._in_double()
                continue
            finished = torch.zeros_like(gap, dtype=torch.bool) if too_coarse else gap <= self.tolerance * self.value
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
            else:
                self._leave(stuck)
            if self.since > LONG:
                self._new_metric()
        return self.out

    def _in_double(self) -> None:
        """From now on in the precision of the rows."""
        self.single = False
        self.value, self.gradient = self.rows.of(self.theta, self.active, False)

    def _metric(self, gradient: Thetas) -> Thetas:
        """``H^-1 g`` by the two loops of L-BFGS."""
        q, used = gradient.clone(), []
        for s, y in reversed(self.pairs):
            sy = _inner(s, y)
            curved = sy > 1e-10 * (_inner(s, s) * _inner(y, y)).sqrt()
            rho = torch.where(curved, 1 / torch.where(curved, sy, 1.0), 0.0)
            alpha = rho * _inner(s, q)
            q -= alpha.unsqueeze(1) * y
            used.append((s, y, rho, alpha))
        q = _solved(self.factors, q)
        for s, y, rho, alpha in reversed(used):
            q += (alpha - rho * _inner(y, q)).unsqueeze(1) * s
        return q

    def _go(self, direction: Thetas, slope: OfEach) -> OfEach:
        """Step along the directions, each as far as its objective falls; returns the lengths, 0 where none did.

        Where an objective changes by less than its rounding the gradient decides, in the metric of the sample.
        """
        step, was = torch.ones_like(slope), _inner(self.gradient, _solved(self.factors, self.gradient))
        rounding = (1e-5 if self.single else 1e-13) * self.value
        reached = self.theta + direction
        value, gradient = self.rows.of(reached, self.active, self.single)
        for _ in range(MOST_HALVINGS):
            now = _inner(gradient, _solved(self.factors, gradient))
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
