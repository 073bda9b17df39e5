"""Where a line separates the labels, the weights grow without bound, towards the separator of maximum margin.

The direction of gradient descent on the log loss of separable rows tends to the hard-margin support vector machine,
as slowly as one over the logarithm of the updates (Soudry et al., 2018, The implicit bias of gradient descent on
separable data, JMLR 19). Gradient descent knows no difference between a weight and the intercept, so it is the machine
whose margin counts the intercept too, a weight of a column of ones; the usual machine leaves the intercept free.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sklearn.svm import SVC, LinearSVC

from logreg.core.errors import UserError
from logreg.data.datamodule import BlockData
from logreg.lessons.descent import cost, descend, with_ones
from logreg.lessons.lesson import Conclusion, Lesson, training_rows
from logreg.report.figures.theme import BLUE, GREEN, ORANGE, RED, panels
from logreg.training.classifier import BinaryClassifier

SAME = 0.05  # degrees between two machines, as near as they are solved
SETTLED = 1.0  # degrees from the direction that it tends to
STEADY = 1.5  # times what was added before, up to which growth is that of a logarithm
LARGE = 1e6  # a norm that no penalty leaves
HARD = 1e6  # C of a support vector machine that allows no row inside its margin


def hard_margin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's machines: with a free intercept, and with one that counts as a weight; (features + 1,) each."""
    free = SVC(kernel="linear", C=HARD, tol=1e-10).fit(x, y)
    counted = LinearSVC(C=HARD, loss="hinge", tol=1e-10, max_iter=2_000_000, random_state=0).fit(x, y)
    separators = [np.append(machine.coef_[0], machine.intercept_[0]) for machine in (free, counted)]
    return separators[0], separators[1]


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Between two directions, in degrees."""
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


class Descent(NamedTuple):
    """Gradient descent at some of its updates.

    Attributes:
        at: which updates, (points,).
        theta: weights and intercept, (points, features + 1).
        norm, cost: of the weights; of the fit, with its penalty; (points,).
    """

    at: np.ndarray
    theta: np.ndarray
    norm: np.ndarray
    cost: np.ndarray


class WeightsWithoutBound(Lesson):
    """Norm, cost and direction over many updates, without a penalty and with one.

    Args:
        lr, updates: of gradient descent from 0.
        l2: the penalty of the second descent.
    """

    def __init__(self, lr: float = 1.0, updates: int = 100_000, l2: float = 0.01) -> None:
        if updates < 100:
            raise ValueError(f"updates={updates}: at least 100 are needed")
        if l2 <= 0:
            raise ValueError(f"l2={l2}: a penalty above 0 is needed")
        self.lr, self.updates, self.l2 = lr, updates, l2

    def teach(self, data: BlockData, classifier: BinaryClassifier) -> Conclusion:
        x, y = training_rows(data)
        free, penalised = (self._follow(x, y, l2) for l2 in (0.0, self.l2))
        last = free.theta[-1]
        if not ((2 * y - 1) * (with_ones(x) @ last) > 0).all():
            raise UserError(
                "lesson: after all updates some rows are still on the wrong side, so there may be no line that "
                "separates them, and then the weights are bounded; use data=toy, or more lesson.updates."
            )
        if not penalised.norm[-1] < LARGE:  # no number, or on its way to one
            raise UserError(
                f"lesson.l2={self.l2:g}: gradient descent with lesson.lr={self.lr:g} diverges where the penalty curves "
                "the cost so much; take a smaller one."
            )
        of_free, counted = hard_margin(x, y)
        numbers = self._numbers(free, penalised, of_free, counted)
        return Conclusion(self._lines(numbers), numbers, {"weights": self._draw(free, penalised, of_free, counted)})

    def _follow(self, x: np.ndarray, y: np.ndarray, l2: float) -> Descent:
        """The coefficients at updates that lie evenly on a logarithmic scale, their norms and costs."""
        at = np.unique(np.concatenate([np.geomspace(1, self.updates, 200).astype(np.int64), self._decades()]))
        wanted = set(at.tolist())
        with np.errstate(over="ignore", invalid="ignore"):  # where it diverges
            theta = np.array([t for i, t in enumerate(descend(x, y, self.lr, self.updates, l2)) if i in wanted])
            norms = np.array([np.linalg.norm(t[:-1]) for t in theta])
            return Descent(at, theta, norms, np.array([cost(t, x, y, l2) for t in theta]))

    def _decades(self) -> list[int]:
        return [10**k for k in range(1, 12) if 10**k <= self.updates]

    def _numbers(self, free: Descent, penalised: Descent, of_free: np.ndarray, counted: np.ndarray) -> dict[str, Any]:
        decades = self._decades()
        places = np.searchsorted(free.at, decades)
        return {
            "updates": decades,
            "norm": free.norm[places].tolist(),
            "cost": free.cost[places].tolist(),
            "degrees_from_maximum_margin": [angle(t, counted) for t in free.theta[places]],
            "degrees_from_free_intercept": [angle(t, of_free) for t in free.theta[places]],
            "degrees_between_machines": angle(of_free, counted),
            "maximum_margin": counted.tolist(),
            "free_intercept": of_free.tolist(),
            "penalised_norm": penalised.norm[places].tolist(),
            "penalised_cost": penalised.cost[places].tolist(),
        }

    def _lines(self, n: dict[str, Any]) -> list[str]:
        lines = [
            "without a penalty, the norm of the weights, the cost, and the angle to the maximum-margin separator:",
            "     updates     norm         cost   degrees   norm with the penalty",
        ]
        columns = ("updates", "norm", "cost", "degrees_from_maximum_margin", "penalised_norm")
        for updates, norm, value, degrees, bounded in zip(*(n[c] for c in columns), strict=True):
            lines.append(f"  {updates:10,} {norm:8.3f} {value:12.3g} {degrees:9.3f} {bounded:10.6f}")
        growth, change = (n[key][-1] - n[key][-2] for key in ("norm", "penalised_norm"))
        degrees = n["degrees_from_maximum_margin"]
        usual = f"{n['degrees_from_free_intercept'][-1]:.3f} degrees away"
        if n["degrees_between_machines"] < SAME:
            usual = "the same separator here"
        stops = "all of it stops" if abs(change) < 1e-3 * growth else "it slows down"
        return [
            *lines,
            f"ten times the updates add {growth:.2f} to the norm: {self._growth(n['norm'])}, and the cost "
            f"{'falls without end' if n['cost'][-1] < n['cost'][-2] else 'does not fall yet'}",
            f"the direction {self._approach(degrees)} "
            f"scikit-learn's hard-margin support vector machine, {degrees[-1]:.3f} degrees away, if its margin counts "
            f"the intercept as a weight; the usual one, whose intercept is free, is {usual}",
            f"with penalty.l2={self.l2:g} {stops}: the norm changes by {abs(change):.1g} over the last ten times",
        ]

    @staticmethod
    def _growth(norms: list[float]) -> str:
        """Whether the last ten times the updates added about as much as the ten times before."""
        added = np.diff(norms)
        if added[-1] <= 0:
            return "so it does not grow yet"
        if len(added) > 1 and added[-1] > STEADY * max(added[-2], 0.0):
            return "it grows without a bound, though not yet as slowly as their logarithm"
        return "it grows like their logarithm, without a bound"

    @staticmethod
    def _approach(degrees: list[float]) -> str:
        if degrees[-1] >= degrees[-2]:
            return "is not yet on its way to"
        return "settles at" if degrees[-1] < SETTLED else "is still on its way to"

    def _draw(self, free: Descent, penalised: Descent, of_free: np.ndarray, counted: np.ndarray) -> Figure:
        figure, (norm, costs, direction) = panels(3, "Separable labels: weights without bound")
        for descent, color, label in ((free, BLUE, "no penalty"), (penalised, RED, f"penalty.l2={self.l2:g}")):
            norm.plot(descent.at, descent.norm, color=color, label=label)
            costs.plot(descent.at, descent.cost, color=color, label=label)
        norm.set(xlabel="updates", ylabel="norm of the weights", xscale="log")
        norm.legend()
        costs.set(xlabel="updates", ylabel="cost, with its penalty", xscale="log", yscale="log")
        angles = [angle(t, counted) for t in free.theta]
        direction.plot(free.at, angles, color=GREEN, label="intercept counted as a weight")
        if angle(of_free, counted) >= SAME:
            others = [angle(t, of_free) for t in free.theta]
            direction.plot(free.at, others, color=ORANGE, linestyle="--", label="intercept free")
        direction.set(xlabel="updates", ylabel="degrees from the maximum margin", xscale="log", yscale="log")
        direction.legend()
        return figure
