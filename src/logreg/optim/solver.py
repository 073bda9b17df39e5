"""What the solvers have in common: iterations on the whole objective, inside the training loop of any optimizer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

from logreg.optim.problem import LogisticProblem, Theta


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
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1.0, tolerance: float = 1e-12) -> None:
        super().__init__(params, {"lr": lr, "tolerance": tolerance})

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        raise RuntimeError(f"{type(self).__name__} needs the objective itself; call iterate")

    @abstractmethod
    def iterate(self, problem: LogisticProblem, theta: Theta) -> Iteration:
        """One iteration from these coefficients."""

    def _setting(self, name: str) -> float:
        return float(self.param_groups[0][name])
