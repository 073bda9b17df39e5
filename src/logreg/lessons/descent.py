"""Gradient descent on a linear classifier, spelled out in float64: what the lessons follow update by update.

``theta`` is the weights and, last, the intercept, (features + 1,). The intercept is never penalised.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.special import expit

from logreg.optim.losses import LOG_LOSS, Loss


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
    """The gradient of the mean loss at each of theta (points, features + 1), likewise; ``rows`` are `with_ones`."""
    z = torch.from_numpy(theta @ rows.T)
    slopes: np.ndarray = loss.slope(z, torch.from_numpy(y).expand_as(z)).numpy() @ rows / len(y)
    return slopes


def descend_together(
    loss: Loss, theta: np.ndarray, x: np.ndarray, y: np.ndarray, lr: float, updates: int
) -> np.ndarray:
    """Where ``updates`` steps of gradient descent on the mean loss take theta, (points, features + 1) both."""
    rows = with_ones(x)
    for _ in range(updates if len(theta) else 0):
        theta = theta - lr * mean_gradients(loss, theta, rows, y)
    return theta


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
