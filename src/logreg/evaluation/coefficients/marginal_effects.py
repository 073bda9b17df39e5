"""Average marginal effects: by how much the probability of label 1 changes with a column, on average over the rows.

    number          mean of dp/dx = coefficient times mean of p (1 - p), per unit of the table
    level, flag     mean of p with this level  -  p with the reference level (all features of the column 0)

the other columns as they are. The second is a discrete change, as Stata's margins has it for factors; a column of
numbers that are 0 and 1 is a number, unless data.categorical names it. Standard errors are by the delta method: the
variance of an effect with gradient g by the coefficients of covariance V is g'V g.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from logreg.evaluation.coefficients.covariance import Matrix, designs
from logreg.evaluation.coefficients.estimates import Estimates
from logreg.optim.problem import LogisticProblem, Theta


def marginal_effects(
    problem: LogisticProblem, theta: Theta, covariance: Matrix, scale: np.ndarray, levels: Sequence[tuple[int, int]]
) -> Estimates:
    """The average marginal effect of every feature.

    Args:
        covariance: of theta.
        scale: what numbers were divided by, (features,).
        levels: first feature and number of features of each column whose features are levels, or a flag.
    """
    count = problem.features
    slope, of_level = theta.new_zeros(()), theta.new_zeros(count)  # sums over rows: of p (1 - p), of differences
    bend = theta.new_zeros(count + 1)  # mean of d(p (1 - p))/dtheta
    gradient = theta.new_zeros((count, count + 1))
    for x, _, weight in designs(problem, theta):
        z = x @ theta
        p = torch.sigmoid(z)
        curve = weight * p * torch.sigmoid(-z)  # not 1 - p, which is 0 where p rounds to 1
        slope += curve.sum()
        bend += x.t() @ (curve * (1 - 2 * p))
        for first, width in levels:
            part = slice(first, first + width)
            base, rest = z - x[:, part] @ theta[part], x.clone()
            rest[:, part] = 0
            p0, v0 = torch.sigmoid(base), torch.sigmoid(base) * torch.sigmoid(-base)
            for j in range(first, first + width):
                p1 = torch.sigmoid(base + theta[j])
                v1 = p1 * torch.sigmoid(-base - theta[j])
                of_level[j] += (weight * (p1 - p0)).sum()
                gradient[j] += rest.t() @ (weight * (v1 - v0))
                gradient[j, j] += (weight * v1).sum()
    theta, slope, of_level, bend, gradient = (part.cpu() for part in (theta, slope, of_level, bend, gradient))
    rows, factor = len(problem), torch.as_tensor(1 / np.asarray(scale))
    is_level = torch.zeros(count, dtype=torch.bool)
    is_level[[j for first, width in levels for j in range(first, first + width)]] = True
    effect = torch.where(is_level, of_level, factor * theta[:-1] * slope) / rows
    of_number = torch.outer(factor * theta[:-1], bend)
    of_number[:, :-1] += torch.diag(factor * slope)
    gradient = torch.where(is_level.unsqueeze(1), gradient, of_number) / rows
    jacobian = gradient.numpy()
    return Estimates.wald(effect.numpy(), np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian, optimize=True))
