"""Tables of one shape, stacked: what many jobs see of their training, validation and test rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from logreg.data.blocks import BlockLoader
from logreg.data.datamodule import BlockData
from logreg.data.rows import Batch as TableBatch
from logreg.data.rows import LargeBatch, TensorRows

Batch = tuple[Float[Tensor, "tables rows ..."], Float[Tensor, "tables rows"], Float[Tensor, "tables rows"] | None]


class Split:
    """The rows of one split of every table, (tables, rows, ...)."""

    def __init__(self, tables: Sequence[BlockData], split: str, dtype: torch.dtype, device: torch.device) -> None:
        rows = [_in_memory(table, split, dtype) for table in tables]
        self.x = torch.stack([part.x for part in rows]).to(device)
        self.y = torch.stack([part.y for part in rows]).to(device)
        weighted = any(part.weight is not None for part in rows)  # tables may differ in that
        weights = [torch.ones_like(part.y) if part.weight is None else part.weight for part in rows]
        self.weight = torch.stack(weights).to(device) if weighted else None
        views = zip(rows, self.x, self.y, [None] * len(rows) if self.weight is None else self.weight, strict=True)
        self.rows = [type(part)(x, y, weight) for part, x, y, weight in views]  # so that they are in memory once

    def __len__(self) -> int:
        return self.y.shape[1]

    def everything(self) -> Batch:
        """All rows of all tables."""
        return self.x, self.y, self.weight


def _in_memory(table: BlockData, split: str, dtype: torch.dtype) -> TensorRows:
    table.serve(dtype)
    rows = table.served(split)
    assert isinstance(rows, TensorRows)
    return rows


def _joined(batch: TableBatch | LargeBatch) -> TableBatch:
    """A batch as one, also one that comes in parts."""
    if not isinstance(batch, LargeBatch):
        return batch
    return tuple(torch.cat(column) for column in zip(*batch.parts(), strict=True))


class TrainingBatches(Split):
    """The training rows, in the batches and the order that each table's own loader has."""

    def __init__(self, tables: Sequence[BlockData], dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(tables, "train", dtype, device)
        self._loaders = [
            BlockLoader(rows, table.batch_size, table.seed, augmentation=table.augmentation)
            for rows, table in zip(self.rows, tables, strict=True)
        ]
        self._augmented = any(table.augmentation is not None for table in tables)
        self.batch_size, self.batches_per_pass = self._loaders[0].batch_size, self._loaders[0].batches_per_pass
        self._starts = torch.arange(len(tables), device=device).unsqueeze(1) * len(self)

    def of_pass(self, number: int) -> Iterator[Batch]:
        """The batches of a pass, counted from 0."""
        if self._augmented:
            for i in range(self.batches_per_pass):
                yield self._augmented_batch(number, i)
            return
        if self.batches_per_pass == 1:
            yield self.everything()
            return
        # Tables one below the other: one gather takes the rows of all of them, in whatever order each has.
        order = self._order(number) + self._starts
        x, y = self.x.flatten(0, 1), self.y.flatten()
        weight = None if self.weight is None else self.weight.flatten()
        for first in range(0, len(self), self.batch_size):
            of_batch = order[:, first : first + self.batch_size]
            rows, shape = of_batch.reshape(-1), of_batch.shape
            yield (
                x.index_select(0, rows).unflatten(0, shape),
                y.index_select(0, rows).view(shape),
                None if weight is None else weight.index_select(0, rows).view(shape),
            )

    def _augmented_batch(self, number: int, i: int) -> Batch:
        """Batch number ``i`` of a pass, changed at random as the run alone of each table changes it."""
        batches = [_joined(loader.batch(number, i)) for loader in self._loaders]
        x, y, *weights = (torch.stack(column) for column in zip(*batches, strict=True))
        return x, y, weights[0] if weights else None

    def _order(self, number: int) -> Int[Tensor, "tables rows"]:
        """Where the rows of a pass stand in each table; tables of one seed have one order."""
        by_seed = {loader.seed: loader for loader in self._loaders}
        orders = {seed: loader.positions(number, 0, len(self)) for seed, loader in by_seed.items()}
        return torch.stack([orders[loader.seed] for loader in self._loaders]).to(self.y.device)
