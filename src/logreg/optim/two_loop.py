"""The two-loop recursion of L-BFGS (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Vectors = Float[Tensor, "*problems coefficients"]

CURVED = 1e-10  # the least cosine between a step and its change of the gradient of a pair that is used


def inverse_times(
    pairs: Sequence[tuple[Vectors, Vectors]], gradient: Vectors, metric: Callable[[Vectors], Vectors]
) -> Vectors:
    """``H^-1 g``, for the matrix that begins as ``metric`` and has learned from the pairs; of one problem or of many.

    Args:
        pairs: of a step and the change of the gradient along it, the oldest first.
        metric: the product with the inverse of the matrix at the beginning.
    """
    q, used = gradient.clone(), []
    for step, change in reversed(pairs):
        bend = inner(step, change)
        curved = bend > CURVED * (inner(step, step) * inner(change, change)).sqrt()
        inverse = torch.where(curved, 1 / torch.where(curved, bend, 1.0), 0.0)
        share = inverse * inner(step, q)
        q -= share * change
        used.append((step, change, inverse, share))
    product = metric(q)
    for step, change, inverse, share in reversed(used):
        product += (share - inverse * inner(change, product)) * step
    return product


def inner(a: Vectors, b: Vectors) -> Float[Tensor, "*problems one"]:
    """Inner products along the last dimension, which is kept."""
    return (a * b).sum(-1, keepdim=True)
