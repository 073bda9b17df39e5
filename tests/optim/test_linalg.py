"""Products of rows, dense and sparse, are numpy's of the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from logreg.optim import linalg


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("density", [None, 0.4, 0.01])  # dense rows; sparse ones made dense for the Gram matrix, or not
def test_products_are_those_of_dense_numbers(density: float | None, dtype: torch.dtype) -> None:
    random = np.random.default_rng(0)
    dense = random.normal(size=(50, 30))
    if density is not None:
        dense = sp.random(50, 30, density=density, random_state=0, data_rvs=lambda n: random.normal(size=n)).toarray()
    x = torch.tensor(dense, dtype=dtype)
    x = x if density is None else x.to_sparse_csr()
    v, r, weight = (torch.tensor(random.random(n), dtype=dtype) for n in (30, 50, 50))
    expected = dense @ v.double().numpy(), dense.T @ r.double().numpy(), dense.T * weight.double().numpy() @ dense
    products = linalg.times(x, v), linalg.transposed_times(x, r), linalg.gram(x, weight)
    for a, b in zip(products, expected, strict=True):
        assert a.dtype is dtype
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-4 if dtype is torch.float32 else 1e-12, atol=1e-5)
