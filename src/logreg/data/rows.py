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

# The most elements of x that are made into one tensor, where they are not one already.
MAX_ELEMENTS = 2**24

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


# Begins the random changes of one batch; the function it returns is called with the batch's parts in their order.
Change = Callable[[], Callable[[Batch], Batch]]


class LargeBatch:
    """All rows of a split as one batch, too large to be one tensor: it comes in parts.

    Args:
        change: is started again whenever the parts are gone through.
    """

    def __init__(self, rows: Rows, change: Change | None = None) -> None:
        self.rows, self.change = rows, change

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self) -> Iterator[Batch]:
        step, change = self.rows.at_once, self.change() if self.change else None
        for first in range(0, len(self.rows), step):
            part = self.rows.span(first, first + step)
            yield part if change is None else change(part)

    def first(self) -> Tensor:
        """The x of a few rows."""
        return self.rows.span(0, 8)[0]


class Rows(ABC):
    """Rows by position, 0 to len - 1."""

    y: Tensor
    weight: Tensor | None
    width: int  # elements of a row of x
    elements: int = MAX_ELEMENTS  # of x in one tensor, where rows are not all in one anyway

    def __len__(self) -> int:
        return len(self.y)

    @property
    def at_once(self) -> int:
        """Rows that fit into one tensor."""
        return max(1, self.elements // max(1, self.width))

    @abstractmethod
    def take(self, positions: Tensor) -> Batch:
        """The rows at these positions, (batch,) int64."""

    @abstractmethod
    def span(self, first: int, end: int, dtype: torch.dtype | None = None) -> Batch:
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
        y = self.y.index_select(0, positions)
        if self.x.layout is torch.sparse_csr:
            parts = gathered(self.x.crow_indices(), self.x.col_indices(), self.x.values(), positions)
            x = torch.sparse_csr_tensor(*parts, (len(positions), self.x.shape[1]), check_invariants=False)
        else:
            x = self.x.index_select(0, positions)  # three times as fast as an index on a CPU
        return (x, y) if self.weight is None else (x, y, self.weight.index_select(0, positions))

    def span(self, first: int, end: int, dtype: torch.dtype | None = None) -> Batch:
        x, y = row_span(self.x, first, end).to(dtype or self.x.dtype), self.y[first:end]
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


class StoredRows(Rows):
    """Some rows of a matrix that lies in a file, read and moved to the device a batch at a time.

    Args:
        rows: which rows of the matrix these are, ascending, (rows,) int64; may be mapped too.
        y: of these rows, of any type.
        weight: of these rows.
        dtype: what x and y are served as.
        width: elements of a row.
    """

    def __init__(self, rows: np.ndarray, y: Tensor, weight: Tensor | None, dtype: torch.dtype, width: int) -> None:
        self.rows, self.y, self.weight, self.dtype, self.width = torch.from_numpy(rows), y, weight, dtype, width
        self.device = torch.device("cpu")

    @abstractmethod
    def features(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """These rows of the matrix, (batch,) int64, on the device."""

    def take(self, positions: Tensor) -> Batch:
        return self._batch(self.features(self.rows[positions], self.dtype), positions)

    def span(self, first: int, end: int, dtype: torch.dtype | None = None) -> Batch:
        return self._batch(self.features(self.rows[first:end], dtype or self.dtype), slice(first, end))

    def _batch(self, x: Tensor, positions: Tensor | slice) -> Batch:
        y = self.y[positions].to(self.device, x.dtype)
        return (x, y) if self.weight is None else (x, y, self.weight[positions].to(self.device))

    def everything(self) -> Batch | LargeBatch:
        return LargeBatch(self) if len(self) > self.at_once else self.span(0, len(self))

    def to(self, device: torch.device) -> None:
        self.device = device


class MappedRows(StoredRows):
    """Some rows of a dense matrix.

    Args:
        x: (all rows, features), mapped.
        rows, y, weight, dtype: see `StoredRows`.
    """

    def __init__(self, x: np.ndarray, rows: np.ndarray, y: Tensor, weight: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__(rows, y, weight, dtype, x.shape[1])
        self.x = torch.from_numpy(x)

    @property
    def stored(self) -> torch.dtype:
        return self.x.dtype

    def features(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        return self.x.index_select(0, rows).to(self.device).to(dtype)  # narrow numbers travel faster

    def span(self, first: int, end: int, dtype: torch.dtype | None = None) -> Batch:
        rows = self.rows[first:end]
        begin, stop = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        if stop - begin != len(rows):
            return super().span(first, end, dtype)
        # The rows of a table that was not split follow one another: no index, no copy.
        return self._batch(self.x[begin:stop].to(self.device).to(dtype or self.dtype), slice(first, end))

    def everything(self) -> LargeBatch:
        return LargeBatch(self)


class SparseRows(StoredRows):
    """Some rows of a CSR matrix.

    Args:
        csr: indptr, indices and values of all rows, mapped.
        columns: of the matrix.
        rows, y, weight, dtype: see `StoredRows`.
    """

    def __init__(
        self,
        csr: Sequence[np.ndarray],
        rows: np.ndarray,
        columns: int,
        y: Tensor,
        weight: Tensor | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(rows, y, weight, dtype, max(1, 2 * len(csr[2]) // max(1, len(csr[0]) - 1)))
        self.csr = torch.from_numpy(csr[0]), torch.from_numpy(csr[1]), torch.from_numpy(csr[2])
        self.columns = columns
        self._all: Batch | None = None  # once it has been asked for, if it fits into one tensor

    @property
    def stored(self) -> torch.dtype:
        return self.csr[2].dtype

    def features(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        pointers, columns, values = gathered(*self.csr, rows)
        size = (len(rows), self.columns)
        x = torch.sparse_csr_tensor(pointers, columns, values.to(dtype), size, check_invariants=False)
        return x.to(self.device)

    def span(self, first: int, end: int, dtype: torch.dtype | None = None) -> Batch:
        if self._all is None:
            return super().span(first, end, dtype)
        x, *others = self._all
        return row_span(x, first, end).to(dtype or self.dtype), *(part[first:end] for part in others)

    def everything(self) -> Batch | LargeBatch:
        if self._all is None:
            rows = super().everything()
            if isinstance(rows, LargeBatch):
                return rows
            self._all = rows
        return self._all

    def to(self, device: torch.device) -> None:
        if device != self.device:  # it is called with every block, and what is kept stays
            self.device, self._all = device, None


def gathered(pointers: Tensor, columns: Tensor, values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three arrays of a CSR matrix (see `torch.sparse_csr_tensor`) for some of its rows.

    torch has no such operation, and scipy's brings pointers and columns to one type, which copies mapped arrays whole.

    Args:
        rows: by number, (chosen,) int64, in any order.
    """
    starts = pointers[rows].long()
    counts = pointers[rows + 1].long() - starts
    ends = counts.cumsum(0)
    # Entry number i of the result lies as far behind its row's start as i behind the end of the row before.
    entries = (starts - (ends - counts)).repeat_interleave(counts)
    entries += torch.arange(len(entries), device=entries.device)
    return torch.cat([ends.new_zeros(1), ends]).to(columns.dtype), columns[entries], values[entries]


def batch_parts(batch: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
    """x, y and the weights of a batch, if it has any."""
    return batch[0], batch[1], batch[2] if len(batch) > 2 else None


def collected_rows(batches: Iterable[Batch]) -> TensorRows | None:
    """The rows of all batches, at least one; None where x has more than `MAX_ELEMENTS` numbers."""
    parts, numbers = [], 0
    for x, y, *_ in batches:  # which may have no end
        numbers += x.numel()
        if numbers > MAX_ELEMENTS:
            return None
        x = (x if x.layout is torch.strided else x.to_dense()).flatten(1).cpu()
        parts.append((x if x.is_floating_point() else x.float(), y.reshape(-1).cpu()))
    x = torch.cat([x for x, _ in parts])
    return TensorRows(x, torch.cat([y for _, y in parts]).to(x.dtype))


def row_span(x: Tensor, first: int, end: int) -> Tensor:
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
    wanted = places >= 0
    dense = torch.zeros((x.shape[0], len(columns)), dtype=x.dtype, device=x.device)
    return dense.index_put_((rows[wanted], places[wanted]), x.values()[wanted], accumulate=True)


def dense_rows(x: Tensor, count: int) -> Tensor:
    """The first rows of a dense or sparse x, dense."""
    first = row_span(x, 0, count)
    return first.to_dense() if first.layout is torch.sparse_csr else first
