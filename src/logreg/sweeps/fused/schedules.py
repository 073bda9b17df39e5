"""Learning-rate schedules of many jobs: torch's own schedulers, moved on together."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Sequence

import torch
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
