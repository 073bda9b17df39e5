"""Preconditioned L-BFGS: the optimum of a large table in some ten passes over its rows.

The start is the optimum of a subsample of the rows (see `logreg.optim.precondition`), whose Hessian there is from then
on the matrix that the two-loop recursion starts with (Nocedal and Wright, Numerical Optimization, algorithm 7.4). So
the directions are Newton's but for the sampling error, which the pairs of steps and changes of the gradient take out,
whatever the condition of the columns. An iteration reads every row once, as a rule.

Rows that are stored in float32 are passed over in float32, with sums in float64, as long as that resolves the gradient:
before the solver believes that it is done it measures the rounding on a few blocks, and where that is not small beside
the tolerance it goes on in float64.

The gap is half the squared Newton decrement with that matrix in place of the Hessian: what the quadratic model expects
to gain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from logreg.optim.blocks import Theta
from logreg.optim.line_search import search
from logreg.optim.precondition import Preconditioner, has_many_columns, subsample
from logreg.optim.problem import FirstOrder, LogisticProblem
from logreg.optim.solver import SMALL, Iteration, Solver
from logreg.optim.two_loop import inverse_times

SUBSAMPLE_TOLERANCE = 1e-4  # of the subsample's optimum, which is only as near as its rows are typical
MOST_SUBSAMPLE_ITERATIONS = 50
ROUGH = 10  # rows a column whose Hessian is enough for the subsample's own optimum
REFRESH = 10  # iterations after which the Hessian of the subsample is made anew, where it is needed that long
SINGLE_NOISE = 1e-7  # of the objective: changes that mean nothing in float32
NEAR = 1e-5  # of the objective: a gap at which rounding may be what is left
SHORT = 0.1  # of the length that is tried first: a step that says that the metric is wrong somewhere
PATIENCE = 5  # iterations in a row without any progress that are the end


class PreconditionedLBFGS(Solver):
    """See the module.

    Args:
        params: weight and intercept.
        lr: the length of a step that is tried first.
        tolerance: of the objective; at a gap of at most this share of it the solver is done.
        history_size: pairs that the recursion keeps.
    """

    name = "lbfgs"

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float = 1.0, tolerance: float = 1e-16, history_size: int = 10
    ) -> None:
        super().__init__(params, lr, tolerance)
        self.param_groups[0]["history_size"] = history_size
        self._sample: tuple[LogisticProblem, LogisticProblem] | None = None  # a problem and its subsample
        self._made: tuple[LogisticProblem, bool, Theta, Preconditioner] | None = None

    def forget(self) -> None:
        super().forget()
        self._sample = self._made = None

    def _iterate(self, problem: LogisticProblem, theta: Theta) -> Iteration:
        memory = self._memory(problem, theta)
        if not memory["begun"]:
            memory["point"], theta = self._start(problem, theta)
            memory["begun"] = True
        at = self._evaluate(problem, theta)
        self._check(at.value)
        if (back := self._from_afar(theta, at)) is not None:
            memory |= {"point": back.theta, "pairs": []}
            return back
        direction = self._direction(problem, at.gradient)
        gap = max(-float(at.gradient @ direction) / 2, 0.0)
        small, stuck = self._is_small(gap, at), self._is_stuck(gap, at)
        if not memory["exact"] and (stuck or (small and not self._is_resolved(problem, theta, at, gap))):
            memory |= {"exact": True, "least": math.inf, "stuck": 0}
            self._known = None
            return self._iterate(problem, theta)
        if small or stuck:
            return self._iteration(theta, at, gap, 0.0, finished=True)
        reached, step = self._search(problem, theta, at, direction)
        # Old pairs, gradients that are too coarse, or a column that the subsample knows too little of may be what led
        # nowhere, or not far.
        hopeless = step == 0.0 and memory["exact"] and memory["careful"] and not memory["pairs"]
        memory["iterations"] += 1
        if step < SHORT * self._setting("lr"):
            memory |= {"careful": True, "point": reached}
        elif memory["iterations"] % REFRESH == 0:
            memory["point"] = reached
        if step == 0.0:
            memory |= {"exact": True, "pairs": []}
            self._known = None
        return self._iteration(reached, at, gap, step, finished=hopeless)

    @staticmethod
    def _iteration(theta: Theta, at: FirstOrder, gap: float, step: float, finished: bool = False) -> Iteration:
        return Iteration(theta, at.value, at.accuracy, float(at.gradient.norm()), gap, step, finished)

    # --- what is kept from one iteration to the next, and in checkpoints ----------------------------------------------

    def _memory(self, problem: LogisticProblem, theta: Theta) -> dict[str, Any]:
        """Plain values and tensors.

        ``begun``: whether the start was looked for; ``point``: where the subsample's Hessian is taken; ``pairs`` of
        step and change of the gradient; ``exact``: whether passes are in float64; ``least`` gap and ``lowest``
        objective so far; ``stuck``: iterations since then; ``careful``: whether the diagonal of all rows is looked at.
        """
        memory: dict[str, Any] = self.state[self.param_groups[0]["params"][0]]
        if not memory:
            exact = problem.rows.stored is not torch.float32 or problem.sparse
            memory |= {"begun": False, "iterations": 0, "point": theta, "pairs": [], "exact": exact}
            memory |= {"least": math.inf, "lowest": math.inf, "stuck": 0, "careful": has_many_columns(problem)}
        # A checkpoint keeps them in the type of the parameters.
        memory["point"] = memory["point"].to(theta.dtype)
        memory["pairs"] = [(s.to(theta.dtype), change.to(theta.dtype)) for s, change in memory["pairs"]]
        return memory

    def _state(self) -> dict[str, Any]:
        return self.state[self.param_groups[0]["params"][0]]

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if self._state()["exact"] else torch.float32

    def _evaluate(self, problem: LogisticProblem, theta: Theta) -> FirstOrder:
        return self._look(problem, theta, lambda theta: problem.first_order(theta, self._dtype))

    # --- the parts of an iteration ------------------------------------------------------------------------------------

    def _preconditioner(self, problem: LogisticProblem) -> Preconditioner:
        point, careful, sample = self._state()["point"], self._state()["careful"], self._subsample(problem)
        known = self._made
        if known is None or known[0] is not sample or known[1] is not careful or not torch.equal(known[2], point):
            made = Preconditioner(sample, point, problem.diagonal(point) if careful else None)
            self._made = known = sample, careful, point, made
        return known[3]

    def _subsample(self, problem: LogisticProblem) -> LogisticProblem:
        if self._sample is None or self._sample[0] is not problem:
            self._sample = problem, subsample(problem)
        return self._sample[1]

    def _direction(self, problem: LogisticProblem, gradient: Theta) -> Theta:
        precondition, pairs = self._preconditioner(problem), self._state()["pairs"]
        scale = 1.0
        if pairs and precondition.is_diagonal:  # whose size says little
            s, change = pairs[-1]
            scale = float((s @ change) / (change @ precondition(change)))
        return -inverse_times(pairs, gradient, lambda q: scale * precondition(q))

    def _is_small(self, gap: float, at: FirstOrder) -> bool:
        return gap <= self._setting("tolerance") * max(at.value, SMALL)

    def _is_stuck(self, gap: float, at: FirstOrder) -> bool:
        """Whether neither gap nor objective has fallen for a while near the optimum: rounding is the reason."""
        memory = self._state()
        falls = gap < memory["least"] or at.value < memory["lowest"] - self._rounding(at)
        memory["stuck"] = 0 if falls else memory["stuck"] + 1
        memory["least"], memory["lowest"] = min(gap, memory["least"]), min(at.value, memory["lowest"])
        near = gap <= NEAR * max(at.value, SMALL)
        return near and memory["stuck"] >= (PATIENCE if memory["exact"] else 1)

    def _rounding(self, at: FirstOrder) -> float:
        return (LogisticProblem.noise if self._state()["exact"] else SINGLE_NOISE) * max(at.value, SMALL)

    def _is_resolved(self, problem: LogisticProblem, theta: Theta, at: FirstOrder, gap: float) -> bool:
        """Whether the gap would be small still if the gradient were as wrong as float32 makes it."""
        error = problem.rounding(theta, self._dtype)
        of_error = float(error @ self._preconditioner(problem)(error)) / 2
        return self._is_small((math.sqrt(gap) + math.sqrt(of_error)) ** 2, at)

    def _start(self, problem: LogisticProblem, theta: Theta) -> tuple[Theta, Theta]:
        """The optimum of the subsample, and where to start: there, or at theta if that may be better.

        Of k rows a column, the optimum of all rows is expected to be 1/2k above that of the subsample, on the latter's
        objective; which is as far as the subsample's optimum is expected to be above that of all rows on theirs.
        """
        sample = self._subsample(problem)
        if sample is problem:
            return theta, theta
        solver = PreconditionedLBFGS([nn.Parameter(theta.new_zeros(1))], tolerance=SUBSAMPLE_TOLERANCE)
        solver._sample = sample, subsample(sample, ROUGH)  # passes over it are cheap, its Hessian is not
        optimum, done = solver.solve(sample, theta, MOST_SUBSAMPLE_ITERATIONS)
        near = sample.value(theta) - done[-1].value <= len(theta) / len(sample)
        return optimum, theta if near else optimum

    def _search(self, problem: LogisticProblem, theta: Theta, at: FirstOrder, direction: Theta) -> tuple[Theta, float]:
        """A point along the direction where the objective is low enough, and the step there; none is 0."""

        def evaluate(theta: Theta) -> FirstOrder:
            return self._evaluate(problem, theta)

        reached, found, step = search(evaluate, theta, at, direction, self._setting("lr"), self._rounding(at))
        s, change = reached - theta, found.gradient - at.gradient
        if step and float(s @ change) > 0:
            memory = self._state()
            memory["pairs"] = [*memory["pairs"], (s, change)][-int(self._setting("history_size")) :]
        return reached, step
