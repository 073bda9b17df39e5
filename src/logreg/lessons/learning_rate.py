"""Learning rates over six orders of magnitude, by every optimizer: where each is too small, right, and too large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from logreg.core.errors import UserError
from logreg.core.numbers import is_number
from logreg.data.datamodule import BlockData
from logreg.lessons.descent import cost, largest_curvature
from logreg.lessons.lesson import Conclusion, SweepLesson, refuse, training_rows
from logreg.records.jobs import Job
from logreg.records.record import read_history
from logreg.report.figures.theme import RED, panels

NEAR = 0.01  # of the optimum's cost, within which a fit has arrived
Costs = dict[str, dict[float, float]]  # by optimizer and learning rate; infinite where the job diverged


class LearningRate(SweepLesson):
    """Curves, a heat map of the last cost, and the border of divergence beside what the Hessian predicts.

    Args:
        l2: the penalty of the jobs whose optimum the border is predicted from; others may be in the sweep too.
    """

    may_diverge = True

    def __init__(self, l2: float = 0.01) -> None:
        if l2 <= 0:
            raise ValueError(f"l2={l2}: a penalty above 0 is needed, as separable rows have no optimum without")
        self.l2 = l2

    def teach(self, data: BlockData, jobs: Sequence[Job]) -> Conclusion:
        x, y = training_rows(data)
        refuse(jobs, "loss", "log_loss", "follows the log loss")
        refuse(jobs, "penalty.l1", "0", "has the optimum of the penalty l2 alone")
        by_penalty: dict[float, list[Job]] = {}
        for job in jobs:
            if is_number(penalty := job.settings.get("penalty.l2", "0")) and is_number(job.settings.get("lr", "")):
                by_penalty.setdefault(float(penalty), []).append(job)
        if not any(job.is_completed for job in by_penalty.get(self.l2, ())):
            raise UserError(f"sweep.lesson: completed jobs that sweep lr with penalty.l2={self.l2:g} are needed.")
        by_l2 = {l2: _costs(members) for l2, members in sorted(by_penalty.items())}
        theta, least = optimum(x, y, self.l2)
        stable = 2 / largest_curvature(theta, x, y, self.l2)
        at_start = 2 / largest_curvature(np.zeros_like(theta), x, y)
        near = (1 + NEAR) * least
        arrived = {name: [lr for lr, value in of.items() if value <= near] for name, of in by_l2[self.l2].items()}
        numbers = {
            "optimum": least,
            "predicted_largest_stable_lr": stable,
            "predicted_at_start": at_start,
            "arrived": arrived,
            "diverged": {
                l2: {n: min((lr for lr in of if not math.isfinite(of[lr])), default=None) for n, of in each.items()}
                for l2, each in by_l2.items()
            },
            "costs": {l2: {n: list(of.items()) for n, of in each.items()} for l2, each in by_l2.items()},
            "is_separated": any(job.metrics.get("train/accuracy") == 1 for job in jobs),  # which only a line can do
        }
        lines = self._lines(numbers, by_l2)
        drawn = {"heat_map": self._heat_maps(by_l2, stable), "curves": self._curves(by_penalty[self.l2], least)}
        return Conclusion(lines, numbers, drawn)

    def _lines(self, n: dict[str, Any], by_l2: dict[float, Costs]) -> list[str]:
        lines = [f"with penalty.l2={self.l2:g} the least cost is {n['optimum']:.6f}; within 1 % of it at the end:"]
        for name, rates in n["arrived"].items():
            reached = f"{len(rates):>2} of {len(by_l2[self.l2][name])} rates"
            reached += f", from {rates[0]:g} to {rates[-1]:g}" if rates else ""
            gaps = [lr for lr in by_l2[self.l2][name] if rates and rates[0] < lr < rates[-1] and lr not in rates]
            reached += f" but for {', '.join(f'{lr:g}' for lr in gaps)}" if gaps else ""
            diverged = n["diverged"][self.l2][name]
            border = "none diverged" if diverged is None else f"diverged from {diverged:g} on"
            lines.append(f"  {name:<10} {reached}; {border}")
        if n["arrived"].get("sgd"):
            largest, predicted = n["arrived"]["sgd"][-1], n["predicted_largest_stable_lr"]
            above = min((lr for lr in by_l2[self.l2]["sgd"] if lr > largest), default=math.inf)
            lines.append(
                "gradient descent: 2 over the top eigenvalue of the Hessian at the optimum predicts "
                f"{predicted:.3f} as the largest stable step; of the rates tried {largest:g} arrived and {above:g} did "
                f"not: the prediction {'holds' if largest <= predicted <= above else 'does not hold'}"
            )
        if "sgd" in by_l2.get(0.0, {}):
            lines.append(_without_penalty(by_l2[0.0]["sgd"], n["predicted_at_start"], n["is_separated"]))
        if "adamw" in by_l2[self.l2]:
            lines.append("adamw has a weight decay of its own beside the penalty, so that it comes to rest elsewhere")
        return lines

    def _heat_maps(self, by_l2: dict[float, Costs], stable: float) -> Figure:
        figure, axes = panels(len(by_l2), "The cost after the last update", width=6.4, height=3.6)
        every = [v for each in by_l2.values() for of in each.values() for v in of.values() if 0 < v < math.inf]
        lowest, highest = max(min(every), 1e-4), min(max(every), 10.0)
        norm = LogNorm(lowest, highest)
        colors = ScalarMappable(norm, "viridis_r")
        for ax, (l2, each) in zip(axes, by_l2.items(), strict=True):
            rates = sorted({lr for of in each.values() for lr in of})
            values = np.array([[of.get(lr, math.nan) for lr in rates] for of in each.values()])
            ax.set_facecolor("0.85")  # diverged
            ax.pcolormesh(np.ma.masked_invalid(values).clip(lowest, highest), norm=norm, cmap=colors.cmap)
            for i, of in enumerate(each.values()):
                diverged = [rates.index(lr) + 0.5 for lr, value in of.items() if not math.isfinite(value)]
                ax.plot(diverged, [i + 0.5] * len(diverged), "x", color=RED)
            if l2 == self.l2 and "sgd" in each:
                row = list(each).index("sgd")
                at = np.interp(math.log(stable), np.log(rates), np.arange(len(rates)) + 0.5)
                ax.plot([at, at], [row, row + 1], color=RED, linewidth=2.5, label="largest stable step, predicted")
                ax.legend(loc="upper left", fontsize=8)
            ax.set_yticks(np.arange(len(each)) + 0.5, list(each))
            every_fourth = range(0, len(rates), max(1, len(rates) // 6))
            ax.set_xticks([i + 0.5 for i in every_fourth], [f"{rates[i]:.3g}" for i in every_fourth])
            ax.set(xlabel="lr", title=f"penalty.l2={l2:g} (x: diverged)")
        figure.colorbar(colors, ax=list(axes), label="cost", extend="both")
        return figure

    def _curves(self, jobs: Sequence[Job], least: float) -> Figure:
        names = sorted({_optimizer(job) for job in jobs})
        figure, axes = panels(len(names), f"The cost over the updates, penalty.l2={self.l2:g}", width=3.1, sharey=True)
        rates = [float(job.settings["lr"]) for job in jobs]
        norm = LogNorm(min(rates), max(rates) if max(rates) > min(rates) else 2 * min(rates))
        colors = ScalarMappable(norm, "plasma")
        for ax, name in zip(axes, names, strict=True):
            for job in (job for job in jobs if _optimizer(job) == name):
                rows = [row for row in read_history(job.directory) if "train/loss" in row]
                line = [(row["step"], min(row["train/loss"], 1e6 * least)) for row in rows]
                if line:
                    ax.plot(*zip(*line, strict=True), color=colors.cmap(norm(float(job.settings["lr"]))), linewidth=0.9)
            ax.set(xlabel="update", title=name, yscale="log", ylim=(0.6 * least, 250 * least))
        axes[0].set_ylabel("cost")
        figure.colorbar(colors, ax=list(axes), label="lr")
        return figure


def optimum(x: np.ndarray, y: np.ndarray, l2: float) -> tuple[np.ndarray, float]:
    """The best coefficients (features + 1,) by scikit-learn, and their cost."""
    from sklearn.linear_model import LogisticRegression

    solved = LogisticRegression(C=1 / (len(y) * l2), solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y)
    theta = np.append(solved.coef_[0], solved.intercept_[0])
    return theta, cost(theta, x, y, l2)


def _optimizer(job: Job) -> str:
    return job.settings.get("optimizer", "sgd")


def _costs(jobs: Sequence[Job]) -> Costs:
    by_optimizer: Costs = {}
    for job in sorted(jobs, key=lambda job: float(job.settings["lr"])):
        if job.record.status in ("completed", "diverged"):
            of_optimizer = by_optimizer.setdefault(_optimizer(job), {})
            of_optimizer[float(job.settings["lr"])] = job.metrics.get("train/loss", math.inf)
    return dict(sorted(by_optimizer.items(), reverse=True))


def _without_penalty(costs: dict[float, float], predicted: float, is_separated: bool) -> str:
    """How far gradient descent gets without a penalty: to a cost below that of the start, which is log 2."""
    through = {lr: value for lr, value in costs.items() if value < math.log(2)}
    if not through:
        return "without a penalty no rate ends below the cost at the start"
    lowest, largest = min(through, key=lambda lr: through[lr]), max(through)
    why = ": a line separates the rows, and the cost flattens as the weights grow" if is_separated else ""
    return (
        f"without a penalty the Hessian at the start predicts {predicted:.3f}, and gradient descent ends below the "
        f"cost at the start with rates up to {largest:g} (lowest cost {through[lowest]:.1g}, with {lowest:g})"
        + (why if largest > 2 * predicted else "")
    )
