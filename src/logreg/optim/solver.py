"""What the solvers have in common: iterations on the whole objective, inside the training loop of any optimizer.

The terms, as all solvers use them:

    problem    the objective F over all training rows, as a function of the coefficients; `LogisticProblem`
    theta      the coefficients, (features + 1,), the intercept last, in float64
    direction  where an iteration goes from theta: -H^-1 g for some matrix H near the Hessian of F
    gap        how far F is above its least value, as the quadratic model estimates it: half the squared Newton
               decrement, g' H^-1 g / 2
    step       how far it goes along the direction, as a share of it; `logreg.optim.line_search`
    rounding   changes of F that mean nothing in the precision that it is computed in

An iteration 1. evaluates F and its derivatives at theta, which the last one's search has done already; 2. makes the
direction and its gap; 3. ends the solver where the gap is small beside F; 4. searches along the direction.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar, Generic, NamedTuple, Never, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from logreg.core.errors import UserError
from logreg.optim.linalg import SCALE
from logreg.optim.problem import FirstOrder, LogisticProblem, Theta
from logreg.optim.threads import torch_in_one_thread

SMALL = 1e-6  # an objective below which a gap is small by itself: that of separated labels falls towards zero
OF_ZERO = math.log(2) * (1 + 1e-6)  # the objective of coefficients that are zero, and its rounding

Result = TypeVar("Result")


class Iteration(NamedTuple):
    """One iteration of a solver.

    Attributes:
        theta: the coefficients after it, (features + 1,), the intercept last.
        value, accuracy, gradient_norm: at the coefficients before it.
        gap: how far the objective was above its least value then, as the solver estimates it.
        step: the length of the step that was taken, 1 for a full one, 0 for none.
        finished: whether this was the last one.
    """

    theta: Theta
    value: float
    accuracy: float
    gradient_norm: float
    gap: float
    step: float
    finished: bool


class Latest(Generic[Result]):
    """A cache of one result: what was computed last, and from which parts."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._latest: tuple[tuple[object, ...], Result] | None = None

    def __call__(self, compute: Callable[[], Result], *parts: object) -> Result:
        """What ``compute`` gives for these parts: tensors that are equal, anything else that is the same."""
        if self._latest is None or not all(map(_is_same, self._latest[0], parts)):
            self._latest = parts, compute()
        return self._latest[1]


def _is_same(a: object, b: object) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b


class Solver(Optimizer):
    """An optimizer that solves for the coefficients of a linear classifier, from derivatives of the whole objective.

    It is made and kept like any optimizer of torch's; the classifier calls `iterate` where it would call ``step``.

    Args:
        params: weight and intercept.
        lr: the length of a step that is tried first.
        tolerance: of the objective; an iteration whose gap is at most this share of it is the last one.
    """

    name: ClassVar[str]  # what ``optimizer=`` calls it

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1.0, tolerance: float = 1e-12) -> None:
        super().__init__(params, {"lr": lr, "tolerance": tolerance})
        self._at = Latest[FirstOrder]()

    def step(self, closure: Callable[[], float] | None = None) -> Never:
        raise RuntimeError(f"{type(self).__name__} needs the objective itself; call iterate")

    @torch.no_grad()
    def iterate(self, problem: LogisticProblem, theta: Theta) -> Iteration:
        """One iteration from these coefficients.

        Raises:
            UserError: the objective is not finite there.
        """
        with torch_in_one_thread():
            return self._iterate(problem, theta)

    def forget(self) -> None:
        """Let go of the rows; what a resume needs is kept."""
        for part in vars(self).values():
            if isinstance(part, Latest):
                part.forget()

    def _iterate(self, problem: LogisticProblem, theta: Theta) -> Iteration:
        at = self._evaluate(problem, theta)
        if not math.isfinite(at.value):  # a step never leads to such an objective, so it is that of the start
            raise UserError(
                f"optimizer={self.name}: the objective is {at.value} at the start; {SCALE}, or start from smaller "
                "coefficients."
            )
        return self._from_afar(theta, at) or self._go_on(problem, theta, at)

    def _evaluate(self, problem: LogisticProblem, theta: Theta) -> FirstOrder:
        """The objective and as many of its derivatives as the method needs, in one pass, or from the last search."""
        return self._at(lambda: problem.first_order(theta), problem, theta)

    @abstractmethod
    def _go_on(self, problem: LogisticProblem, theta: Theta, at: FirstOrder) -> Iteration:
        """Parts 2 to 4 of an iteration."""

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
        iterations: list[Iteration] = []
        if theta is None:
            theta = torch.zeros(problem.features + 1, dtype=torch.float64, device=problem.device)
        while len(iterations) < most and not (iterations and iterations[-1].finished):
            iterations.append(self.iterate(problem, theta))
            theta = iterations[-1].theta
        return theta, iterations

    def _from_afar(self, theta: Theta, at: FirstOrder) -> Iteration | None:
        """The step to no coefficients at all, where that is better: far out rows are certain and have no curvature."""
        return None if at.value <= OF_ZERO else self._iteration(torch.zeros_like(theta), at, at.value, 1.0)

    @staticmethod
    def _iteration(theta: Theta, at: FirstOrder, gap: float, step: float, finished: bool = False) -> Iteration:
        return Iteration(theta, at.value, at.accuracy, float(at.gradient.norm()), gap, step, finished)

    def _is_small(self, gap: float, at: FirstOrder) -> bool:
        return gap <= self._setting("tolerance") * max(at.value, SMALL)

    def _setting(self, name: str) -> float:
        return float(self.param_groups[0][name])
