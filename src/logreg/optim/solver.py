"""What the solvers have in common: iterations on the whole objective, inside the training loop of any optimizer."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import torch
from torch import nn
from torch.optim import Optimizer

from logreg.core.errors import UserError
from logreg.optim.blocks import Theta
from logreg.optim.linalg import SCALE
from logreg.optim.problem import Derivatives, FirstOrder, LogisticProblem
from logreg.optim.threads import torch_in_one_thread

SMALL = 1e-6  # an objective below which a gap is small by itself: that of separated labels falls towards zero
OF_ZERO = math.log(2) * (1 + 1e-6)  # the objective of coefficients that are zero, and its rounding

Found = TypeVar("Found", FirstOrder, Derivatives)


class Iteration(NamedTuple):
    """One iteration of a solver.

    Attributes:
        theta: the coefficients after it.
        value, accuracy, gradient_norm: at the coefficients before it.
        gap: how far the objective was above its least value then, as the solver estimates it.
        step: the length of the step that was taken, 1 for a full one, 0 for none.
        finished: whether no further iteration is worth its while.
    """

    theta: Theta
    value: float
    accuracy: float
    gradient_norm: float
    gap: float
    step: float
    finished: bool


class Solver(Optimizer):
    """An optimizer that solves for the coefficients of a linear classifier, from derivatives of the whole objective.

    It is made and kept like any optimizer of torch's; the classifier calls `iterate` where it would call ``step``.

    Args:
        params: weight and intercept.
        lr: the length of a step that is tried first.
        tolerance: of the objective; an iteration whose gap is at most this share of it is the last one.

    Attributes:
        name: what ``optimizer=`` calls it.
    """

    name: ClassVar[str]

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1.0, tolerance: float = 1e-12) -> None:
        super().__init__(params, {"lr": lr, "tolerance": tolerance})
        self._known: tuple[LogisticProblem, Theta, FirstOrder | Derivatives] | None = None

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        raise RuntimeError(f"{type(self).__name__} needs the objective itself; call iterate")

    @torch.no_grad()
    def iterate(self, problem: LogisticProblem, theta: Theta) -> Iteration:
        """One iteration from these coefficients."""
        with torch_in_one_thread():
            return self._iterate(problem, theta)

    def forget(self) -> None:
        """Let go of the rows; what a resume needs is kept."""
        self._known = None

    @abstractmethod
    def _iterate(self, problem: LogisticProblem, theta: Theta) -> Iteration: ...

    def solve(
        self, problem: LogisticProblem, theta: Theta | None = None, most: int = 200
    ) -> tuple[Theta, list[Iteration]]:
        """Iterate to the end, without a Trainer.

        Args:
            theta: (features + 1,), where to start, the intercept last, in float64; zeros by default.
            most: iterations.

        Returns:
            The coefficients and what each iteration was.
        """
        done: list[Iteration] = []
        if theta is None:
            theta = torch.zeros(problem.features + 1, dtype=torch.float64, device=problem.device)
        while len(done) < most and not (done and done[-1].finished):
            done.append(self.iterate(problem, theta))
            theta = done[-1].theta
        return theta, done

    def _look(self, problem: LogisticProblem, theta: Theta, look: Callable[[Theta], Found]) -> Found:
        """What ``look`` says of a point, which is remembered: an iteration begins where the last search has ended."""
        if self._known is None or self._known[0] is not problem or not torch.equal(self._known[1], theta):
            self._known = problem, theta, look(theta)
        return cast("Found", self._known[2])

    @staticmethod
    def _from_afar(theta: Theta, at: FirstOrder | Derivatives) -> Iteration | None:
        """The step to no coefficients at all, where that is better: far out the curvature says nothing."""
        if at.value <= OF_ZERO:
            return None
        return Iteration(
            torch.zeros_like(theta), at.value, at.accuracy, float(at.gradient.norm()), at.value, 1.0, False
        )

    def _check(self, value: float) -> None:
        """Refuse an objective that is no number: a step never leads to one, so it is that of the start.

        Raises:
            UserError: names the solver.
        """
        if not math.isfinite(value):
            raise UserError(
                f"optimizer={self.name}: the objective is {value} at the start; {SCALE}, or start from smaller "
                "coefficients."
            )

    def _setting(self, name: str) -> float:
        return float(self.param_groups[0][name])
