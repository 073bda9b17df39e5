"""Training rows, served as blocks of consecutive batches.

Lightning spends a millisecond on every training step, several times what an update of a small model takes. So a
training step here receives a *block*: up to 100 batches, each of which becomes one update. A block knows where it
stands in the run, and the order of a pass is a function of the seed and the pass alone, so a run can stop after any
update and go on from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from logreg.core.seeds import generator
from logreg.data.rows import Batch, LargeBatch, Rows

# A block is what happens between two looks at the clock (progress bar, log files, Lightning's hooks): at most this many
# updates, and fewer when a batch is large, so that a block of any table takes a fraction of a second.
MAX_UPDATES = 100
# The order of a pass is drawn in windows of ``WINDOW`` rows; each gathers stretches from all over the table: its
# memory does not grow with the table, and what is read together lies together on disk. A table of no more rows than a
# window is simply permuted.
WINDOW, STRETCH = 2**20, 2**10


@runtime_checkable
class BatchChange(Protocol):
    """Changes training batches at random."""

    def start(self, seed: int, index: int) -> Callable[[Batch], Batch]:
        """The change of batch number ``index`` of a run, to be called with its parts in their order."""


@dataclass(frozen=True)
class PassPlan:
    """How a run goes over its training rows.

    Attributes:
        passes: over the rows, from the start of the first run to the end of the last resumed one.
        passes_per_epoch: of a Lightning epoch, which is the stretch between two validations.
        accumulate: batches whose gradients make one update.
        updates_left: an end that may come before that of the passes.
    """

    passes: int = 1
    passes_per_epoch: int = 1
    accumulate: int = 1
    updates_left: int | None = None


class Block:
    """Consecutive updates, their batches cut from the table only when they are iterated over.

    Iterating yields, per update, its batches (several where gradients accumulate; see `logreg.data.rows`) and whether
    the pass over the rows ends with it.
    """

    def __init__(self, loader: BlockLoader, passes: int, batches: int, updates: int, left: int | None = None) -> None:
        self.loader, self.passes, self.batches, self.updates, self.left = loader, passes, batches, updates, left
        self._look: Callable[[int], None] | None = None

    def __len__(self) -> int:
        return self.updates

    @property
    def rows(self) -> Rows:
        """All training rows."""
        return self.loader.rows

    def __iter__(self) -> Iterator[tuple[list[Batch | LargeBatch], bool]]:
        loader, passes, batches = self.loader, self.passes, self.batches
        for number in range(self.updates):
            if self._look is not None:
                self._look(number)
            end = min(batches + loader.plan.accumulate, loader.batches_per_pass)
            ends_pass = end == loader.batches_per_pass
            yield [loader.batch(passes, i) for i in range(batches, end)], ends_pass
            passes, batches = (passes + 1, 0) if ends_pass else (passes, end)

    def watch(self, look: Callable[[int], None]) -> None:
        """Call ``look`` with the number of each update of the block, from 0, when all before it have been made."""
        self._look = look

    def to(self, device: torch.device, **_: object) -> Block:
        """Called by Lightning: the table moves once, not each batch."""
        self.loader.rows.to(device)
        return self

    def consumed(self, updates: int) -> None:
        """Record that the first ``updates`` of this block have been made: a checkpoint goes on after them."""
        position = self.loader.advanced(self.passes, self.batches, updates)
        self.loader.go_on(position, None if self.left is None else self.left - updates)

    def finish(self) -> None:
        """Serve no further block."""
        self.loader.finish()

    def epoch(self, update: int) -> int:
        """Whole passes made before update number ``update`` of this block."""
        return self.loader.advanced(self.passes, self.batches, update)[0]


class SingleBatch:
    """One batch of an ordinary `DataLoader`, in the form of a block; all rows are not at hand."""

    rows: None = None

    def __init__(self, batch: Sequence[Tensor], passes: int) -> None:
        x, y = batch
        self.batch: Batch | LargeBatch = (x, y)
        self.passes = passes

    def __iter__(self) -> Iterator[tuple[list[Batch | LargeBatch], bool]]:
        yield [self.batch], False

    def consumed(self, updates: int) -> None:
        """The loader keeps its own position."""

    def finish(self) -> None:
        """There is no further one."""

    def epoch(self, update: int) -> int:
        return self.passes


class BlockLoader:
    """Serves the passes of a plan over the rows as blocks.

    Args:
        batch_size: rows per batch; None is the full batch, in the order of the table. The last batch of a pass may be
            smaller.
        seed: fixes the order of every pass.
        position: passes that have been made, and batches of the pass in progress.
        augmentation: changes batches at random; None where each pass sees the rows as they are.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int | None,
        seed: int,
        plan: PassPlan | None = None,
        position: tuple[int, int] = (0, 0),
        augmentation: BatchChange | None = None,
    ) -> None:
        self.rows, self.seed, self.plan, self.augmentation = rows, seed, plan or PassPlan(), augmentation
        self.batch_size = len(rows) if batch_size is None else min(batch_size, len(rows))
        self.batches_per_pass = -(-len(rows) // self.batch_size)
        self.go_on(position, self.plan.updates_left)
        self._finished = False
        self._stretches: tuple[int, Tensor] = (-1, torch.empty(0))
        self._window: tuple[int, int, Tensor] = (-1, -1, torch.empty(0))

    def __iter__(self) -> Iterator[Block]:
        """The blocks from the position to the end of the Lightning epoch it lies in."""
        plan = self.plan
        elements = self.batch_size * plan.accumulate * self.rows.width
        longest = max(1, min(MAX_UPDATES, self.rows.elements // elements))
        passes, batches = self.passes, self.batches
        epoch = passes // plan.passes_per_epoch
        last_pass = min((epoch + 1) * plan.passes_per_epoch, plan.passes)
        remaining = (last_pass - passes) * self.updates_per_pass - batches // plan.accumulate
        left = self.updates_left
        if left is not None:
            remaining = min(remaining, left)
        while remaining > 0 and not self._finished:
            updates = min(longest, remaining)
            yield Block(self, passes, batches, updates, left)
            remaining -= updates
            left = None if left is None else left - updates
            passes, batches = self.advanced(passes, batches, updates)

    def go_on(self, position: tuple[int, int], updates_left: int | None) -> None:
        """Begin the next block at another position: that of a checkpoint, or one that an update came to."""
        self.passes, self.batches = position
        self.updates_left = updates_left

    def finish(self) -> None:
        """Serve no further block."""
        self._finished = True

    @property
    def updates_per_pass(self) -> int:
        """A pass ends with an update, even where fewer batches than ``accumulate`` are left for it."""
        return -(-self.batches_per_pass // self.plan.accumulate)

    def advanced(self, passes: int, batches: int, updates: int) -> tuple[int, int]:
        """The position ``updates`` updates further."""
        further, within = divmod(batches // self.plan.accumulate + updates, self.updates_per_pass)
        return passes + further, within * self.plan.accumulate

    def batch(self, passes: int, batches: int) -> Batch | LargeBatch:
        """Batch number ``batches`` of pass number ``passes``, both counted from 0."""
        if self.batches_per_pass == 1:
            batch = self.rows.everything()
        else:
            first = batches * self.batch_size
            batch = self.rows.take(self.positions(passes, first, min(first + self.batch_size, len(self.rows))))
        return batch if self.augmentation is None else self._augmented(batch, passes, batches)

    def _augmented(self, batch: Batch | LargeBatch, passes: int, batches: int) -> Batch | LargeBatch:
        """With draws that depend on the seed and the position alone, as the order does."""
        assert self.augmentation is not None
        start = partial(self.augmentation.start, self.seed, passes * self.batches_per_pass + batches)
        return LargeBatch(batch.rows, start) if isinstance(batch, LargeBatch) else start()(batch)

    def positions(self, passes: int, first: int, end: int) -> Tensor:
        """Where the rows number ``first`` to ``end`` of a pass stand in the table."""
        pieces = []
        while first < end:
            window, start = divmod(first, WINDOW)
            order = self._window_order(passes, window)
            taken = min(end - first, len(order) - start)
            pieces.append(order[start : start + taken])
            first += taken
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _window_order(self, passes: int, window: int) -> Tensor:
        if self._window[:2] != (passes, window):
            rows = len(self.rows)
            if rows <= WINDOW:
                order = torch.randperm(rows, generator=generator(self.seed, "order", passes))
            else:
                chosen = self._all_stretches(passes)[window * (WINDOW // STRETCH) : (window + 1) * (WINDOW // STRETCH)]
                order = (chosen[:, None] * STRETCH + torch.arange(STRETCH)).reshape(-1)
                order = order[order < rows]
                # A stretch cut off by the table's end stands last, so that all windows but the last are full.
                drawn = generator(self.seed, "order", passes * 2**20 + window + 1)
                order = order[torch.randperm(len(order), generator=drawn)]
            self._window = passes, window, order.to(self.rows.y.device)
        return self._window[2]

    def _all_stretches(self, passes: int) -> Tensor:
        if self._stretches[0] != passes:
            full, rest = divmod(len(self.rows), STRETCH)
            drawn = torch.randperm(full, generator=generator(self.seed, "order", passes))
            self._stretches = passes, torch.cat([drawn, torch.tensor([full])]) if rest else drawn
        return self._stretches[1]


class EvaluationBatches:
    """Rows in their order, in large batches: what evaluation reads."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return -(-len(self.rows) // self.rows.at_once)

    def __iter__(self) -> Iterator[Batch]:
        for first in range(0, len(self.rows), self.rows.at_once):
            yield self.rows.span(first, first + self.rows.at_once)
