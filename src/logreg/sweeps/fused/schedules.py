"""What follows a pass or a validation of many jobs: torch's learning-rate schedulers, and early stopping."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason as Reason
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    PolynomialLR,
    ReduceLROnPlateau,
    StepLR,
)

from logreg.core._compat import OF_EACH_GROUP
from logreg.core.components import Component

# Those whose learning rate depends on the passes made and on itself alone, with a state that is the same for all jobs.
OF_PASSES = (ConstantLR, CosineAnnealingLR, ExponentialLR, LinearLR, MultiStepLR, PolynomialLR, StepLR)
SchedulerFactory = Callable[[Optimizer], LRScheduler]
MakeScheduler = Callable[[Component], SchedulerFactory | None]


def unsupported(scheduler: type) -> str | None:
    """Why a scheduler cannot serve many jobs, if so."""
    return None if scheduler in (*OF_PASSES, ReduceLROnPlateau) else f"the scheduler {scheduler.__name__}"


def _optimizer(rates: Sequence[float]) -> Optimizer:
    """An optimizer of nothing with a parameter group for each job."""
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=1.0)


class Schedules:
    """The schedulers of all jobs.

    Args:
        components: of each job its scheduler; None for a constant learning rate.
        make: from such a component to what makes the scheduler of an optimizer.
        rates: (jobs,) float64, the learning rates; written into.
    """

    def __init__(self, components: Sequence[Component | None], make: MakeScheduler, rates: Tensor) -> None:
        self.rates, self.passes = rates, 0
        self._of_passes: list[tuple[Tensor, LRScheduler]] = []
        self._of_losses: dict[int, ReduceLROnPlateau] = {}
        self._place: dict[int, tuple[LRScheduler, int]] = {}  # the scheduler of a job, and its parameter group there
        alike: dict[str, list[int]] = {}
        for job, component in enumerate(components):
            if component is not None:
                alike.setdefault(json.dumps(component.as_node(), sort_keys=True), []).append(job)
        for jobs in alike.values():
            component = components[jobs[0]]
            factory = None if component is None else make(component)
            assert factory is not None
            scheduler = factory(_optimizer(rates[jobs].tolist()))
            if isinstance(scheduler, ReduceLROnPlateau):  # each job has a loss of its own
                self._of_losses |= {job: factory(_optimizer([float(rates[job])])) for job in jobs}  # type: ignore[misc]
            else:
                self._of_passes.append((torch.tensor(jobs), scheduler))
                self._place |= {job: (scheduler, i) for i, job in enumerate(jobs)}
                self._read(torch.tensor(jobs), scheduler)

    @property
    def of_passes(self) -> list[int]:
        """The jobs whose learning rate depends on the passes made."""
        return list(self._place)

    def _read(self, jobs: Tensor, scheduler: LRScheduler) -> None:
        rates = [group["lr"] for group in scheduler.optimizer.param_groups]
        self.rates[jobs] = torch.tensor(rates, dtype=torch.float64)

    def end_pass(self) -> None:
        """A pass over the rows is over."""
        self.passes += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch misses the optimizer's own steps in between
            for jobs, scheduler in self._of_passes:
                scheduler.step()
                self._read(jobs, scheduler)

    def validated(self, jobs: Sequence[int], losses: Sequence[float]) -> None:
        """Some jobs have been validated."""
        for job, loss in zip(jobs, losses, strict=True):
            if (scheduler := self._of_losses.get(job)) is not None:
                scheduler.step(loss)
                self.rates[job] = scheduler.optimizer.param_groups[0]["lr"]

    def state_of(self, job: int) -> dict[str, object] | None:
        """What the scheduler of this job alone would have as its ``state_dict()`` now; None where it has none."""
        if job in self._of_losses:
            return copy.deepcopy(self._of_losses[job].state_dict())
        if job not in self._place:
            return None
        scheduler, i = self._place[job]
        own = {key: [scheduler.state_dict()[key][i]] for key in OF_EACH_GROUP}
        return copy.copy(scheduler.state_dict()) | own


class Stopping:
    """Which jobs stop after a validation, by the patience, least improvement and check for finite values.

    A callback takes a millisecond for each job; this takes a few array operations for all.
    """

    def __init__(self, callback: EarlyStopping, jobs: int) -> None:
        self.callback = callback  # whose settings serve all jobs
        self.sign = 1.0 if callback.mode == "min" else -1.0
        self.best = np.full(jobs, np.inf)  # of the metric times the sign, so that less is better
        self.wait = np.zeros(jobs, dtype=np.int64)
        self.stopped_epoch = np.zeros(jobs, dtype=np.int64)
        self.reason = dict.fromkeys(range(jobs), Reason.NOT_STOPPED)

    def decide(self, values: np.ndarray, active: np.ndarray, epoch: int) -> np.ndarray:
        """Whether each job stops now, (jobs,).

        Args:
            values: of the monitored metric, (jobs,).
            active: the jobs that are still in training.
            epoch: Lightning's, counted from 0.
        """
        score = self.sign * values
        with np.errstate(invalid="ignore"):
            better = active & (score + values.dtype.type(abs(self.callback.min_delta)) < self.best)
        self.best[better], self.wait[better] = score[better], 0
        worse = active & ~better
        self.wait[worse] += 1
        exhausted = worse & (self.wait >= self.callback.patience)
        infinite = active & ~np.isfinite(values) if self.callback.check_finite else np.zeros_like(active)
        stop = exhausted | infinite
        self.stopped_epoch[stop] = epoch
        for reason, jobs in ((Reason.PATIENCE_EXHAUSTED, exhausted), (Reason.NON_FINITE_METRIC, infinite)):
            self.reason |= dict.fromkeys(np.flatnonzero(jobs).tolist(), reason)
        return stop

    def state_of(self, job: int) -> dict[str, object]:
        """What the callback of this job alone would keep in a checkpoint."""
        return {
            "wait_count": int(self.wait[job]),
            "stopped_epoch": int(self.stopped_epoch[job]),
            "best_score": torch.tensor(self.sign * self.best[job], dtype=torch.float32),
            "patience": self.callback.patience,
            "stopping_reason": self.reason[job].value,
            "stopping_reason_message": None,
        }
