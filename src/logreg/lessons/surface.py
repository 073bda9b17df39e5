"""The cost of a linear classifier with two weights, as a surface, and how it curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from logreg.lessons.descent import with_ones
from logreg.losses import Loss

INTERCEPTS, ROUNDS = 161, 4  # tried for each pair of weights, in so many rounds of which each looks closer
AT_ONCE = 2**22  # numbers


def curvature(loss: Loss, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The second derivative of each row's loss by its logit.

    p (1 - p) for the log loss, which is above 0; 2 (p'^2 + (p - y) p' (1 - 2p)) with p' = p (1 - p) for the squared
    error, which is below 0 where the prediction is off by more than a little.
    """
    with np.errstate(over="ignore"):
        p = 1 / (1 + np.exp(-z))
    slope = p * (1 - p)
    return slope if loss.name == "log_loss" else 2 * (slope**2 + (p - y) * slope * (1 - 2 * p))


def smallest_eigenvalues(loss: Loss, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the Hessian of the mean loss by weights and intercept, at each of theta (points, features + 1); (points,)."""
    rows = with_ones(x)
    curved = curvature(loss, theta @ rows.T, y) / len(y)
    hessians = np.einsum("pr,ri,rj->pij", curved, rows, rows, optimize=True)
    return np.linalg.eigvalsh(hessians)[:, 0]


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


def mean_gradients(loss: Loss, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient of the mean loss at each of theta (points, features + 1), likewise."""
    rows = with_ones(x)
    z = torch.from_numpy(theta @ rows.T)
    slopes = loss.slope(z, torch.from_numpy(y).expand_as(z)).numpy()
    return slopes @ rows / len(y)
