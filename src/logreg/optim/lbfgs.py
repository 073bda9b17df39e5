"""Preconditioned L-BFGS: the optimum of a large table in some ten passes over its rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import TypedDict, cast

import torch
from torch import nn

from logreg.optim.linalg import inverse_times
from logreg.optim.line_search import search, slope_is_flatter
from logreg.optim.precondition import LEAST, Preconditioner, most_columns, subsample
from logreg.optim.problem import FirstOrder, LogisticProblem, Theta
from logreg.optim.solver import SMALL, Iteration, Latest, Solver

SUBSAMPLE_TOLERANCE = 1e-4  # of the subsample's optimum, which is only as near as its rows are typical
MOST_SUBSAMPLE_ITERATIONS = 50
ROUGH = 10  # rows a column whose Hessian is enough for the subsample's own optimum
REFRESH = 10  # iterations after which the Hessian of the subsample is made again, where it is needed that long
SINGLE_NOISE = 1e-7  # of the objective: changes that mean nothing in float32
NEAR = 1e-5  # of the objective: a gap at which rounding may be what is left
SHORT = 0.1  # of the length that is tried first: a step that says that the metric is wrong somewhere
PATIENCE = 5  # iterations in a row without any progress that are the end


class Memory(TypedDict):
    """What is kept from one iteration to the next, and in checkpoints: plain values and tensors."""

    begun: bool  # whether the start was looked for
    iterations: int  # so far
    point: Theta  # where the subsample's Hessian is taken, (features + 1,)
    pairs: list[tuple[Theta, Theta]]  # of step and change of the gradient, the oldest first
    exact: bool  # whether passes are in float64
    least: float  # gap so far
    lowest: float  # objective so far
    stuck: int  # iterations since either fell
    careful: bool  # whether the diagonal of all rows is looked at


class PreconditionedLBFGS(Solver):
    """L-BFGS on the mean log loss plus ``l2/2 ||w||²``, in the metric of a subsample; about a pass an iteration.

    The start is the optimum of a subsample of the rows (see `logreg.optim.precondition`), whose Hessian there is from
    then on the matrix that the two-loop recursion starts with (Nocedal and Wright, Numerical Optimization, algorithm
    7.4). So the directions are Newton's but for the sampling error, which the pairs of steps and changes of the
    gradient take out, whatever the condition of the columns. The gap is half the squared Newton decrement with that
    matrix in place of the Hessian: what the quadratic model expects to gain.

    Rows that are stored in float32 are passed over in float32, with sums in float64, as long as that resolves the
    gradient: before the solver believes that it is done it measures the rounding on a few blocks, and where that is not
    small beside the tolerance it goes on in float64.

    Args:
        params: weight and intercept.
        lr: the length of a step that is tried first.
        tolerance: of the objective; at a gap of at most this share of it the solver is done.
        history_size: pairs that the recursion keeps.
    """

    name = "lbfgs"
    sampled_rows = LEAST  # a column

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float = 1.0, tolerance: float = 1e-16, history_size: int = 10
    ) -> None:
        super().__init__(params, lr, tolerance)
        self.param_groups[0]["history_size"] = history_size
        self._sample, self._metric = Latest[LogisticProblem](), Latest[Preconditioner]()

    def _iterate(self, problem: LogisticProblem, theta: Theta) -> Iteration:
        state = self.state[self.param_groups[0]["params"][0]]
        if not state:
            exact = problem.rows.stored is not torch.float32 or problem.sparse
            state |= Memory(
                begun=False, iterations=0, point=theta, pairs=[], exact=exact, least=math.inf, lowest=math.inf,
                stuck=0, careful=problem.features > most_columns(problem.sparse),
            )  # fmt: skip
        # A checkpoint keeps them in the type of the parameters.
        state["point"] = state["point"].to(theta.dtype)
        state["pairs"] = [(s.to(theta.dtype), change.to(theta.dtype)) for s, change in state["pairs"]]
        memory = self._memory
        if not memory["begun"]:
            memory["point"], theta = self._start(problem, theta)
            memory["begun"] = True
        return super()._iterate(problem, theta)

    def _from_afar(self, theta: Theta, at: FirstOrder) -> Iteration | None:
        if (back := super()._from_afar(theta, at)) is not None:
            self._memory["point"], self._memory["pairs"] = back.theta, []
        return back

    def _go_on(self, problem: LogisticProblem, theta: Theta, at: FirstOrder) -> Iteration:
        memory = self._memory
        # 2. The direction and its gap.
        direction = self._direction(problem, at.gradient)
        slope = float(at.gradient @ direction)
        gap = max(-slope / 2, 0.0)
        # 3. A small gap ends it, once it is known not to be one of float32's making.
        small, stuck = self._is_small(gap, at), self._is_stuck(gap, at)
        resolved = memory["exact"] or stuck or not small
        if not resolved:  # whether the gap would be small still if the gradient were as wrong as float32 makes it
            error = problem.rounding(theta, self._dtype)
            of_error = float(error @ self._preconditioner(problem)(error)) / 2
            resolved = self._is_small((math.sqrt(gap) + math.sqrt(of_error)) ** 2, at)
        if not memory["exact"] and (stuck or not resolved):
            memory["exact"], memory["least"], memory["stuck"] = True, math.inf, 0
            return self._iterate(problem, theta)
        if small or stuck:
            return self._iteration(theta, at, gap, 0.0, finished=True)
        # 4. The step. Old pairs, gradients that are too coarse, or a column that the subsample knows too little of may
        # be what leads nowhere, or not far: each is given up before the solver is.
        evaluate, flat = partial(self._evaluate, problem), slope_is_flatter(direction, slope, self._rounding(at))
        reached, point, step = search(evaluate, theta, at, direction, self._setting("lr"), slope, flat)
        s, change = reached - theta, point.gradient - at.gradient
        if step and float(s @ change) > 0:  # which a convex objective has, but for rounding
            memory["pairs"] = [*memory["pairs"], (s, change)][-int(self._setting("history_size")) :]
        hopeless = step == 0.0 and memory["exact"] and memory["careful"] and not memory["pairs"]
        memory["iterations"] += 1
        if step < SHORT * self._setting("lr"):
            memory["careful"], memory["point"] = True, reached
        elif memory["iterations"] % REFRESH == 0:
            memory["point"] = reached
        if step == 0.0:
            memory["exact"], memory["pairs"] = True, []
        return self._iteration(reached, at, gap, step, finished=hopeless)

    @property
    def _memory(self) -> Memory:
        return cast("Memory", self.state[self.param_groups[0]["params"][0]])

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if self._memory["exact"] else torch.float32

    def _evaluate(self, problem: LogisticProblem, theta: Theta) -> FirstOrder:
        return self._at(lambda: problem.first_order(theta, self._dtype), problem, theta, self._dtype)

    def _subsample(self, problem: LogisticProblem) -> LogisticProblem:
        return self._sample(lambda: subsample(problem, self.sampled_rows), problem)

    def _preconditioner(self, problem: LogisticProblem) -> Preconditioner:
        point, careful, sample = self._memory["point"], self._memory["careful"], self._subsample(problem)

        def make() -> Preconditioner:
            return Preconditioner(sample, point, problem.diagonal(point) if careful else None)

        return self._metric(make, sample, careful, point)

    def _direction(self, problem: LogisticProblem, gradient: Theta) -> Theta:
        precondition, pairs = self._preconditioner(problem), self._memory["pairs"]
        scale = 1.0
        if pairs and precondition.is_diagonal:  # whose size says little: the newest pair knows better
            s, change = pairs[-1]
            scale = float((s @ change) / (change @ precondition(change)))
        return -inverse_times(pairs, gradient, lambda q: scale * precondition(q))

    def _is_stuck(self, gap: float, at: FirstOrder) -> bool:
        """Whether neither gap nor objective has fallen for a while near the optimum: rounding is the reason."""
        memory = self._memory
        falls = gap < memory["least"] or at.value < memory["lowest"] - self._rounding(at)
        memory["stuck"] = 0 if falls else memory["stuck"] + 1
        memory["least"], memory["lowest"] = min(gap, memory["least"]), min(at.value, memory["lowest"])
        near = gap <= NEAR * max(at.value, SMALL)
        return near and memory["stuck"] >= (PATIENCE if memory["exact"] else 1)

    def _rounding(self, at: FirstOrder) -> float:
        return (LogisticProblem.noise if self._memory["exact"] else SINGLE_NOISE) * max(at.value, SMALL)

    def _start(self, problem: LogisticProblem, theta: Theta) -> tuple[Theta, Theta]:
        """The optimum of the subsample, and where to start: there, or at theta if that may be better.

        Of k rows a column, the optimum of all rows is expected to be 1/2k above that of the subsample, on the latter's
        objective; which is as far as the subsample's optimum is expected to be above that of all rows on theirs.
        """
        sample = self._subsample(problem)
        if sample is problem:
            return theta, theta
        solver = _OfSubsample([nn.Parameter(theta.new_zeros(1))], tolerance=SUBSAMPLE_TOLERANCE)
        optimum, iterations = solver.solve(sample, theta, MOST_SUBSAMPLE_ITERATIONS)
        near = sample.value(theta) - iterations[-1].value <= len(theta) / len(sample)
        return optimum, theta if near else optimum


class _OfSubsample(PreconditionedLBFGS):
    sampled_rows = ROUGH  # passes over it are cheap, its Hessian is not
