"""Where a thousand random starts end, with the squared error and with the log loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from logreg.core.errors import UserError
from logreg.data.datamodule import BlockData
from logreg.lessons.descent import Surface, mean_gradients, smallest_eigenvalues, surface, with_ones
from logreg.lessons.lesson import Conclusion, SweepLesson, refuse, training_rows
from logreg.optim.losses import LOSSES
from logreg.records.jobs import Job
from logreg.records.record import COEFFICIENTS, read_coefficients
from logreg.report.figures.theme import GREEN, RED, panels

ABOVE = 1e-3  # of the cost
ROUNDING = 1e-12  # of an eigenvalue
FLAT = 1e-3  # a gradient of this length moves no weight by more than 1 in a thousand updates with lr=1


@dataclass(frozen=True)
class Ends:
    """Where the jobs of one loss ended.

    Attributes:
        theta: weights and intercept, (jobs, features + 1).
        cost, accuracy, gradient: of each, the gradient's length.
    """

    theta: np.ndarray
    cost: np.ndarray
    accuracy: np.ndarray
    gradient: np.ndarray

    def stuck(self, reachable: float) -> np.ndarray:
        """Those that stand still on a plateau: a gradient near zero, and an accuracy below what is reachable.

        Where labels overlap the optimum itself may be less accurate than another point, so the cost has to be above
        that of the best end, too.
        """
        worse = self.cost > self.cost.min() + ABOVE
        return (self.gradient < FLAT) & (self.accuracy < reachable - 1e-9) & worse


def ends(loss: str, jobs: Sequence[Job], x: np.ndarray, y: np.ndarray) -> Ends:
    """Read where completed jobs ended from their coefficients."""
    tables = [read_coefficients(job.directory) for job in jobs]
    for job, table in zip(jobs, tables, strict=True):
        if table.is_empty():
            raise UserError(f"sweep.lesson: {job.directory} has no {COEFFICIENTS} of a linear model.")
    # the file has the intercept first, theta has it last
    theta = np.array([np.roll(table["coefficient_standardised"].to_numpy(), -1) for table in tables])
    z = theta @ with_ones(x).T
    right = (z >= 0) == (y > 0.5)
    gradients = mean_gradients(LOSSES[loss], theta, with_ones(x), y)
    return Ends(theta, LOSSES[loss].of_arrays(z, y).mean(1), right.mean(1), np.linalg.norm(gradients, axis=1))


class SquaredErrorOrLogLoss(SweepLesson):
    """Ends, plateaus, the cost surface and the smallest eigenvalue of the Hessian, for both losses.

    Args:
        reach: of the region that is looked at, for weights and intercept: from minus this to this.
        points: of the surface along either weight.
        lr, further: updates, and their step, by which starts that are stuck are followed further.
    """

    def __init__(self, reach: float = 5.0, points: int = 101, lr: float = 1.0, further: int = 10_000) -> None:
        if reach <= 0:
            raise ValueError(f"reach={reach}: a number above 0 is needed")
        if points < 3 or further < 1:
            raise ValueError(f"points={points}, further={further}: 3 points and 1 update are needed at least")
        self.reach, self.points, self.lr, self.further = reach, points, lr, further

    def teach(self, data: BlockData, jobs: Sequence[Job]) -> Conclusion:
        x, y = training_rows(data)
        for key in ("penalty.l1", "penalty.l2"):
            refuse(jobs, key, "0", "looks at the costs without a penalty")
        by_loss: dict[str, list[Job]] = {}
        for job in jobs:
            if job.is_completed:
                by_loss.setdefault(job.settings.get("loss", "log_loss"), []).append(job)
        if set(by_loss) != set(LOSSES):
            raise UserError(f"sweep.lesson: completed jobs with loss={' and loss='.join(LOSSES)} are needed.")
        ended = {name: ends(name, by_loss[name], x, y) for name in LOSSES}
        reachable = max(float(each.accuracy.max()) for each in ended.values())
        of_jobs = {name: self._ends(name, each, reachable, x, y) for name, each in ended.items()}
        numbers: dict[str, Any] = {"reachable_accuracy": reachable, "jobs": of_jobs}
        lines = [f"{'loss':<10}{'starts':>8}{'all right':>11}{'stuck':>7}{'cost from':>12}{'to':>10}"]
        for name, n in of_jobs.items():
            counts = f"{n['starts']:>8,}{n['reached']:>11,}{n['stuck']:>7,}"
            lines.append(f"{name:<10}{counts}{n['cost'][0]:>12.6f}{n['cost'][1]:>10.6f}")
        lines += [line for name, n in of_jobs.items() for line in self._on_plateaus(name, n, reachable)]
        if x.shape[1] != 2:
            return Conclusion([*lines, "the cost surface is drawn for data of two features"], numbers)
        surfaces = {name: surface(LOSSES[name], x, y, self.reach, self.points) for name in LOSSES}
        # on the surface, (points, points), and the least in the whole region, intercepts included
        curved = {name: smallest_eigenvalues(LOSSES[name], s.theta, x, y) for name, s in surfaces.items()}
        curved = {name: values.reshape(self.points, self.points) for name, values in curved.items()}
        axis = np.linspace(-self.reach, self.reach, 41)
        cube = np.stack([part.ravel() for part in np.meshgrid(axis, axis, axis)], axis=1)
        least = {name: float(smallest_eigenvalues(LOSSES[name], cube, x, y).min()) for name in LOSSES}
        numbers["smallest_eigenvalue"] = least
        numbers["negative_share"] = {name: float((values < -ROUNDING).mean()) for name, values in curved.items()}
        figures = {"cost_surface": self._draw(surfaces, ended, reachable)}
        figures["curvature"] = self._draw_curved(surfaces, curved)
        return Conclusion([*lines, *self._on_curvature(numbers)], numbers, figures)

    def _ends(self, name: str, ended: Ends, reachable: float, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        """Where the jobs of a loss ended, in numbers."""
        stuck = ended.stuck(reachable)
        curved = smallest_eigenvalues(LOSSES[name], ended.theta[stuck], x, y)
        later, rows = ended.theta[stuck], with_ones(x)
        for _ in range(self.further if len(later) else 0):
            later = later - self.lr * mean_gradients(LOSSES[name], later, rows, y)
        right = ((later @ rows.T >= 0) == (y > 0.5)).mean(1)
        return {
            "starts": len(ended.cost),
            "reached": int((ended.accuracy >= reachable - 1e-9).sum()),
            "stuck": int(stuck.sum()),
            "stuck_gradient": float(np.median(ended.gradient[stuck])) if stuck.any() else None,
            "stuck_in_no_minimum": int((curved < -ROUNDING).sum()),
            "left_later": int((right >= reachable - 1e-9).sum()),
            "cost": [float(ended.cost.min()), float(ended.cost.max())],
        }

    def _on_plateaus(self, name: str, n: dict[str, Any], reachable: float) -> list[str]:
        if not n["stuck"]:
            return [f"no start with loss={name} is stuck on a plateau"]
        return [
            f"{n['stuck']:,} of {n['starts']:,} starts with loss={name} stand still on a plateau: the gradient's "
            f"length is {n['stuck_gradient']:.1g} (median), and the accuracy is below the reachable {reachable:.4g}",
            f"at {n['stuck_in_no_minimum']:,} of these {n['stuck']:,} the cost curves downwards in some direction, so "
            f"that they are in no local minimum; after {self.further:,} further updates {n['left_later']:,} have got "
            "away",
        ]

    def _on_curvature(self, numbers: dict[str, Any]) -> list[str]:
        least, share = numbers["smallest_eigenvalue"], numbers["negative_share"]
        convex = {name: value > -ROUNDING for name, value in least.items()}
        kind = {True: "convex", False: "not convex"}
        return [
            f"the smallest eigenvalue of the Hessian for weights and intercept from -{self.reach:g} to {self.reach:g}: "
            f"squared error {least['mse']:.4f}, log loss {least['log_loss']:.1g}"
            + (", never below 0 but for rounding" if convex["log_loss"] else ""),
            f"with the best intercept it is below 0 on {100 * share['mse']:.0f} % of the squared error's surface and "
            f"on {100 * share['log_loss']:.0f} % of the log loss's; over this region the squared error is "
            f"{kind[convex['mse']]} and the log loss {kind[convex['log_loss']]}",
        ]

    def _draw(self, surfaces: dict[str, Surface], ended: dict[str, Ends], reachable: float) -> Figure:
        figure, axes = panels(2, "The cost with the best intercept, and where the starts end, each with its own")
        for ax, (name, each) in zip(axes, surfaces.items(), strict=True):
            shades = ax.contourf(each.axis, each.axis, each.cost, levels=24, cmap="viridis")
            figure.colorbar(shades, ax=ax, label="cost")
            stuck = ended[name].stuck(reachable)
            for rows, color, label in ((~stuck, GREEN, "moving or arrived"), (stuck, RED, "stuck")):
                theta = ended[name].theta[rows]
                label = f"{label}: {len(theta):,}"
                ax.scatter(theta[:, 0], theta[:, 1], s=7, color=color, edgecolor="white", linewidth=0.2, label=label)
            ax.set(xlabel="first weight", ylabel="second weight", title=name)
            ax.set(xlim=(-self.reach, self.reach), ylim=(-self.reach, self.reach))
            ax.legend(loc="lower right", fontsize=8)
        return figure

    @staticmethod
    def _draw_curved(surfaces: dict[str, Surface], curved: dict[str, np.ndarray]) -> Figure:
        figure, axes = panels(2, "The smallest eigenvalue of the Hessian on that surface")
        for ax, (name, values) in zip(axes, curved.items(), strict=True):
            limit = max(float(np.abs(values).max()), 1e-12)
            norm = SymLogNorm(limit * 1e-4, vmin=-limit, vmax=limit)
            axis = surfaces[name].axis
            shades = ax.pcolormesh(axis, axis, values, cmap="RdBu", norm=norm, rasterized=True)
            figure.colorbar(shades, ax=ax, label="smallest eigenvalue")
            title = f"{name}: {values.min():.2g} to {values.max():.2g}"
            ax.set(xlabel="first weight", ylabel="second weight", title=title)
        return figure
