"""Many jobs trained in one loop: every update is made for all of them with the same few tensor operations.

Each job is measured, validated, scheduled and stopped by itself, as `logreg.training.classifier` and
`logreg.training.loop` do it for one. A job that is over keeps its place: it is updated with the others, and what it was
when it ended is what counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from logreg.core.components import Component
from logreg.data.datamodule import BlockData
from logreg.optim.losses import LOG_LOSS, Loss
from logreg.sweeps.fused.early_stopping import Stopping
from logreg.sweeps.fused.footprint import footprint
from logreg.sweeps.fused.metrics import BatchedEvaluation
from logreg.sweeps.fused.networks import Networks, stacked_networks
from logreg.sweeps.fused.optimizers import Snapshot, batched
from logreg.sweeps.fused.schedules import Schedules
from logreg.sweeps.fused.stack import Split, TrainingBatches

BLOCK_UPDATES, BLOCK_VALUES = 100, 2**22  # measurements that are kept before they are looked at


@dataclass(frozen=True)
class FusedJob:
    """What one job brings to the fit.

    Attributes:
        table: its number among the tables.
        network: in its initial state.
        optimizer: the keyword arguments of the optimizer's class.
        scheduler: its learning-rate scheduler; None for none.
    """

    table: int
    network: nn.Module
    optimizer: Mapping[str, Any]
    scheduler: Component | None
    l1: float
    l2: float
    epochs: int
    threshold: float


@dataclass(frozen=True)
class GroupSettings:
    """What all jobs of a fit have in common.

    Attributes:
        monitor: the metric that chooses the best state; None where no checkpoints are kept.
    """

    optimizer: type[Optimizer]
    make_scheduler: Any
    metrics: Mapping[str, Metric]
    monitor: str | None
    mode: str
    early_stopping: Any = None
    log_every: int = 10
    validate_every: int = 1
    clip_value: float = 0.0
    clip_algorithm: str = "norm"
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    loss: Loss = LOG_LOSS


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class JobStates:
    """What each job was when it was last kept: parameters, optimizer, and the numbers that go into a checkpoint."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit
        self.parameters = [p.clone() for p in fit.networks.parameters]
        self.optimizer: Snapshot = fit.optimizer.snapshot()
        self.updates = np.zeros(len(fit.jobs), dtype=np.int64)
        self.epoch = np.zeros(len(fit.jobs), dtype=np.int64)
        self.callbacks: dict[int, dict[str, Any]] = {}
        self.schedulers: dict[int, dict[str, Any] | None] = {}
        self.saved = np.zeros(len(fit.jobs), dtype=bool)

    def save(self, jobs: np.ndarray, epoch: int) -> None:
        """Bring some jobs up to date."""
        fit, chosen = self.fit, torch.as_tensor(jobs)
        for mine, present in zip(self.parameters, fit.networks.parameters, strict=True):
            mine[chosen] = present[chosen]
        self.optimizer.update_from(fit.optimizer, chosen)
        self.updates[jobs], self.epoch[jobs], self.saved[jobs] = fit.updates, epoch, True
        for job in jobs.tolist():
            self.callbacks[job] = fit.callback_states(job)
            if fit.jobs[job].scheduler:
                self.schedulers[job] = fit.schedules.state_of(job)


class Fit:
    """The fit of jobs that lie table by table, equally many for each; see `logreg.sweeps.fused.networks`.

    Args:
        counted: (jobs,), the jobs that are trained for their results; the others fill a place. All by default.

    Attributes:
        status: of each job, as in its record.
        final_updates: (jobs,) updates that count; -1 while a job is in training.
        last, best: the states when each job ended, and when it validated best.
        steps, losses, accuracies: the training values that are logged, (logged,), (logged, jobs), (logged, jobs).
        solver_values: what a solver logs besides, by name, (jobs,) each, for every one of the steps.
        validations: step and metrics by name, (jobs,) each, of every validation; and which jobs it counts for.
        updates_to_copy: before which updates the parameters are copied; none by default.
        copied_parameters: these copies by update, (jobs, *shape) each.
    """

    def __init__(
        self,
        tables: Sequence[BlockData],
        jobs: Sequence[FusedJob],
        settings: GroupSettings,
        counted: np.ndarray | None = None,
    ) -> None:
        self.tables, self.jobs, self.settings = tables, jobs, settings
        dtype, device = settings.dtype, settings.device
        self.batches = TrainingBatches(tables, dtype, device)
        self.held_out = Split(tables, "val", dtype, device)
        l1, l2 = (torch.tensor(part, dtype=torch.float64) for part in zip(*((j.l1, j.l2) for j in jobs), strict=True))
        made = footprint(jobs[0].network, self.batches.rows[0])
        networks = [job.network for job in jobs]
        self.networks: Networks = stacked_networks(networks, len(tables), l1, l2, dtype, device, made, settings.loss)
        with _default_dtype(dtype):  # Lightning sets it too, and optimizers keep scalars in it
            self.optimizer = self._make_optimizer()
        initial = self.optimizer.lr.tolist()
        self.schedules = Schedules([j.scheduler for j in jobs], settings.make_scheduler, self.optimizer.lr)
        for job in self.schedules.of_passes:  # torch's schedulers of this kind leave it there
            self.optimizer.groups[job]["initial_lr"] = initial[job]
        self.evaluation = BatchedEvaluation([job.threshold for job in jobs], settings.metrics, settings.loss)
        self.stopping = Stopping(settings.early_stopping, len(jobs)) if settings.early_stopping else None
        self.updates = self.passes = 0
        self.active = np.ones(len(jobs), dtype=bool) if counted is None else counted.copy()
        self.final_updates = np.full(len(jobs), -1, dtype=np.int64)
        self.status = ["completed"] * len(jobs)
        self.best_score = np.full(len(jobs), np.nan, dtype=np.float64 if dtype == torch.float64 else np.float32)
        self.steps: list[int] = []
        self.losses: list[np.ndarray] = []
        self.accuracies: list[np.ndarray] = []
        self.solver_values: list[dict[str, np.ndarray]] = []  # of a solver
        self.validations: list[tuple[int, dict[str, np.ndarray], np.ndarray]] = []
        self.last, self.best = JobStates(self), JobStates(self)
        self.updates_to_copy: set[int] = set()
        self.copied_parameters: dict[int, list[Tensor]] = {}
        self.interrupt = False
        self._block: list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]] = []
        rows = len(jobs) * self.batches.batch_size
        self._block_updates = max(1, min(BLOCK_UPDATES, BLOCK_VALUES // rows))

    def _make_optimizer(self) -> Any:
        make = batched(self.settings.optimizer)
        assert make is not None
        return make(self.networks.parameters, [job.optimizer for job in self.jobs])

    # --- training -----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop after the update in progress."""
        self.interrupt = True

    def run(self, progress: Any = None) -> None:
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
        if self.updates in self.updates_to_copy:
            self.copied_parameters[self.updates] = [p.clone() for p in self.networks.parameters]
        penalty = self.networks.penalty() if self.networks.has_penalty else None
        logits, gradients = self.networks.gradients(x, y, weight, self.active)
        if self._block and self._block[0][0].shape != logits.shape:
            self._measure()
        self._block.append((logits, y, weight, penalty))
        sides = self.networks.add_l1(gradients) if self.networks.has_l1 else None
        if self.settings.clip_value:
            gradients = self._clipped(gradients)
        self.optimizer.step(gradients)
        if sides is not None:
            self.networks.hold(sides)
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
        start = self.updates - len(self._block)
        logits, of_tables = torch.stack([block[0] for block in self._block]), len(self.tables)
        y = torch.stack([block[1] for block in self._block]).unsqueeze(2)  # (updates, tables, 1, rows)
        z = logits.unflatten(1, (of_tables, -1))  # (updates, tables, jobs of a table, rows)
        losses = self.settings.loss.of_rows(z, y)
        weight = None if self._block[0][2] is None else torch.stack([b[2] for b in self._block]).unsqueeze(2)  # type: ignore[misc]
        if weight is not None:
            losses.mul_(weight)
        objective = losses.mean(3).flatten(1).double()
        if self._block[0][3] is not None:
            objective += torch.stack([block[3] for block in self._block]).double()  # type: ignore[misc]
        due = [i for i in range(len(self._block)) if (start + i) % self.settings.log_every == 0]
        thresholds = torch.tensor(self.evaluation.thresholds, dtype=z.dtype, device=z.device).view(of_tables, -1, 1)
        right = (torch.sigmoid(z[due]) >= thresholds) == (y[due] > 0.5)
        if weight is None:
            accuracies = right.sum(3).double() / right.shape[3]
        else:
            accuracies = (right * weight[due]).sum(3) / weight[due].sum(3)
        logged = (
            objective[due].cpu().numpy(),
            accuracies.flatten(1).cpu().double().numpy(),
        )  # copies of these rows alone
        for i, loss, accuracy in zip(due, *logged, strict=True):
            self.steps.append(start + i)
            self.losses.append(loss)
            self.accuracies.append(accuracy)
        self._block = []
        finite = torch.isfinite(objective).cpu().numpy()
        for job in np.flatnonzero(self.active & ~finite.all(0)).tolist():
            self.status[job], self.active[job] = "diverged", False
            self.final_updates[job] = start + int(np.argmin(finite[:, job]))

    # --- the end of an epoch of Lightning's ---------------------------------------------------------------------------

    def _end_epoch(self, due: np.ndarray, ends: np.ndarray, epoch: int) -> None:
        """Validate the jobs that are due, and end those whose passes are over."""
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
            self._keep_best(due, self._monitored(values, self.settings.monitor), epoch)
        self._stop(ends & self.active, "completed", epoch + 1)

    def _keep_best(self, due: np.ndarray, score: np.ndarray, epoch: int) -> None:
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
        """End some jobs, after so many epochs of Lightning's."""
        chosen = np.flatnonzero(jobs)
        if len(chosen):
            self.last.save(chosen, epoch)
            self.final_updates[chosen] = self.updates
            self.active[chosen] = False
            for job in chosen.tolist():
                self.status[job] = status

    def callback_states(self, job: int) -> dict[str, Any]:
        """What Lightning keeps of the callbacks in a checkpoint."""
        score = self.best_score[job]
        states: dict[str, Any] = {}
        if self.settings.monitor is not None:
            states["Checkpoints"] = {
                "best_score": None if np.isnan(score) else float(score),
                "monitor": self.settings.monitor,
                "mode": self.settings.mode,
            }
        if self.stopping is not None:
            states[self.stopping.callback.state_key] = self.stopping.state_of(job)
        return states
