"""Training rows, served as blocks of consecutive batches.

Lightning spends a millisecond on every training step, several times what an update of a small model takes. So a
training step here receives a *block*: up to 100 batches, each of which becomes one update. A block knows where it
stands in the run, and the order of a pass is a function of the seed and the pass alone, so a run can stop after any
update and go on from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from logreg.seeds import generator

Batch = tuple[Tensor, Tensor]

# A block is what happens between two looks at the clock (progress bar, log files, Lightning's hooks): so many updates
# at the most, and fewer when a batch is large, so that a block of any table takes a fraction of a second.
MAX_UPDATES = 100
MAX_ELEMENTS = 2**24


class Block:
    """Consecutive updates, their batches cut from the table only when they are iterated over.

    Iterating yields, per update, its batches (several where gradients accumulate), each ``(x, y)`` with x
    (rows, features) and y (rows,), and whether the pass over the rows ends with it.
    """

    def __init__(self, loader: BlockLoader, passes: int, batches: int, updates: int, left: int | None = None) -> None:
        self.loader, self.passes, self.batches, self.updates, self.left = loader, passes, batches, updates, left

    def __len__(self) -> int:
        return self.updates

    def __iter__(self) -> Iterator[tuple[list[Batch], bool]]:
        loader, passes, batches = self.loader, self.passes, self.batches
        for _ in range(self.updates):
            end = min(batches + loader.accumulate, loader.batches_per_pass)
            ends_pass = end == loader.batches_per_pass
            yield [loader.batch(passes, i) for i in range(batches, end)], ends_pass
            passes, batches = (passes + 1, 0) if ends_pass else (passes, end)

    def to(self, device: torch.device, **_: object) -> Block:
        """Called by Lightning: the table moves once, not each batch."""
        self.loader.to(device)
        return self

    def consumed(self, updates: int) -> None:
        """Record that the first ``updates`` of this block have been made: a checkpoint goes on after them."""
        self.loader.passes, self.loader.batches = self.loader.advanced(self.passes, self.batches, updates)
        self.loader.updates_left = None if self.left is None else self.left - updates

    def epoch(self, update: int) -> int:
        """Whole passes made before update number ``update`` of this block."""
        return self.loader.advanced(self.passes, self.batches, update)[0]


class SingleBatch:
    """One batch of an ordinary `DataLoader`, in the form of a block."""

    def __init__(self, batch: Sequence[Tensor], passes: int) -> None:
        x, y = batch
        self.batch: Batch = (x, y)
        self.passes = passes

    def __iter__(self) -> Iterator[tuple[list[Batch], bool]]:
        yield [self.batch], False

    def consumed(self, updates: int) -> None:
        """The loader keeps its own position."""

    def epoch(self, update: int) -> int:
        return self.passes


class BlockLoader:
    """Serves ``passes_in_total`` passes over the rows as blocks.

    Args:
        batch_size: rows per batch; None is the full batch, in the order of the table. The last batch of a pass may be
            smaller.
        seed: fixes the order of every pass.
    """

    def __init__(
        self, x: Float[Tensor, "rows ..."], y: Float[Tensor, " rows"], batch_size: int | None, seed: int
    ) -> None:
        self.x, self.y, self.seed = x, y, seed
        self.batch_size = len(y) if batch_size is None else min(batch_size, len(y))
        self.batches_per_pass = -(-len(y) // self.batch_size)
        self.passes = self.batches = 0  # the position: passes done, and batches done of the pass in progress
        self.passes_in_total = 1
        self.passes_per_epoch = 1  # of a Lightning epoch, which is the stretch between two validations
        self.accumulate = 1  # batches whose gradients make one update
        self.updates_left: int | None = None  # an end that may come before that of the passes
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def __iter__(self) -> Iterator[Block]:
        """The blocks from the position to the end of the Lightning epoch it lies in."""
        elements = self.batch_size * self.accumulate * max(1, self.x[0].numel())
        longest = max(1, min(MAX_UPDATES, MAX_ELEMENTS // elements))
        passes, batches = self.passes, self.batches
        epoch = passes // self.passes_per_epoch
        last_pass = min((epoch + 1) * self.passes_per_epoch, self.passes_in_total)
        remaining = (last_pass - passes) * self.updates_per_pass - batches // self.accumulate
        left = self.updates_left
        if left is not None:
            remaining = min(remaining, left)
        while remaining > 0:
            updates = min(longest, remaining)
            yield Block(self, passes, batches, updates, left)
            remaining -= updates
            left = None if left is None else left - updates
            passes, batches = self.advanced(passes, batches, updates)

    @property
    def updates_per_pass(self) -> int:
        """A pass ends with an update, even where fewer batches than ``accumulate`` are left for it."""
        return -(-self.batches_per_pass // self.accumulate)

    def advanced(self, passes: int, batches: int, updates: int) -> tuple[int, int]:
        """The position so many updates further."""
        further, within = divmod(batches // self.accumulate + updates, self.updates_per_pass)
        return passes + further, within * self.accumulate

    def batch(self, passes: int, batches: int) -> Batch:
        """Batch number ``batches`` of pass number ``passes``, both counted from 0."""
        if self.batches_per_pass == 1:
            return self.x, self.y
        rows = self.order(passes)[batches * self.batch_size : (batches + 1) * self.batch_size]
        return self.x[rows], self.y[rows]

    def order(self, passes: int) -> Tensor:
        """The permutation of the rows in one pass."""
        if self._order[0] != passes:
            drawn = torch.randperm(len(self.y), generator=generator(self.seed, "order", passes))
            self._order = passes, drawn.to(self.x.device)
        return self._order[1]

    def to(self, device: torch.device) -> None:
        if self.x.device != device:
            self.x, self.y = self.x.to(device), self.y.to(device)
            self._order = (-1, torch.empty(0))


class Batches:
    """Rows in their order, in large batches: what evaluation reads."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.batch_size = max(1, MAX_ELEMENTS // max(1, x[0].numel())) if len(y) else 1

    def __len__(self) -> int:
        return -(-len(self.y) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return zip(self.x.split(self.batch_size), self.y.split(self.batch_size), strict=True)
