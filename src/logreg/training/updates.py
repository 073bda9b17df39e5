"""How the parameters are updated: from a batch, from several whose gradients accumulate, or by a solver's iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from logreg.data.blocks import Block, SingleBatch
from logreg.data.rows import Batch, LargeBatch, Rows, batch_parts, dense_rows
from logreg.optim.objective import (
    LinearGradient,
    Objective,
    check_network,
    gradient_of,
    penalised_parameters,
    set_theta,
    theta_of,
)
from logreg.optim.orthant import add_l1, stop_at_zero
from logreg.optim.problem import LogisticProblem
from logreg.optim.solver import Solver
from logreg.training.history import History, Measured

Batches = list[Batch | LargeBatch]  # of one update
CHECKED_ROWS = 8  # that a network is tried on

# Lightning precisions under which the parameters have the data's dtype and no autocast stands in between.
FULL_PRECISIONS = ("32-true", "64-true")


@dataclass(frozen=True)
class UpdateOptions:
    """What a Trainer's settings ask of updates; Lightning leaves them to modules that optimise by themselves.

    Attributes:
        clip_value, clip_algorithm: of ``gradient_clip_val``, 0 for none, and ``gradient_clip_algorithm``.
        accumulate: of ``accumulate_grad_batches``.
    """

    clip_value: float = 0.0
    clip_algorithm: str = "norm"
    accumulate: int = 1

    @classmethod
    def of(cls, trainer: Trainer) -> UpdateOptions:
        algorithm = getattr(trainer.gradient_clip_algorithm, "value", None) or "norm"
        return cls(trainer.gradient_clip_val or 0.0, str(algorithm), trainer.accumulate_grad_batches)


class GradientUpdates:
    """The notebook's three lines: zero the gradients, go backward, step.

    Args:
        threshold: of predictions, for the accuracy of batches that come in parts.
        exact: whether gradients are computed in the parameters' own type; see `FULL_PRECISIONS`.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        objective: Objective,
        threshold: float,
        options: UpdateOptions,
        exact: bool,
    ) -> None:
        self.network, self.optimizer, self.objective, self.threshold = network, optimizer, objective, threshold
        self.options, self._checked = options, False
        # Anomaly detection is autograd's, so whoever asks for it gets autograd. So does accumulation, as the closed
        # form overwrites gradients.
        closed_form = exact and options.accumulate == 1 and not torch.is_anomaly_enabled()
        scale = 1 / options.accumulate
        self.gradient = gradient_of(network, objective.l2, closed_form=closed_form, scale=scale, loss=objective.loss)

    def make(self, batches: Batches, block: Block | SingleBatch, history: History) -> bool:
        """One update from its batches, which are of this block; whether it was the last one that is needed."""
        if not self._checked:
            check_network(self.network, _first_rows(batches[0]))
            self._checked = True
        penalty = self.objective.penalty(self.network) if self.objective.penalised else None
        history.add(self._step(batches), batches, penalty)
        return False

    def _step(self, batches: Batches) -> list[Measured]:
        """One step of the optimizer; returns what the batches gave before it."""
        if not isinstance(self.gradient, LinearGradient):  # which overwrites them
            self.optimizer.zero_grad()
        measured = [self.backward(batch) for batch in batches]
        sides = self._add_l1() if self.objective.l1 else []
        if self.options.clip_value:
            by_value = self.options.clip_algorithm == "value"
            clip = nn.utils.clip_grad_value_ if by_value else nn.utils.clip_grad_norm_
            clip(self.network.parameters(), self.options.clip_value)
        self.optimizer.step()
        with torch.no_grad():
            for parameter, side in sides:
                stop_at_zero(parameter, side)
        return measured

    def backward(self, batch: Batch | LargeBatch) -> Measured:
        """Put the gradient of a batch into the parameters; returns its logits, or its loss and accuracy."""
        if isinstance(batch, LargeBatch):
            return self.gradient.over(batch, self.threshold)
        return self.gradient(*batch)

    @torch.no_grad()
    def _add_l1(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Add the slope of the l1 penalty to the gradients; returns the weights with the side each has to stay on."""
        weights = penalised_parameters(self.network)
        return [(p, add_l1(p, p.grad, self.objective.l1)) for p in weights if p.grad is not None]


class LBFGSUpdates(GradientUpdates):
    """torch's L-BFGS, which evaluates the objective several times a step; the first time is the step's measurement."""

    def _step(self, batches: Batches) -> list[Measured]:
        batch, evaluations = batches[0], []

        def closure() -> float:
            self.optimizer.zero_grad()
            measured = self.backward(batch)
            evaluations.append(measured)
            if isinstance(measured, Tensor):
                assert not isinstance(batch, LargeBatch)
                _, y, weight = batch_parts(batch)
                loss = float(self.objective.loss.mean(measured, y, weight))
            else:
                loss = measured[0]
            return loss + float(self.objective.penalty(self.network)) if self.objective.penalised else loss

        self.optimizer.step(closure)
        return evaluations[:1]


class SolverUpdates:
    """Iterations of a solver on the objective over all training rows."""

    def __init__(self, network: nn.Module, solver: Solver, problem: Callable[[Rows], LogisticProblem]) -> None:
        self.network, self.solver, self.problem = network, solver, problem

    def make(self, batches: Batches, block: Block | SingleBatch, history: History) -> bool:
        assert block.rows is not None
        iteration = self.solver.iterate(self.problem(block.rows), theta_of(self.network))
        set_theta(self.network, iteration.theta)
        further = {"gradient_norm": iteration.gradient_norm, "gap": iteration.gap, "step_length": iteration.step}
        named = {f"train/{name}": value for name, value in further.items()}
        history.add_iteration(iteration.value, iteration.accuracy, named)
        return iteration.finished


def _first_rows(batch: Batch | LargeBatch) -> Tensor:
    return dense_rows(batch.first() if isinstance(batch, LargeBatch) else batch[0], CHECKED_ROWS)
