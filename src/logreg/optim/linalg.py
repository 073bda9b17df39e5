"""Cholesky factors of Hessians, whatever the units of their columns; and products with rows, sparse ones too.

A Hessian is scaled to a unit diagonal before it is factorised. What cannot be factorised, as columns are combinations
of others but for rounding, gets the least ridge of a few that makes it regular.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor

from logreg.core.errors import UserError

SCALE = "scale the columns (data.standardize=true)"
RIDGE = 1e-12  # of the scaled Hessian
LARGEST_RIDGE = 1.0
CURVED = 1e-10  # the least cosine between a step and its change of the gradient of a pair that is used

Vectors = Float[Tensor, "*problems coefficients"]


class Factors:
    """Of one Hessian, or of a stack of them.

    Args:
        hessians: (..., coefficients, coefficients), symmetric, float64.

    Raises:
        UserError: they are not of finite numbers.
    """

    def __init__(self, hessians: Float[Tensor, "*stack coefficients coefficients"]) -> None:
        if not bool(hessians.isfinite().all()):
            raise UserError(f"the objective is not finite; {SCALE}.")
        self.scale = unit_scale(hessians)
        scaled = hessians * self.scale.unsqueeze(-1) * self.scale.unsqueeze(-2)
        one = torch.eye(scaled.shape[-1], dtype=scaled.dtype, device=scaled.device)
        ridge = torch.full((*scaled.shape[:-2], 1, 1), RIDGE, dtype=scaled.dtype, device=scaled.device)
        self.lower, failed = torch.linalg.cholesky_ex(scaled + ridge * one)
        while bool(failed.any()) and float(ridge.max()) < LARGEST_RIDGE:
            ridge = torch.where(failed[..., None, None] > 0, 100 * ridge, ridge)
            self.lower, failed = torch.linalg.cholesky_ex(scaled + ridge * one)

    def __call__(self, gradient: Float[Tensor, "*stack coefficients"]) -> Float[Tensor, "*stack coefficients"]:
        """``H^-1 g`` of each."""
        solved = torch.cholesky_solve((self.scale * gradient).unsqueeze(-1), self.lower).squeeze(-1)
        return self.scale * solved

    def __getitem__(self, chosen: Tensor) -> Factors:
        """Those of some Hessians of a stack, chosen by number or by a mask."""
        some = copy(self)
        some.scale, some.lower = self.scale[chosen], self.lower[chosen]
        return some


def unit_scale(hessians: Float[Tensor, "*stack coefficients coefficients"]) -> Float[Tensor, "*stack coefficients"]:
    """What rows and columns are to be multiplied by to make the diagonals 1."""
    return hessians.diagonal(dim1=-2, dim2=-1).clamp(min=torch.finfo(hessians.dtype).tiny).rsqrt()


def inverse_times(
    pairs: Sequence[tuple[Vectors, Vectors]], gradient: Vectors, metric: Callable[[Vectors], Vectors]
) -> Vectors:
    """L-BFGS's two-loop recursion (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4).

    It gives ``H^-1 g`` of one problem or of many, for the matrix that begins as ``metric`` and learns from the pairs.

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


DENSE_PAYS = 1 / 20  # entries of a row, as a share of the columns, from which on sparse rows are made dense for a Gram

Rows = Float[Tensor, "rows features"]


def times(x: Rows, v: Float[Tensor, " features"]) -> Float[Tensor, " rows"]:
    """``x @ v``; x may be sparse."""
    return torch.from_numpy(_array(x) @ v.numpy()) if x.device.type == "cpu" else torch.mv(x, v)


def transposed_times(x: Rows, v: Float[Tensor, " rows"]) -> Float[Tensor, " features"]:
    """``x' @ v``; x may be sparse."""
    if x.device.type == "cpu":
        return torch.from_numpy(_array(x).T @ v.numpy())
    return transposed_product(x, v, out=v.new_empty(x.shape[1]))


def transposed_product(x: Tensor, residual: Tensor, out: Tensor) -> Tensor:
    """``x.T @ residual``, (features,), into ``out``."""
    if not is_sparse(x):
        return torch.mv(x.t(), residual, out=out)
    # PyTorch's own product with a transposed CSR matrix takes ten times as long.
    pointers = x.crow_indices()
    by_entry = residual.repeat_interleave(pointers.diff(), output_size=x.values().numel()).mul_(x.values())
    return out.zero_().index_add_(0, x.col_indices(), by_entry)


def gram(x: Rows, weight: Float[Tensor, " rows"]) -> Float[Tensor, "features features"]:
    """``x' diag(weight) x``, dense; x may be sparse.

    Args:
        weight: not negative.
    """
    if x.device.type != "cpu":
        weighted = (x.to_dense() if is_sparse(x) else x) * weight.sqrt().unsqueeze(1)
        return weighted.t() @ weighted
    array, root = _array(x), np.sqrt(weight.numpy())
    if is_sparse(x):
        weighted = array.data * np.repeat(root, np.diff(array.indptr))
        array = csr_array((weighted, array.indices, array.indptr), array.shape)
        if array.nnz < DENSE_PAYS * x.shape[0] * x.shape[1]:
            return torch.from_numpy((array.T @ array).toarray())
        array = array.toarray()
    else:
        array = array * root[:, None]
    return torch.from_numpy(array.T @ array)


def is_sparse(x: Tensor) -> bool:
    return x.layout is torch.sparse_csr


def _array(x: Rows) -> Any:
    """The same numbers for numpy, or for scipy where x is sparse."""
    if is_sparse(x):
        rows, columns = x.shape
        return csr_array((x.values().numpy(), x.col_indices().numpy(), x.crow_indices().numpy()), (rows, columns))
    return x.numpy()
