"""The covariance of the coefficients of an unpenalised or a Firth fit.

With the Fisher information I = X' diag(f v) X, v_i = p_i (1 - p_i), and frequencies f_i, of sum N, of which the row
weights s_i are f_i divided by their mean, the kinds are

    model     I^-1
    HC0       I^-1 (sum_i f_i r_i² x_i x_i') I^-1,  r_i = y_i - p_i                    (White, Econometrica 48, 1980)
    HC1       HC0 times N / (N - k), for k coefficients
    cluster   I^-1 (sum_g u_g u_g') I^-1 times G / (G - 1) (N - 1) / (N - k),  u_g = sum_(i in g) f_i r_i x_i

A row of frequency 3 counts as three, one of frequency 0 not at all: G is of the groups that have others. The correction
of HC1 is that of R's sandwich (statsmodels' Logit leaves it out), that of cluster is statsmodels'; Stata's logit has
G / (G - 1) alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from logreg.optim.problem import LogisticProblem, Theta

Matrix = Float[np.ndarray, "coefficients coefficients"]
Groups = Int[np.ndarray, " rows"]


def covariance(
    problem: LogisticProblem, theta: Theta, total: float, kind: str = "model", groups: Groups | None = None
) -> Matrix:
    """The covariance of theta, in the units of the features, the intercept last.

    Args:
        total: N, the number of rows or the sum of their weights.
        kind: ``model``, ``HC0``, ``HC1`` or ``cluster``.
        groups: of ``cluster``, equal numbers for rows that belong together.

    Raises:
        numpy.linalg.LinAlgError: the information is singular.
    """
    bread = inverse(total * problem.derivatives(theta).hessian.cpu().numpy())
    if kind == "model":
        return bread
    count = len(theta)
    if kind == "cluster":
        assert groups is not None
        _, codes = np.unique(groups, return_inverse=True)
        group_of_row = torch.as_tensor(codes, device=theta.device).split(problem.blocks(problem.features).step)
        sums = torch.zeros((int(codes.max()) + 1, count), dtype=torch.float64, device=theta.device)
        weights = sums.new_zeros(len(sums))
        for group, (x, residual, weight) in zip(group_of_row, designs(problem, theta), strict=True):
            sums.index_add_(0, group, x * (weight * residual).unsqueeze(1))
            weights.index_add_(0, group, weight)
        scores = sums[weights > 0].cpu().numpy() * (total / len(problem))
        number = len(scores)
        meat = scores.T @ scores * (number / (number - 1) * (total - 1) / (total - count))
    else:
        meat = np.zeros_like(bread)
        for x, residual, weight in designs(problem, theta):
            meat += (x.t() @ (x * (weight * residual.square()).unsqueeze(1))).cpu().numpy()
        meat *= total / len(problem)
        meat *= total / (total - count) if kind == "HC1" else 1.0
    return bread @ meat @ bread


def inverse(matrix: Matrix) -> Matrix:
    """Of a positive definite matrix, scaled to a unit diagonal first: columns in other units then cost no digits."""
    scale = 1 / np.sqrt(matrix.diagonal())
    if not np.isfinite(scale).all():
        raise np.linalg.LinAlgError("a diagonal element is not positive")
    scaled = cho_solve(cho_factor(matrix * np.outer(scale, scale)), np.eye(len(matrix)))
    return (scaled + scaled.T) / 2 * np.outer(scale, scale)  # symmetric to the last bit, as variances are read off it


def designs(problem: LogisticProblem, theta: Theta) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """RowBlock by block x with a last column of ones, dense; y - p; and the row weights."""
    for block in problem.blocks(problem.features):
        x = block.design
        yield x, block.y - torch.sigmoid(x @ theta), block.weights
