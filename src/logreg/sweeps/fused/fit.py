"""Many jobs trained in one loop: every update is made for all of them with the same few tensor operations.

Each job is measured, validated, scheduled and stopped by itself, as `logreg.training.classifier` and
`logreg.training.loop` do it for one. A job that is over keeps its place: it is updated with the others, and what it was
when it ended is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.plugins.precision import DoublePrecision, Precision
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from logreg.core.components import Component
from logreg.data.datamodule import BlockData
from logreg.optim.losses import LOG_LOSS, Loss
from logreg.sweeps.fused.metrics import BatchedEvaluation
from logreg.sweeps.fused.networks import Networks, footprint, form_of
from logreg.sweeps.fused.optimizers import BatchedOptimizer, Hyperparameters, SolverState, batched
from logreg.sweeps.fused.schedules import MakeScheduler, Schedules, Stopping
from logreg.sweeps.fused.stack import Split, TrainingBatches

# Updates whose logits wait to be measured together: one call for many costs less than many calls, and divergence is
# noticed that much later, which nothing but time depends on.
BLOCK_UPDATES, BLOCK_VALUES = 100, 2**22

JobMask: TypeAlias = Bool[np.ndarray, " jobs"]
OfJobs: TypeAlias = Float[np.ndarray, " jobs"]
Progress: TypeAlias = Callable[[float], object]  # called with the updates made since the last time


@dataclass(frozen=True)
class FusedJob:
    """What one job brings to the fit."""

    network: nn.Module  # in its initial state
    optimizer: Hyperparameters  # the keyword arguments of the optimizer's class
    scheduler: Component | None  # of the learning rate
    l1: float  # weights of the penalty
    l2: float
    epochs: int  # passes over the training rows
    threshold: float  # from which probability on a row is predicted to be of label 1


@dataclass(frozen=True)
class GroupSettings:
    """What all jobs of a fit have in common."""

    optimizer: type[Optimizer]
    make_scheduler: MakeScheduler  # from a job's ``scheduler`` to what makes it of an optimizer
    metrics: Mapping[str, Metric]
    monitor: str | None  # the metric that chooses the best state; None where no checkpoints are kept
    mode: str  # ``min`` or ``max``, which value of it is the best
    early_stopping: EarlyStopping | None = None
    log_every: int = 10  # updates, as Lightning's ``log_every_n_steps``
    validate_every: int = 1  # passes
    clip_value: float = 0.0  # of gradients; 0 for none
    clip_algorithm: str = "norm"
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    loss: Loss = LOG_LOSS


class _Measured(NamedTuple):
    """What is measured of an update."""

    logits: Tensor  # (jobs, rows)
    y: Tensor  # (tables, rows)
    weight: Tensor | None  # (tables, rows)
    penalty: Tensor | None  # (jobs,)


class JobStates:
    """What each job was when it was last saved: parameters, optimizer, and the numbers that go into a checkpoint."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit
        self.parameters = [p.clone() for p in fit.networks.parameters]
        self.optimizer = fit.optimizer.snapshot()
        self.updates = np.zeros(len(fit.jobs), dtype=np.int64)
        self.epoch = np.zeros(len(fit.jobs), dtype=np.int64)
        self.callbacks: dict[int, dict[str, object]] = {}
        self.schedulers: dict[int, dict[str, object] | None] = {}
        self.saved = np.zeros(len(fit.jobs), dtype=bool)  # whether a job was saved at all

    def save(self, jobs: Int[np.ndarray, " chosen"], epoch: int) -> None:
        """Bring some jobs, by their numbers, to their present state."""
        fit, chosen = self.fit, torch.as_tensor(jobs)
        for saved, present in zip(self.parameters, fit.networks.parameters, strict=True):
            saved[chosen] = present[chosen]
        self.optimizer.update(chosen)
        self.updates[jobs], self.epoch[jobs], self.saved[jobs] = fit.updates, epoch, True
        for job in jobs.tolist():
            self.callbacks[job] = fit.callback_states(job)
            if fit.jobs[job].scheduler:
                self.schedulers[job] = fit.schedules.state_of(job)


class Fit:
    """The fit of jobs that lie table by table, equally many for each; see `logreg.sweeps.fused.networks`.

    Args:
        counted: (jobs,), the jobs that are trained for their results; the others fill a place. All by default.
    """

    def __init__(
        self,
        tables: Sequence[BlockData],
        jobs: Sequence[FusedJob],
        settings: GroupSettings,
        counted: JobMask | None = None,
    ) -> None:
        self.tables, self.jobs, self.settings = tables, jobs, settings
        dtype, device = settings.dtype, settings.device
        self.batches = TrainingBatches(tables, dtype, device)
        self.held_out = Split(tables, "val", dtype, device)
        l1, l2 = (torch.tensor(part, dtype=torch.float64) for part in zip(*((j.l1, j.l2) for j in jobs), strict=True))
        networks, of_rows = [job.network for job in jobs], footprint(jobs[0].network, self.batches.rows[0])
        form = form_of(networks[0], of_rows, device)
        self.networks: Networks = form(networks, len(tables), l1, l2, dtype, device, of_rows, settings.loss)
        # Optimizers keep scalars in torch's default type, which Lightning sets in a run alone.
        precision = DoublePrecision() if dtype == torch.float64 else Precision()
        with precision.forward_context():
            self.optimizer = self._make_optimizer()
        initial = self.optimizer.lr.tolist()
        self.schedules = Schedules([j.scheduler for j in jobs], settings.make_scheduler, self.optimizer.lr)
        for job in self.schedules.of_passes:  # torch's schedulers of this kind leave it there
            self.optimizer.groups[job]["initial_lr"] = initial[job]
        self.evaluation = BatchedEvaluation([job.threshold for job in jobs], settings.metrics, settings.loss)
        self.stopping = Stopping(settings.early_stopping, len(jobs)) if settings.early_stopping else None
        self.updates = self.passes = 0
        self.active = np.ones(len(jobs), dtype=bool) if counted is None else counted.copy()
        self.final_updates = np.full(len(jobs), -1, dtype=np.int64)  # that count; -1 while a job is in training
        self.status = ["completed"] * len(jobs)  # as in the records
        self.best_score = np.full(len(jobs), np.nan, dtype=np.float64 if dtype == torch.float64 else np.float32)
        self.steps: list[int] = []  # whose training values are logged
        self.losses: list[OfJobs] = []
        self.accuracies: list[OfJobs] = []
        self.solver_values: list[dict[str, OfJobs]] = []  # what a solver logs besides at these steps, by name
        # Step and metrics by name of every validation, and the jobs that it counts for.
        self.validations: list[tuple[int, dict[str, OfJobs], JobMask]] = []
        self.last, self.best = JobStates(self), JobStates(self)  # when each job ended, and when it validated best
        self._to_copy: set[int] = set()
        self.copied_parameters: dict[int, list[Tensor]] = {}  # by update, (jobs, *shape) each; see `copy_before`
        self.interrupt = False
        self._block: list[_Measured] = []
        rows = len(jobs) * self.batches.batch_size
        self._block_updates = max(1, min(BLOCK_UPDATES, BLOCK_VALUES // rows))

    def _make_optimizer(self) -> BatchedOptimizer | SolverState:
        form = batched(self.settings.optimizer)
        assert form is not None
        return form(self.networks.parameters, [job.optimizer for job in self.jobs])

    def stop(self) -> None:
        """Stop after the update in progress."""
        self.interrupt = True

    def copy_before(self, updates: Iterable[int]) -> None:
        """Copy the parameters before these updates, besides others."""
        self._to_copy.update(updates)

    def run(self, progress: Progress | None = None) -> None:
        """Train until every job is over."""
        epochs, every = np.array([job.epochs for job in self.jobs]), self.settings.validate_every
        with torch.no_grad():
            if len(self.held_out):
                self._validate(self.active.copy())
            while self.active.any() and not self.interrupt:
                for batch in self.batches.of_pass(self.passes):
                    if self.interrupt:
                        break
                    self._update(*batch)
                    if progress is not None:
                        progress(1)
                else:
                    self.passes += 1
                    self.schedules.end_pass()
                    ends = self.active & (epochs == self.passes)
                    due = self.active.copy() if self.passes % every == 0 else ends
                    self._end_epoch(due, ends, -(-self.passes // every) - 1)
            self._measure()
            self._stop(self.active.copy(), "interrupted", self.passes // every if len(self.held_out) else 0)

    def _update(self, x: Tensor, y: Tensor, weight: Tensor | None) -> None:
        if self.updates in self._to_copy:
            self.copied_parameters[self.updates] = [p.clone() for p in self.networks.parameters]
        penalty = self.networks.penalty() if self.networks.has_penalty else None
        logits, gradients = self.networks.gradients(x, y, weight, self.active)
        if self._block and self._block[0].logits.shape != logits.shape:  # the last batch of a pass is smaller
            self._measure()
        self._block.append(_Measured(logits, y, weight, penalty))
        sides = self.networks.add_l1(gradients) if self.networks.has_l1 else None
        if self.settings.clip_value:
            gradients = self._clipped(gradients)
        assert isinstance(self.optimizer, BatchedOptimizer)
        self.optimizer.step(gradients)
        if sides is not None:
            self.networks.keep_sides(sides)
        self.updates += 1
        if len(self._block) == self._block_updates:
            self._measure()

    def _clipped(self, gradients: list[Tensor]) -> list[Tensor]:
        """As `torch.nn.utils.clip_grad_norm_` and `clip_grad_value_` clip those of one job."""
        limit = self.settings.clip_value
        if self.settings.clip_algorithm == "value":
            return [gradient.clamp(-limit, limit) for gradient in gradients]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients], dim=1).norm(dim=1)
        factor = (limit / (norms + 1e-6)).clamp(max=1.0)
        return [gradient * factor.view(-1, *[1] * (gradient.ndim - 1)) for gradient in gradients]

    def _measure(self) -> None:
        """Look at the updates since the last time: log what is due, and end the jobs whose loss is not finite."""
        if not self._block:
            return
        start, of_tables = self.updates - len(self._block), len(self.tables)
        z = torch.stack([update.logits for update in self._block]).unflatten(1, (of_tables, -1))
        y = torch.stack([update.y for update in self._block]).unsqueeze(2)  # (updates, tables, 1, rows), as the weights
        weights = [update.weight for update in self._block if update.weight is not None]
        weight = torch.stack(weights).unsqueeze(2) if weights else None
        losses = self.settings.loss.of_rows(z, y)  # (updates, tables, jobs of a table, rows)
        if weight is not None:
            losses.mul_(weight)
        objective = losses.mean(3).flatten(1).double()
        if penalties := [update.penalty for update in self._block if update.penalty is not None]:
            objective += torch.stack(penalties).double()
        due = [i for i in range(len(self._block)) if (start + i) % self.settings.log_every == 0]
        thresholds = torch.tensor(self.evaluation.thresholds, dtype=z.dtype, device=z.device).view(of_tables, -1, 1)
        right = (torch.sigmoid(z[due]) >= thresholds) == (y[due] > 0.5)
        if weight is None:
            accuracies = right.sum(3).double() / right.shape[3]
        else:
            accuracies = (right * weight[due]).sum(3) / weight[due].sum(3)
        self.steps += [start + i for i in due]
        self.losses += list(objective[due].cpu().numpy())  # of a copy of these rows, or all of them would be kept
        self.accuracies += list(accuracies.flatten(1).cpu().double().numpy())
        self._block = []
        finite = torch.isfinite(objective).cpu().numpy()
        for job in np.flatnonzero(self.active & ~finite.all(0)).tolist():
            self.status[job], self.active[job] = "diverged", False
            self.final_updates[job] = start + int(np.argmin(finite[:, job]))

    def _end_epoch(self, due: np.ndarray, ends: np.ndarray, epoch: int) -> None:
        if not len(self.held_out):
            if ends.any():
                self._measure()
                self._stop(ends & self.active, "completed", 1)
            return
        if not due.any():
            return
        self._measure()
        due = due & self.active
        values = self._validate(due)
        chosen = np.flatnonzero(due)
        self.schedules.validated(chosen.tolist(), values["loss"][chosen].tolist())
        if self.stopping is not None:
            ends = ends | self.stopping.decide(self._monitored(values, self.stopping.callback.monitor), due, epoch)
        if self.settings.monitor is not None:
            self._save_best(due, self._monitored(values, self.settings.monitor), epoch)
        self._stop(ends & self.active, "completed", epoch + 1)

    def _save_best(self, due: np.ndarray, score: np.ndarray, epoch: int) -> None:
        with np.errstate(invalid="ignore"):
            lower = score < self.best_score if self.settings.mode == "min" else score > self.best_score
        better = due & np.isfinite(score) & (np.isnan(self.best_score) | lower)
        self.best_score[better] = score[better]
        self.best.save(np.flatnonzero(better), epoch)

    def _validate(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        x, y, weight = self.held_out.everything()
        logits = self.networks.logits(x, counts)
        values = self.evaluation(logits, self.of_jobs(y), None if weight is None else self.of_jobs(weight))
        self.validations.append((self.updates, values, counts))
        return values

    def of_jobs(self, values: Tensor) -> Tensor:
        """(tables, rows) as (jobs, rows)."""
        return values.repeat_interleave(len(self.jobs) // len(self.tables), dim=0)

    def _monitored(self, values: Mapping[str, np.ndarray], monitor: str) -> np.ndarray:
        """A monitored metric as Lightning keeps it, in the precision of the run."""
        return values[monitor.removeprefix("val/")].astype(self.best_score.dtype)

    def _stop(self, jobs: np.ndarray, status: str, epoch: int) -> None:
        """End some jobs, after ``epoch`` epochs of Lightning's."""
        chosen = np.flatnonzero(jobs)
        if len(chosen):
            self.last.save(chosen, epoch)
            self.final_updates[chosen] = self.updates
            self.active[chosen] = False
            for job in chosen.tolist():
                self.status[job] = status

    def callback_states(self, job: int) -> dict[str, object]:
        """What Lightning keeps of the callbacks in a checkpoint."""
        score = self.best_score[job]
        states: dict[str, object] = {}
        if self.settings.monitor is not None:
            states["Checkpoints"] = {
                "best_score": None if np.isnan(score) else float(score),
                "monitor": self.settings.monitor,
                "mode": self.settings.mode,
            }
        if self.stopping is not None:
            states[self.stopping.callback.state_key] = self.stopping.state_of(job)
        return states
