"""Ten folds of fifty penalties, validated, chosen from and refitted: ours against LogisticRegressionCV.

Ours is what a fused sweep makes of its folds: all penalties of a fold together, and from the second fold on near where
the first one ended. Both sides have the same folds and the same penalties, and each the loosest tolerance at which
every one of the 500 fits is as near to its optimum as wanted. How near it is comes from the least objectives, which
duality gives at coefficients that were solved for as exactly as float64 allows
(`logreg.evaluation.coefficients.optimality`).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import KFold
from torch import Tensor, nn

from benchmarks.solvers import SIGNAL, WANTED_GAP
from benchmarks.timing import setting, timed
from logreg.data.rows import TensorRows
from logreg.evaluation.coefficients.optimality import certify
from logreg.optim.batch_lbfgs import WarmStart, neighbour, solve_penalties
from logreg.optim.newton import Newton
from logreg.optim.problem import LogisticProblem
from logreg.records.record import Certificate

ROWS, COLUMNS, FOLDS, POINTS = 100_000, 50, 10, 50
WANTED = 5.0  # times as fast
TOLERANCES = [10.0**-k for k in range(2, 13)]
PROCESSES = 2  # of scikit-learn's

Thetas = Tensor  # (folds, penalties, features + 1), the intercept last


@dataclass
class Fitted:
    """Coefficients of all folds, and which penalty the least mean validation loss chose for the refit."""

    thetas: Thetas
    chosen: int
    refit: Tensor


class Task:
    """A table of normal columns with labels of a logistic model, its folds, and a grid of penalties."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.x = random.standard_normal((ROWS, COLUMNS))
        w = SIGNAL * random.standard_normal(COLUMNS) / COLUMNS**0.5
        self.y = (random.random(ROWS) < 1 / (1 + np.exp(-(self.x @ w)))).astype(float)
        self.folds = list(KFold(FOLDS, shuffle=True, random_state=0).split(self.x))
        self.cs = np.geomspace(1e-4, 1e4, POINTS)

    def l2(self, rows: int) -> Tensor:
        return torch.from_numpy(1 / (rows * self.cs))

    def rows(self, fold: int, part: int) -> tuple[Tensor, Tensor]:
        """Those that the fold trains with, part 0, or validates with, part 1."""
        chosen = self.folds[fold][part]
        return torch.from_numpy(self.x[chosen]), torch.from_numpy(self.y[chosen])

    def ours(self, tolerance: float) -> Fitted:
        thetas, losses, near = [], [], None
        for fold in range(FOLDS):
            x, y = self.rows(fold, 0)
            l2 = self.l2(len(y))
            thetas.append(solve_penalties(x, y, l2, tolerance=tolerance, near=near).theta)
            losses.append(_log_losses(*self.rows(fold, 1), thetas[-1]))
            near = near or neighbour(x, y, l2, thetas[-1])
        chosen = torch.stack(losses).mean(0).argmin()[None]
        assert near is not None
        begin = WarmStart(near.theta[chosen], near.metric[chosen])
        everything = torch.from_numpy(self.x), torch.from_numpy(self.y)
        refit = solve_penalties(*everything, self.l2(ROWS)[chosen], tolerance=tolerance, near=begin).theta[0]
        return Fitted(torch.stack(thetas), int(chosen), refit)

    def theirs(self, solver: str) -> Callable[[float], Fitted]:
        def fit(tolerance: float) -> Fitted:
            model = LogisticRegressionCV(
                Cs=self.cs, cv=self.folds, scoring="neg_log_loss", solver=solver, tol=tolerance, max_iter=10_000,
                n_jobs=PROCESSES, l1_ratios=(0.0,), use_legacy_attributes=False,
            ).fit(self.x, self.y)  # fmt: skip
            thetas = torch.from_numpy(np.asarray(model.coefs_paths_)).reshape(FOLDS, POINTS, COLUMNS + 1)
            refit = torch.tensor([*model.coef_[0], *model.intercept_], dtype=torch.float64)
            return Fitted(thetas, int(np.argmin(np.abs(self.cs - float(model.C_)))), refit)

        return fit

    def least(self) -> Tensor:
        """A lower bound of the least objective of each fold and penalty."""
        losses = torch.empty(FOLDS, POINTS, dtype=torch.float64)
        for fold in range(FOLDS):
            x, y = self.rows(fold, 0)
            l2 = self.l2(len(y))
            for point, theta in enumerate(solve_penalties(x, y, l2, tolerance=1e-15).theta):
                problem = LogisticProblem(TensorRows(x, y), float(l2[point]))
                certificate = certify(problem, theta)
                if not _is_tight(certificate):  # the smallest penalties, where rounding of the gradient shows
                    exact, _ = Newton([nn.Parameter(theta)], tolerance=1e-20).solve(problem, theta)
                    certificate = certify(problem, exact)
                assert certificate.objective is not None
                assert certificate.gap is not None
                assert _is_tight(certificate)
                losses[fold, point] = certificate.objective - certificate.gap
        return losses

    def largest_gap(self, thetas: Thetas, least: Tensor) -> float:
        """Of all fits, relative."""
        losses = torch.empty_like(least)
        for fold in range(FOLDS):
            x, y = self.rows(fold, 0)
            penalty = 0.5 * self.l2(len(y)) * thetas[fold, :, :-1].square().sum(1)
            losses[fold] = _log_losses(x, y, thetas[fold]) + penalty
        return float((losses / least - 1).max())


def _is_tight(certificate: Certificate) -> bool:
    return certificate.relative_gap is not None and certificate.relative_gap < WANTED_GAP / 100


def _log_losses(x: Tensor, y: Tensor, thetas: Tensor) -> Tensor:
    """The mean log loss of each row of thetas."""
    z = torch.addmm(thetas[:, -1], x, thetas[:, :-1].t())
    return F.softplus((1 - 2 * y.unsqueeze(1)) * z).mean(0)


def run(repeats: int) -> dict[str, Any]:
    """Measure both sides and print it."""
    task = Task()
    least = task.least()
    sides = {"ours": task.ours} | {
        f"LogisticRegressionCV {solver}": task.theirs(solver) for solver in ("lbfgs", "newton-cholesky")
    }
    fits = {name: _tuned(task, fit, least) for name, fit in sides.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, fit in sides.items():
            times[name].append(timed(fit, fits[name]["tolerance"])[1])
    for name, side in fits.items():
        side |= {"seconds": statistics.median(times[name]), "times": times[name]}
    best = min(side["seconds"] for name, side in fits.items() if name != "ours")
    result = {"sides": fits, "times_as_fast": best / fits["ours"]["seconds"], "wanted": WANTED, "repeats": repeats}
    _show(result)
    return result | {"rows": ROWS, "columns": COLUMNS, "folds": FOLDS, "penalties": POINTS} | setting()


def _tuned(task: Task, fit: Callable[[float], Fitted], least: Tensor) -> dict[str, Any]:
    """The loosest tolerance whose largest gap is small enough."""
    for tolerance in TOLERANCES:
        fitted, _ = timed(fit, tolerance)
        gap = task.largest_gap(fitted.thetas, least)
        if gap <= WANTED_GAP:
            break
    return {"tolerance": tolerance, "gap": gap, "C": float(task.cs[fitted.chosen])}


def _show(result: dict[str, Any]) -> None:
    print(f"{ROWS:,} x {COLUMNS}, {FOLDS} folds x {POINTS} penalties")
    print(f"seconds (median of {result['repeats']}), largest relative gap, tolerance, chosen C")
    for name, side in result["sides"].items():
        reached = "" if side["gap"] <= WANTED_GAP else f"   no tolerance reaches {WANTED_GAP:g}"
        figures = f"{side['seconds']:7.2f} s  {side['gap']:.1e}  {side['tolerance']:.0e}  {side['C']:.3g}"
        print(f"  {name:38} {figures}{reached}")
    print(f"  {result['times_as_fast']:.1f} times as fast as the best of the others   wanted: {WANTED:g}")
