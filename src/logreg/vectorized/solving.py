"""Many jobs whose optimizer is a solver: all penalties of a table are solved together, table by table.

What a job leaves is what it leaves alone, but for the way to the optimum: the iterations are those of
`logreg.optim.penalties`, whichever solver was asked for. Coefficients and metrics agree as closely as both are
certified to be at the optimum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from logreg.optim.penalties import Iterations, Solved, solve_penalties
from logreg.vectorized.fit import Fit
from logreg.vectorized.networks import LinearNetworks


class SolverState:
    """The optimizer of a fused solver: it keeps nothing from one iteration to the next that a resume would need."""

    def __init__(self, groups: Sequence[dict[str, Any]], parameters: int) -> None:
        self.groups, self._indices = list(groups), list(range(parameters))
        self.lr = torch.tensor([group["lr"] for group in groups], dtype=torch.float64)

    def snapshot(self) -> SolverState:
        return self

    def update_from(self, optimizer: SolverState, jobs: Tensor) -> None:
        """Nothing changes."""

    def state_dict_of(self, job: int) -> dict[str, Any]:
        return {"state": {}, "param_groups": [{**self.groups[job], "params": self._indices}]}


class SolverFit(Fit):
    """See the module; a fit without updates in common."""

    networks: LinearNetworks

    def _make_optimizer(self) -> Any:
        made: Any = self.settings.optimizer
        groups = [made([torch.zeros(1)], **job.optimizer).param_groups[0] for job in self.jobs]
        return SolverState(groups, len(self.networks.parameters))

    def run(self, progress: Any = None) -> None:
        """Solve every job's problem."""
        if len(self.held_out):
            self._validate(self.active.copy())
        rows: list[dict[str, np.ndarray]] = []
        of_a_table = len(self.jobs) // len(self.tables)
        for table in range(len(self.tables)):
            jobs = np.arange(table * of_a_table, (table + 1) * of_a_table)
            for epochs in sorted({self.jobs[job].epochs for job in jobs[self.active[jobs]].tolist()}):
                chosen = [job for job in jobs.tolist() if self.active[job] and self.jobs[job].epochs == epochs]
                self._solve(table, chosen, epochs, rows)
                if progress is not None:
                    progress(epochs / len(self.tables))
        for step, values in enumerate(rows):  # every iteration, as a solver's runs log it
            self.steps.append(step)
            self.losses.append(values.pop("train/loss"))
            self.accuracies.append(values.pop("train/accuracy"))
            self.further.append(values)
        self._end()

    def _solve(self, table: int, jobs: list[int], epochs: int, rows: list[dict[str, np.ndarray]]) -> None:
        def seen(told: Iterations) -> bool:
            self._note(rows, told, [jobs[problem] for problem in told.problems])
            return self.interrupt

        x, y, weight = self.batches.everything()
        theta = self._thetas()[jobs]
        solved = solve_penalties(
            x[table], y[table], torch.tensor([self.jobs[job].l2 for job in jobs], device=x.device),
            None if weight is None else weight[table], theta, most=epochs, seen=seen,
            thresholds=torch.tensor([self.jobs[job].threshold for job in jobs], device=x.device),
        )  # fmt: skip
        self._keep(solved, jobs, epochs)

    def _note(self, rows: list[dict[str, np.ndarray]], told: Iterations, jobs: list[int]) -> None:
        """The values of one more iteration of some jobs, which each of them counts for itself."""
        columns = {
            "train/loss": told.value, "train/accuracy": told.accuracy, "train/gradient_norm": told.gradient_norm,
            "train/gap": told.gap, "train/step_length": told.step,
        }  # fmt: skip
        if told.iteration == len(rows):
            rows.append({name: np.full(len(self.jobs), np.nan) for name in columns})
        for name, values in columns.items():
            rows[told.iteration][name][jobs] = values.cpu().numpy()

    def _thetas(self) -> Tensor:
        """Coefficients of all jobs, (jobs, features + 1), float64."""
        weight, bias = self.networks.coefficients()
        return torch.cat([weight, bias], dim=1).double()

    def _keep(self, solved: Solved, jobs: list[int], epochs: int) -> None:
        weight, bias = self.networks.coefficients()
        chosen = torch.as_tensor(jobs, device=weight.device)
        weight[chosen] = solved.theta[:, :-1].to(weight.dtype)
        bias[chosen] = solved.theta[:, -1:].to(bias.dtype)
        for job, made, value in zip(jobs, solved.iterations, solved.value.tolist(), strict=True):
            self.made[job] = made
            if not math.isfinite(value):
                self.status[job], self.active[job] = "diverged", False

    def _end(self) -> None:
        """Validate the jobs where they ended, and keep them."""
        status = "interrupted" if self.interrupt else "completed"
        for made in np.unique(self.made[self.active]).tolist():
            jobs, self.updates = self.active & (self.made == made), int(made)
            if len(self.held_out):
                values = self._validate(jobs)
                if self.settings.monitor is not None:
                    self._keep_best(jobs, self._monitored(values, self.settings.monitor), 0)
            self._stop(jobs, status, 1)
