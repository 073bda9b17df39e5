"""The rows of a split, wherever they are: in memory, mapped from a file, dense or sparse.

A batch is ``(x, y)``, or ``(x, y, weight)`` where rows are weighted: x (rows, features), dense or sparse CSR, y and
weight (rows,). Weights have mean 1 over the rows of the split, so the mean loss of any batch estimates that of all.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, ...]

# So many elements of x are made into one tensor at the most, where they are not one already.
MAX_ELEMENTS = 2**24

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


# Starts to change batches at random: those of one batch, in their order.
Change = Callable[[], Callable[[Batch], Batch]]


class LargeBatch:
    """All rows of a split as one batch, too large to be one tensor: it comes in parts.

    Args:
        change: is started anew whenever the parts are gone through.
    """

    def __init__(self, rows: Rows, change: Change | None = None) -> None:
        self.rows, self.change = rows, change

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self) -> Iterator[Batch]:
        step, change = self.rows.at_once, self.change() if self.change else None
        for first in range(0, len(self.rows), step):
            part = self.rows.cut(first, first + step)
            yield part if change is None else change(part)

    def first(self) -> Tensor:
        """The x of a few rows."""
        return self.rows.cut(0, 8)[0]


class Rows(ABC):
    """Rows by position, 0 to len - 1."""

    y: Tensor
    weight: Tensor | None
    width: int  # elements of a row of x
    elements: int = MAX_ELEMENTS  # of x in one tensor, of rows that are not all in one anyway

    def __len__(self) -> int:
        return len(self.y)

    @property
    def at_once(self) -> int:
        """How many rows fit into one tensor."""
        return max(1, self.elements // max(1, self.width))

    @abstractmethod
    def take(self, positions: Tensor) -> Batch:
        """The rows at these positions, (batch,) int64."""

    @abstractmethod
    def cut(self, first: int, end: int, dtype: torch.dtype | None = None) -> Batch:
        """Consecutive rows, x as ``dtype`` instead of the type that rows are served in."""

    @property
    @abstractmethod
    def stored(self) -> torch.dtype:
        """What x is stored in."""

    @abstractmethod
    def everything(self) -> Batch | LargeBatch:
        """All rows."""

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """Move to a device, all at once or from now on batch by batch."""


class TensorRows(Rows):
    """Rows that are tensors in memory, of the type they are served in."""

    def __init__(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> None:
        self.x, self.y, self.weight = x, y, weight
        sparse = x.layout is torch.sparse_csr
        self.width = max(1, 2 * x.values().numel() // max(1, len(x)) if sparse else x[:1].numel())

    def take(self, positions: Tensor) -> Batch:
        x, y = taken_rows(self.x, positions), self.y[positions]
        return (x, y) if self.weight is None else (x, y, self.weight[positions])

    def cut(self, first: int, end: int, dtype: torch.dtype | None = None) -> Batch:
        x, y = cut_rows(self.x, first, end).to(dtype or self.x.dtype), self.y[first:end]
        return (x, y) if self.weight is None else (x, y, self.weight[first:end])

    @property
    def stored(self) -> torch.dtype:
        return self.x.dtype

    def everything(self) -> Batch:
        return (self.x, self.y) if self.weight is None else (self.x, self.y, self.weight)

    def to(self, device: torch.device) -> None:
        if self.y.device != device:
            self.x, self.y = self.x.to(device), self.y.to(device)
            self.weight = None if self.weight is None else self.weight.to(device)


class MappedRows(Rows):
    """Some rows of a matrix that is mapped from a file.

    Args:
        x: (all rows, features), mapped.
        rows: which rows of it these are, ascending, (rows,) int64; may be mapped too.
        y: of these rows, of any type.
        weight: of these rows, in memory.
        dtype: what x and y are served as.
    """

    def __init__(self, x: np.ndarray, rows: np.ndarray, y: Tensor, weight: Tensor | None, dtype: torch.dtype) -> None:
        self.x, self.rows = torch.from_numpy(x), torch.from_numpy(rows)
        self.y, self.weight, self.dtype = y, weight, dtype
        self.width = x.shape[1]
        self.device = torch.device("cpu")

    def take(self, positions: Tensor) -> Batch:
        x = self.x.index_select(0, self.rows[positions]).to(self.device, self.dtype)
        y = self.y[positions].to(self.dtype)
        return self._on_device((x, y) if self.weight is None else (x, y, self.weight[positions]))

    @property
    def stored(self) -> torch.dtype:
        return self.x.dtype

    def cut(self, first: int, end: int, dtype: torch.dtype | None = None) -> Batch:
        chosen = self.rows[first:end]
        begin, stop = (int(chosen[0]), int(chosen[-1]) + 1) if len(chosen) else (0, 0)
        # Consecutive rows need no index, which is the usual thing for a table that was not split.
        whole = self.x[begin:stop] if stop - begin == len(chosen) else self.x.index_select(0, chosen)
        kind = dtype or self.dtype
        x, y = whole.to(self.device).to(kind), self.y[first:end].to(kind)  # narrow numbers travel faster
        return self._on_device((x, y) if self.weight is None else (x, y, self.weight[first:end]))

    def everything(self) -> LargeBatch:
        return LargeBatch(self)

    def _on_device(self, batch: Batch) -> Batch:
        return batch if self.device.type == "cpu" else tuple(part.to(self.device) for part in batch)

    def to(self, device: torch.device) -> None:
        self.device = device


class SparseRows(Rows):
    """Some rows of a CSR matrix whose arrays are mapped from files.

    Args:
        indptr, indices, values: of the whole matrix.
        rows: which rows of it these are, ascending, (rows,).
        features: columns of the matrix.
    """

    def __init__(
        self,
        indptr: np.ndarray,
        indices: np.ndarray,
        values: np.ndarray,
        rows: np.ndarray,
        features: int,
        y: Tensor,
        weight: Tensor | None,
        dtype: torch.dtype,
    ) -> None:
        self.indptr, self.indices, self.values, self.rows = indptr, indices, values, rows
        self.features, self.y, self.weight, self.dtype = features, y, weight, dtype
        self.width = max(1, 2 * len(values) // max(1, len(indptr) - 1))
        self.device = torch.device("cpu")
        self._all: Batch | None = None

    def take(self, positions: Tensor) -> Batch:
        return self._batch(self.rows[positions.numpy()], positions)

    @property
    def stored(self) -> torch.dtype:
        return torch.from_numpy(self.values[:0]).dtype

    def cut(self, first: int, end: int, dtype: torch.dtype | None = None) -> Batch:
        if self._all is None:
            return self._batch(self.rows[first:end], slice(first, end), dtype)
        x, *rest = self._all
        return cut_rows(x, first, end).to(dtype or self.dtype), *(part[first:end] for part in rest)

    def everything(self) -> Batch | LargeBatch:
        if len(self) > self.at_once:
            return LargeBatch(self)
        if self._all is None:
            self._all = self.cut(0, len(self))
        return self._all

    def _batch(self, rows: np.ndarray, positions: Tensor | slice, dtype: torch.dtype | None = None) -> Batch:
        starts, counts = self.indptr[rows], self.indptr[rows + 1] - self.indptr[rows]
        ends = np.cumsum(counts)
        entries = np.repeat(starts - (ends - counts), counts) + np.arange(int(ends[-1]) if len(ends) else 0)
        x = torch.sparse_csr_tensor(
            torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32)),
            torch.from_numpy(self.indices[entries]),
            torch.from_numpy(self.values[entries]).to(dtype or self.dtype),
            (len(rows), self.features),
            check_invariants=False,
        ).to(self.device)
        y = self.y[positions].to(self.device)
        return (x, y) if self.weight is None else (x, y, self.weight[positions].to(self.device))

    def to(self, device: torch.device) -> None:
        if device != self.device:  # it is called with every block, and what is kept stays
            self.device, self._all = device, None


def batch_parts(batch: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
    """x, y and the weights of a batch, if it has any."""
    return batch[0], batch[1], batch[2] if len(batch) > 2 else None


def collected_rows(batches: Iterable[Batch]) -> TensorRows | None:
    """The rows of all batches, of which there is one at least; None where x has more than `MAX_ELEMENTS` numbers."""
    parts, numbers = [], 0
    for x, y, *_ in batches:  # which may have no end
        numbers += x.numel()
        if numbers > MAX_ELEMENTS:
            return None
        x = (x if x.layout is torch.strided else x.to_dense()).flatten(1).cpu()
        parts.append((x if x.is_floating_point() else x.float(), y.reshape(-1).cpu()))
    x = torch.cat([x for x, _ in parts])
    return TensorRows(x, torch.cat([y for _, y in parts]).to(x.dtype))


def cut_rows(x: Tensor, first: int, end: int) -> Tensor:
    """Consecutive rows of a dense or sparse x, without a copy of its numbers but for sparse ones on a GPU."""
    if x.layout is not torch.sparse_csr:
        return x[first:end]
    rows, features = x.shape
    end = min(end, rows)
    if first == 0 and end == rows:
        return x
    pointers = x.crow_indices()[first : end + 1]
    start, stop = int(pointers[0]), int(pointers[-1])
    columns, values = x.col_indices()[start:stop], x.values()[start:stop]
    if x.is_cuda:  # cuSPARSE may fail on addresses that are not aligned, as those inside a tensor need not be
        columns, values = columns.clone(), values.clone()
    size = (end - first, features)
    return torch.sparse_csr_tensor(pointers - start, columns, values, size, check_invariants=False)


def chosen_columns(x: Tensor, columns: Tensor) -> Tensor:
    """These columns, (chosen,) int64, of a dense or sparse x, dense."""
    if x.layout is not torch.sparse_csr:
        return x[:, columns]
    place = torch.full((x.shape[1],), -1, device=x.device)
    place[columns] = torch.arange(len(columns), device=x.device)
    places = place[x.col_indices().long()]
    rows = torch.arange(x.shape[0], device=x.device).repeat_interleave(x.crow_indices().diff())
    kept = places >= 0
    found = torch.zeros((x.shape[0], len(columns)), dtype=x.dtype, device=x.device)
    return found.index_put_((rows[kept], places[kept]), x.values()[kept], accumulate=True)


def taken_rows(x: Tensor, positions: Tensor) -> Tensor:
    """The rows of a dense or sparse x at these positions."""
    if x.layout is not torch.sparse_csr:
        return x[positions]
    pointers = x.crow_indices().long()
    starts, counts = pointers[positions], pointers.diff()[positions]
    ends = counts.cumsum(0)
    entries = (starts - (ends - counts)).repeat_interleave(counts) + torch.arange(int(counts.sum()), device=x.device)
    columns, values = x.col_indices()[entries], x.values()[entries]
    pointers = torch.cat([ends.new_zeros(1), ends]).to(columns.dtype)
    return torch.sparse_csr_tensor(pointers, columns, values, (len(positions), x.shape[1]), check_invariants=False)


def dense_rows(x: Tensor, count: int) -> Tensor:
    """The first rows of a dense or sparse x, dense."""
    first = cut_rows(x, 0, count)
    return first.to_dense() if first.layout is torch.sparse_csr else first
