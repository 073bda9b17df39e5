"""What a network makes of a row on its way to the logit: how much it is, and whether convolutions make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    with _Watch() as seen:
        logit_function(network)(x)
    return Footprint(-(-seen.bytes // (len(x) * x.element_size())), seen.convolves, rows.at_once)


class _Watch(TorchDispatchMode):
    """Counts what operations make anew; views take no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.convolves = 0, False

    def __torch_dispatch__(
        self,
        operation: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = operation(*args, **(kwargs or {}))
        given = {part.untyped_storage().data_ptr() for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)}
        for part in tree_leaves(found):
            if isinstance(part, Tensor) and part.untyped_storage().data_ptr() not in given:
                self.bytes += part.nbytes
        self.convolves |= "convolution" in str(operation)
        return found
