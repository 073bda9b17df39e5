"""How the parameters are updated: from a batch, from several, or by a solver's iteration; and what is logged of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from lightning.fabric.loggers import Logger
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from logreg.data.blocks import Block, SingleBatch
from logreg.data.rows import Batch, LargeBatch, Rows, batch_parts, dense_rows
from logreg.evaluation.metrics import accuracies, batch_losses
from logreg.optim.losses import Loss
from logreg.optim.objective import (
    LinearGradient,
    Objective,
    add_l1,
    check_network,
    gradient_of,
    penalised_parameters,
    set_theta,
    stop_at_zero,
    theta_of,
)
from logreg.optim.problem import LogisticProblem
from logreg.optim.solver import Solver

Batches = list[Batch | LargeBatch]  # of one update
Measured = Tensor | tuple[float, float]  # the logits of a batch, or loss and accuracy of a large one
CHECKED_ROWS = 8  # that a network is tried on

# Lightning precisions under which the parameters have the data's dtype and no autocast stands in between.
FULL_PRECISIONS: dict[object, torch.dtype] = {"32-true": torch.float32, "64-true": torch.float64}


@dataclass(frozen=True)
class UpdateOptions:
    """What a Trainer's settings ask of updates; Lightning leaves them to modules that optimise by themselves."""

    clip_value: float = 0.0  # ``gradient_clip_val``, 0 for none
    clip_algorithm: str = "norm"  # ``gradient_clip_algorithm``
    accumulate: int = 1  # ``accumulate_grad_batches``

    @classmethod
    def of(cls, trainer: Trainer) -> UpdateOptions:
        algorithm = getattr(trainer.gradient_clip_algorithm, "value", None) or "norm"
        return cls(trainer.gradient_clip_val or 0.0, str(algorithm), trainer.accumulate_grad_batches)


class History:
    """The measurements of a block's updates.

    They stay tensors until the block ends: a number asked of a GPU makes the CPU wait for it.
    """

    def __init__(self, start: int, loss: Loss) -> None:
        self.start, self.loss = start, loss  # updates made before the block, and what logits are measured with
        self.rows: list[list[Tensor]] = []  # of each update: logits, labels and, where there are any, weights
        self.penalties: list[Tensor] = []
        self.of_large: list[tuple[float, float]] = []  # loss and accuracy; a block has either these or logits
        self.further: list[dict[str, float]] = []  # of each iteration, what else a solver knows
        self.certificates: dict[int, dict[str, float]] = {}  # by the update that they come after

    def add(self, measured: list[Measured], batches: list[Batch | LargeBatch], penalty: Tensor | None) -> None:
        """What the batches of one update gave before it, and the penalty then."""
        if penalty is not None:
            self.penalties.append(penalty)
        if isinstance(measured[0], tuple):
            self.of_large.append(measured[0])
            return
        small = [batch for batch in batches if not isinstance(batch, LargeBatch)]
        columns = measured, *zip(*(batch[1:] for batch in small), strict=True)
        self.rows.append([_joined([part for part in column if isinstance(part, Tensor)]) for column in columns])

    def losses(self) -> list[float]:
        """The objective at each update."""
        losses = [loss for loss, _ in self.of_large] or batch_losses(self.rows, self.loss)
        if not self.penalties:
            return losses
        return [loss + penalty for loss, penalty in zip(losses, torch.stack(self.penalties).tolist(), strict=True)]

    def accuracies(self, of: list[int], threshold: float) -> list[float]:
        if self.of_large:
            return [self.of_large[i][1] for i in of]
        return accuracies([self.rows[i] for i in of], threshold)


@dataclass
class TrainingLog:
    """Writes the measurements of blocks into the loggers, each at its own step.

    They go straight to the loggers: Lightning's ``self.log`` costs more than an update and knows one step per block.
    """

    loggers: Sequence[Logger]
    log_every: int  # updates between two rows
    first_update: int  # of this run, which is always logged
    latest: dict[str, float] = field(default_factory=dict)

    def write(self, values: Mapping[str, float], step: int) -> None:
        for logger in self.loggers:
            logger.log_metrics(dict(values), step)

    def write_block(self, history: History, losses: list[float], epoch: Callable[[int], int], threshold: float) -> None:
        """The updates of a block whose losses are finite.

        Args:
            epoch: of an update of the block.
        """
        start = history.start
        due = [i for i in range(len(losses)) if (start + i) % self.log_every == 0 or start + i == self.first_update]
        for i, accuracy in zip(due, history.accuracies(due, threshold), strict=True):
            self.latest = {"train/loss": losses[i], "train/accuracy": accuracy}
            self.write({"epoch": epoch(i), **self.latest, **(history.further[i] if history.further else {})}, start + i)
        for i, certificate in history.certificates.items():
            if i < len(losses):
                self.write({"epoch": epoch(i), **certificate}, start + i + 1)  # of the state after the update
        for logger in self.loggers:
            logger.save()


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class GradientUpdates:
    """The notebook's three lines: zero the gradients, go backward, step."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        objective: Objective,
        threshold: float,  # of predictions, for the accuracy of batches that come in parts
        options: UpdateOptions,
        exact: bool,  # whether gradients are computed in the parameters' own type; see `FULL_PRECISIONS`
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
            x = batches[0].first() if isinstance(batches[0], LargeBatch) else batches[0][0]
            check_network(self.network, dense_rows(x, CHECKED_ROWS))
            self._checked = True
        penalty = self.objective.penalty(self.network) if self.objective.penalised else None
        history.add(self._step(batches), batches, penalty)
        return False

    def _step(self, batches: Batches) -> list[Measured]:
        if not isinstance(self.gradient, LinearGradient):  # which overwrites them
            self.optimizer.zero_grad()
        measured = [self.backward(batch) for batch in batches]
        sides: list[tuple[nn.Parameter, Tensor]] = []  # of 0, on which each weight has to stay
        if self.objective.l1:
            with torch.no_grad():
                weights = penalised_parameters(self.network)
                sides = [(p, add_l1(p, p.grad, self.objective.l1)) for p in weights if p.grad is not None]
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
        history.of_large.append((iteration.value, iteration.accuracy))
        history.further.append(named)
        return iteration.finished
