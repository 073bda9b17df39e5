"""The l1 penalty for optimizers that know nothing of it.

``l1 * |w|`` has no derivative at 0, which is where it wants many weights to be. An update is made in three parts, for
any optimizer (orthant-wise; Andrew and Gao, 2007, Scalable training of L1-regularized log-linear models, ICML):

    1. `add_l1` adds ``l1 * sign(w)`` to the gradient g; where w is 0, of all the slopes there the one nearest to zero,
       ``sign(g) * max(|g| - l1, 0)``, so that a weight leaves 0 only if that lowers the objective;
    2. the optimizer makes its step;
    3. `stop_at_zero` sets to 0 what has crossed it: the step was made for one side.

For plain gradient descent this is the proximal step, soft thresholding by ``lr * l1``, but that a weight which would
come out on the other side stops at 0 for one update. Unlike soft thresholding it has the right fixed points for
optimizers with momentum or a step of their own for each weight, which are stationary where the gradient that they are
given is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor


def add_l1(weight: Tensor, gradient: Tensor, l1: float | Tensor) -> Tensor:
    """Add the slope of the penalty to a gradient, in place; returns the side of 0 on which each weight may end.

    Args:
        weight, gradient: of one shape.
        l1: 0 or more; a number, or a tensor that broadcasts against them.
    """
    side = weight.sign()
    away = gradient.sign() * (gradient.abs() - l1).clamp(min=0)  # not +-inf - inf: l1 is finite
    gradient.copy_(torch.where(side == 0, away, gradient + l1 * side))
    return torch.where(side == 0, -away.sign(), side)


def stop_at_zero(weight: Tensor, side: Tensor, l1: float | Tensor = 1.0) -> None:
    """Set the weights to 0 that are not on their side, in place; those whose ``l1`` is 0 are left alone."""
    crossed = (weight.sign() == -side) | (side == 0)
    if isinstance(l1, Tensor):
        crossed &= l1 > 0
    weight.masked_fill_(crossed & torch.isfinite(weight), 0.0)
