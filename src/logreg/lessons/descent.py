"""Gradient descent on a linear classifier, spelled out in float64, and the surface of the cost that it goes down.

``theta`` is the weights and, last, the intercept, (features + 1,). The intercept is never penalised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit

from logreg.optim.losses import LOG_LOSS, Loss

INTERCEPTS, ROUNDS = 161, 4  # tried for each pair of weights in a round; each round looks closer
AT_ONCE = 2**22  # numbers


def with_ones(x: np.ndarray) -> np.ndarray:
    """Rows (rows, features) with a column of ones, whose weight is the intercept."""
    return np.column_stack([x, np.ones(len(x))])


def cost(theta: np.ndarray, x: np.ndarray, y: np.ndarray, l2: float = 0.0) -> float:
    """The mean log loss with its penalty."""
    return float(LOG_LOSS.of_arrays(with_ones(x) @ theta, y).mean() + l2 / 2 * theta[:-1] @ theta[:-1])


def gradient(theta: np.ndarray, rows: np.ndarray, y: np.ndarray, l2: float = 0.0) -> np.ndarray:
    """Of the mean log loss with its penalty; ``rows`` are `with_ones`."""
    residual = expit(rows @ theta) - y
    slopes = residual @ rows / len(y)
    slopes[:-1] += l2 * theta[:-1]
    return slopes


def descend(
    x: np.ndarray, y: np.ndarray, lr: float, updates: int, l2: float = 0.0, zero: bool = True
) -> Iterator[np.ndarray]:
    """The coefficients after 0, 1, … updates from 0, each yielded as an array of its own.

    Args:
        zero: forget the gradient of the update before; without, gradients add up, as they do in PyTorch.
    """
    rows, theta, stored = with_ones(x), np.zeros(x.shape[1] + 1), np.zeros(x.shape[1] + 1)
    yield theta.copy()
    for _ in range(updates):
        stored = gradient(theta, rows, y, l2) + (0.0 if zero else stored)
        theta = theta - lr * stored
        yield theta


def mean_gradients(loss: Loss, theta: np.ndarray, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient of the mean loss at each of theta, (points, features + 1) both; ``rows`` are `with_ones`."""
    z = torch.from_numpy(theta @ rows.T)
    slopes: np.ndarray = loss.slope(z, torch.from_numpy(y).expand_as(z)).numpy() @ rows / len(y)
    return slopes


def hessians(loss: Loss, theta: np.ndarray, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the mean loss by weights and intercept, (points, features + 1, features + 1), at each of theta.

    Args:
        rows: `with_ones`.
    """
    curved = loss.curvature(theta @ rows.T, y) / len(y)
    return np.einsum("pr,ri,rj->pij", curved, rows, rows, optimize=True)


def largest_curvature(theta: np.ndarray, x: np.ndarray, y: np.ndarray, l2: float = 0.0) -> float:
    """The top eigenvalue of the Hessian of the mean log loss with its penalty.

    Gradient descent is stable at a minimum up to a step of 2 over it, since an error along that direction is multiplied
    by 1 - lr * eigenvalue in each update (Nesterov, 2004, Introductory Lectures on Convex Optimization, section 1.2.3).
    """
    hessian = hessians(LOG_LOSS, theta[None], with_ones(x), y)[0]
    hessian[np.arange(x.shape[1]), np.arange(x.shape[1])] += l2
    return float(np.linalg.eigvalsh(hessian)[-1])


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
