"""Many jobs whose optimizer is a solver: all penalties of a table are solved together, table by table."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from logreg.core.errors import UserError
from logreg.data.rows import TensorRows
from logreg.optim.batch_lbfgs import BatchIteration, WarmStart, neighbour, solve_penalties
from logreg.optim.precondition import MOST_COLUMNS
from logreg.optim.problem import LogisticProblem
from logreg.optim.solver import Solver
from logreg.sweeps.fused.fit import Fit, OfJobs, Progress
from logreg.sweeps.fused.networks import LinearNetworks
from logreg.sweeps.fused.optimizers import SolverState

LEAST_TOLERANCE = 1e-20  # that rounding lets a problem reach
# Of a tolerance. The last step of a solver alone is Newton's, whose error is the square of the one before: it lands far
# below the tolerance, where an iteration that converges linearly, as the batched one, would stop just below it.
LINEAR_SHARE = 1e-2


class SolverFit(Fit):
    """A fit without updates in common: the jobs of a table and of as many epochs are solved together.

    What a job leaves is what it leaves alone, but for the way to the optimum: the iterations are those of
    `logreg.optim.batch_lbfgs`, whichever solver was asked for. Coefficients and metrics agree as closely as both are
    certified to be at the optimum.

    Penalties with an l1 part, and those of so many columns that a Hessian for each penalty is too much, are solved by
    the jobs' own solver, from the largest to the smallest, each from where the one before ended: few columns enter from
    one to the next (Friedman, Hastie and Tibshirani, 2010, Journal of Statistical Software 33).

    Args: those of `Fit`, where each job's optimizer is a `Solver`.
    """

    networks: LinearNetworks
    optimizer: SolverState

    def _make_optimizer(self) -> SolverState:
        groups = [self._solver(job, torch.zeros(1)).param_groups[0] for job in range(len(self.jobs))]
        return SolverState(groups, len(self.networks.parameters))

    def _solver(self, job: int, parameter: Tensor) -> Solver:
        solver = self.settings.optimizer([parameter], **self.jobs[job].optimizer)
        assert isinstance(solver, Solver)
        return solver

    def run(self, progress: Progress | None = None) -> None:
        """Solve every job's problem."""
        if len(self.held_out):
            self._validate(self.active.copy())
        self.final_updates[self.active] = 0  # and so it stays for those that a signal keeps from beginning
        self._finished: set[int] = set()  # jobs that came to their end before a signal
        rows: list[dict[str, OfJobs]] = []  # what is logged, by iteration
        self._near: dict[tuple[float, ...], WarmStart] = {}  # by penalties
        of_a_table = len(self.jobs) // len(self.tables)
        for table in range(len(self.tables)):
            jobs = np.arange(table * of_a_table, (table + 1) * of_a_table)
            for epochs in sorted({self.jobs[job].epochs for job in jobs[self.active[jobs]].tolist()}):
                chosen = [job for job in jobs[self.active[jobs]].tolist() if self.jobs[job].epochs == epochs]
                if not self.interrupt:
                    self._solve(table, chosen, epochs, rows)
                for job in chosen if self.interrupt else ():
                    if self.active[job] and job not in self._finished:
                        self.status[job] = "interrupted"
                if progress is not None:
                    progress(epochs / len(self.tables))
        for step, values in enumerate(rows):  # every iteration, as a solver's runs log it
            self.steps.append(step)
            self.losses.append(values.pop("train/loss"))
            self.accuracies.append(values.pop("train/accuracy"))
            self.solver_values.append(values)
        self._end()

    def _solve(self, table: int, jobs: list[int], epochs: int, rows: list[dict[str, OfJobs]]) -> None:
        x, y, weight = self.batches.everything()
        x, y, weight = x[table], y[table], None if weight is None else weight[table]
        if any(self.jobs[job].l1 for job in jobs) or x.shape[1] > MOST_COLUMNS:
            self._solve_in_turn(TensorRows(x, y, weight), jobs, epochs, rows)
            return

        def after_iteration(iteration: BatchIteration) -> bool:
            self._log(rows, iteration, [jobs[problem] for problem in iteration.problems])
            return self.interrupt

        def of_jobs(values: Iterable[float]) -> Tensor:
            return torch.tensor(list(values), dtype=torch.float64, device=x.device)

        l2 = of_jobs(self.jobs[job].l2 for job in jobs)
        settings = [self.optimizer.groups[job] for job in jobs]
        penalties = tuple(l2.tolist())
        solved = solve_penalties(
            x, y, l2, weight, self._thetas()[jobs], most=epochs, watch=after_iteration, near=self._near.get(penalties),
            thresholds=of_jobs(self.jobs[job].threshold for job in jobs),
            tolerance=of_jobs(max(LINEAR_SHARE * group["tolerance"], LEAST_TOLERANCE) for group in settings),
            lr=of_jobs(group["lr"] for group in settings),
        )  # fmt: skip
        self._set(solved.theta, solved.value.tolist(), solved.iterations, jobs)
        if penalties not in self._near and table + 1 < len(self.tables) and bool(solved.finished.all()):
            self._near[penalties] = neighbour(x, y, l2, solved.theta, weight)

    def _solve_in_turn(self, shared: TensorRows, jobs: list[int], epochs: int, rows: list[dict[str, OfJobs]]) -> None:
        thetas = self._thetas()
        theta = None  # where the job before ended
        for number in sorted(jobs, key=lambda number: (-self.jobs[number].l1, -self.jobs[number].l2)):
            if self.interrupt:
                break
            job = self.jobs[number]
            problem = LogisticProblem(shared, job.l2, job.threshold, job.l1)
            solver = self._solver(number, nn.Parameter(thetas[number]))
            theta = thetas[number] if theta is None else theta
            for iteration in range(epochs):
                try:
                    step = solver.iterate(problem, theta)
                except UserError:  # its start is not finite, and that of the next job is its own
                    self.status[number], self.active[number], theta = "diverged", False, None
                    break
                theta = step.theta
                columns = (step.value, step.accuracy, step.gradient_norm, step.gap, step.step)
                self._log(rows, BatchIteration(iteration, [0], *torch.tensor(columns, dtype=torch.float64)), [number])
                if step.finished or self.interrupt:
                    break
            if theta is not None:
                self._set(theta.unsqueeze(0), [step.value], [iteration + 1], [number])
                if step.finished or iteration + 1 == epochs:
                    self._finished.add(number)

    def _log(self, rows: list[dict[str, OfJobs]], of: BatchIteration, jobs: list[int]) -> None:
        """The values of one more iteration of some jobs, which each of them counts for itself."""
        columns = {
            "train/loss": of.value, "train/accuracy": of.accuracy, "train/gradient_norm": of.gradient_norm,
            "train/gap": of.gap, "train/step_length": of.step,
        }  # fmt: skip
        if of.iteration == len(rows):
            rows.append({name: np.full(len(self.jobs), np.nan) for name in columns})
        for name, values in columns.items():
            rows[of.iteration][name][jobs] = values.cpu().numpy()

    def _thetas(self) -> Tensor:
        """Coefficients of all jobs, (jobs, features + 1), float64."""
        weight, bias = self.networks.coefficients()
        return torch.cat([weight, bias], dim=1).double()

    def _set(self, theta: Tensor, values: list[float], iterations: list[int], jobs: list[int]) -> None:
        """Hand the coefficients of some jobs, (jobs, features + 1), to their networks."""
        weight, bias = self.networks.coefficients()
        chosen = torch.as_tensor(jobs, device=weight.device)
        weight[chosen] = theta[:, :-1].to(weight.dtype)
        bias[chosen] = theta[:, -1:].to(bias.dtype)
        self.final_updates[jobs] = iterations
        for job, value in zip(jobs, values, strict=True):
            if not math.isfinite(value):
                self.status[job], self.active[job] = "diverged", False

    def _end(self) -> None:
        """Validate the jobs where they ended, and save them; those that made no iteration were validated there."""
        ends = {(int(self.final_updates[job]), self.status[job]) for job in np.flatnonzero(self.active).tolist()}
        for updates, status in sorted(ends):
            jobs = self.active & (self.final_updates == updates) & (np.array(self.status) == status)
            self.updates = updates
            if len(self.held_out) and updates:
                values = self._validate(jobs)
                if self.settings.monitor is not None:
                    self._save_best(jobs, self._monitored(values, self.settings.monitor), 0)
            self._stop(jobs, status, min(updates, 1))
