"""Products of a block of rows with vectors and with itself.

Rows in memory are multiplied by numpy and scipy: numpy's OpenBLAS reads dense rows up to twice as fast as torch's BLAS
does on some processors, scipy sparse ones several times as fast as torch, which still calls its own CSR a beta.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor

from logreg.objective import transposed_product

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
