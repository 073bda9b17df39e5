"""What a network makes of a row on its way to the logit: how much it is, and whether convolutions make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from logreg.core._compat import TorchDispatchMode, tree_leaves
from logreg.data.rows import MAX_ELEMENTS, Rows, dense_rows
from logreg.optim.objective import logit_function

TRIED = 8  # rows


@dataclass(frozen=True)
class Footprint:
    """Of the networks of a fit, on its rows.

    Attributes:
        numbers: that are made of one row, all layers together.
        convolves: whether convolutions are among what makes them.
        at_once: rows that are better looked at together at the most, see `logreg.data.rows.Rows`.
    """

    numbers: int = 0
    convolves: bool = False
    at_once: int = MAX_ELEMENTS


@torch.no_grad()
def footprint(network: nn.Module, rows: Rows) -> Footprint:
    """Found out by a forward pass of a few rows, whether layers or functions make it up."""
    x = dense_rows(rows.span(0, TRIED)[0].cpu().float(), TRIED)
    with _AllocationCounter() as counter:
        logit_function(network)(x)
    return Footprint(-(-counter.bytes // (len(x) * x.element_size())), counter.convolves, rows.at_once)


class _AllocationCounter(TorchDispatchMode):
    """Counts the bytes of the results of operations that are not views of their inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.convolves = 0, False

    def __torch_dispatch__(
        self,
        operation: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = operation(*args, **(kwargs or {}))
        inputs = {part.untyped_storage().data_ptr() for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)}
        for part in tree_leaves(result):
            if isinstance(part, Tensor) and part.untyped_storage().data_ptr() not in inputs:
                self.bytes += part.nbytes
        self.convolves |= "convolution" in str(operation)
        return result
