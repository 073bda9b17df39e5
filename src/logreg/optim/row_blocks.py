"""Blocks of the rows that an objective is summed over, and what it needs of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from logreg.data.rows import Rows, batch_parts, chosen_columns
from logreg.optim.linalg import gram, is_sparse, times, transposed_times
from logreg.optim.losses import LOG_LOSS

Theta = Float[Tensor, " coefficients"]  # the intercept last
OfRows = Float[Tensor, " rows"]

# Bytes of x in a block: on the CPU the second product finds it in cache, elsewhere calls cost more than memory.
BLOCK_BYTES, BLOCK_BYTES_ELSEWHERE = 2**22, 2**28


class RowBlock(NamedTuple):
    """Some rows: x (rows, features), dense or sparse CSR, y (rows,), weight (rows,) or None; of one float type."""

    x: Tensor
    y: Tensor
    weight: Tensor | None

    @property
    def dense(self) -> Tensor:
        """x, dense."""
        return self.x.to_dense() if is_sparse(self.x) else self.x

    @property
    def design(self) -> Tensor:
        """x with a last column of ones, dense."""
        return torch.cat([self.dense, self.y.new_ones(len(self.y), 1)], 1)

    @property
    def weights(self) -> OfRows:
        return torch.ones_like(self.y) if self.weight is None else self.weight

    def logits(self, theta: Theta) -> OfRows:
        return times(self.x, theta[:-1]).add_(theta[-1])

    def losses(self, z: OfRows) -> OfRows:
        """``s (log(1 + exp(z)) - y z)``."""
        return self._weighted(LOG_LOSS.of_rows(z, self.y))

    def residuals(self, p: OfRows) -> OfRows:
        """``s (p - y)``."""
        return self._weighted(p - self.y)

    def curvatures(self, z: OfRows) -> OfRows:
        """``s p (1 - p)``, from logits: 1 - p is 0 long before its product with p is."""
        return self._weighted(torch.sigmoid(z).mul_(torch.sigmoid(-z)))

    def hits(self, p: OfRows, threshold: float) -> Tensor:
        """The weights of the rows whose predictions are right, 0 for the others."""
        right = (p >= threshold) == (self.y > 0.5)
        return right if self.weight is None else self.weight * right

    def products(self, r: OfRows) -> Theta:
        """``X' r``, X with its column of ones; in float64."""
        return torch.cat([transposed_times(self.x, r).double(), r.sum(dtype=torch.float64, dim=0, keepdim=True)])

    def gram(self, weight: OfRows, columns: Tensor | None = None) -> Float[Tensor, "coefficients coefficients"]:
        """``X' diag(weight) X`` of all columns, or of some, (columns,) int64, and that of ones; in float64."""
        x = self.x if columns is None else chosen_columns(self.x, columns)
        matrix = torch.empty((x.shape[1] + 1, x.shape[1] + 1), dtype=torch.float64, device=x.device)
        matrix[:-1, :-1] = gram(x, weight)
        matrix[-1, :-1] = matrix[:-1, -1] = transposed_times(x, weight)
        matrix[-1, -1] = weight.sum(dtype=torch.float64)
        return matrix

    def squared(self) -> RowBlock:
        """The rows with the squares of x."""
        if not is_sparse(self.x):
            return self._replace(x=self.x.square())
        parts = self.x.crow_indices(), self.x.col_indices(), self.x.values().square()
        return self._replace(x=torch.sparse_csr_tensor(*parts, self.x.shape, check_invariants=False))

    def _weighted(self, values: OfRows) -> OfRows:
        return values if self.weight is None else values.mul_(self.weight)


class RowBlocks:
    """Rows, ``step`` at a time.

    Args:
        step: rows of a block; the last one may have fewer.
        dtype: of its numbers.
    """

    def __init__(self, rows: Rows, step: int, dtype: torch.dtype) -> None:
        self.rows, self.step, self.dtype = rows, step, dtype

    def __len__(self) -> int:
        return -(-len(self.rows) // self.step)

    def __getitem__(self, number: int) -> RowBlock:
        bounds = self.bounds(number)
        x, y, weight = batch_parts(self.rows.span(bounds.start, bounds.stop, self.dtype))
        return RowBlock(x, y.to(self.dtype), None if weight is None else weight.to(self.dtype))

    def __iter__(self) -> Iterator[RowBlock]:
        return map(self.__getitem__, range(len(self)))

    def bounds(self, number: int) -> slice:
        """Of a block, among the rows."""
        return slice(number * self.step, min((number + 1) * self.step, len(self.rows)))


def block_rows(width: int, dtype: torch.dtype, device: torch.device) -> int:
    """How many rows of ``width`` numbers a block has."""
    size = BLOCK_BYTES if device.type == "cpu" else BLOCK_BYTES_ELSEWHERE
    return max(1, size // dtype.itemsize // width)
