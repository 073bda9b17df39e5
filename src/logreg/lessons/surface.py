"""The cost of a linear classifier with two weights, as a surface, and how it curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from logreg.lessons.descent import hessians, with_ones
from logreg.optim.losses import Loss

INTERCEPTS, ROUNDS = 161, 4  # tried for each pair of weights in a round; each round looks closer
AT_ONCE = 2**22  # numbers


def smallest_eigenvalues(loss: Loss, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the Hessian of the mean loss by weights and intercept, at each of theta (points, features + 1); (points,)."""
    return np.linalg.eigvalsh(hessians(loss, theta, with_ones(x), y))[:, 0]


@dataclass(frozen=True)
class Surface:
    """The least cost over the intercept, on a grid of two weights.

    Attributes:
        axis: values of either weight, (points,).
        cost: (points, points), the first weight along the columns.
        theta: weights and the best intercept, (points * points, 3).
    """

    axis: np.ndarray
    cost: np.ndarray
    theta: np.ndarray


def surface(loss: Loss, x: np.ndarray, y: np.ndarray, reach: float, points: int) -> Surface:
    """The cost over both weights from ``-reach`` to ``reach``, with the best intercept at each.

    The squared error may have several valleys over the intercept, so all of it is looked at, ever closer.
    """
    axis = np.linspace(-reach, reach, points)
    weights = np.stack([part.ravel() for part in np.meshgrid(axis, axis)], axis=1)
    z = weights @ x.T
    margin = 10.0  # beyond all logits, where the sigmoid is flat
    low, high = -z.max(1) - margin, -z.min(1) + margin
    best, cost = np.zeros(len(weights)), np.zeros(len(weights))
    step = max(1, AT_ONCE // (INTERCEPTS * len(y)))
    for first in range(0, len(weights), step):
        part = slice(first, first + step)
        best[part], cost[part] = _least(loss, z[part], y, low[part], high[part])
    return Surface(axis, cost.reshape(points, points), np.column_stack([weights, best]))


def _least(
    loss: Loss, z: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best intercept and its cost, for logits (points, rows) without one."""
    everywhere = np.arange(len(z))
    for _ in range(ROUNDS):
        tried = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, INTERCEPTS)
        costs = loss.of_arrays(z[:, None, :] + tried[:, :, None], y).mean(2)
        at = costs.argmin(1)
        width = (high - low) / (INTERCEPTS - 1)
        best, cost = tried[everywhere, at], costs[everywhere, at]
        low, high = best - width, best + width
    return best, cost
