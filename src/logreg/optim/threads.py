"""Several blocks of rows at once, each in one thread from beginning to end.

Threads that share every single operation, as those of torch and of BLAS do, wait for each other after each of them. For
operations of less than a millisecond that costs much, and very much where another process takes a core away meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

Sums = list[Tensor]

LEAST_BLOCKS = 4  # for which starting threads pays

_outside: ContextVar[int | None] = ContextVar("threads that torch had outside of `torch_in_one_thread`", default=None)


@contextmanager
def torch_in_one_thread() -> Iterator[int]:
    """Torch wakes no threads, and numpy, as torch does, says nothing of numbers that are not finite.

    Yields:
        How many threads there are to share out, also where one such context is inside another.
    """
    here = torch.get_num_threads()
    threads = _outside.get() or here
    token = _outside.set(threads)
    torch.set_num_threads(1)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield threads
    finally:
        _outside.reset(token)
        torch.set_num_threads(here)


def summed(work: Callable[[int], Sums], blocks: int, device: torch.device, at_once: bool = True) -> Sums:
    """The sums, over all blocks, of what ``work`` makes of each, given its number.

    Args:
        work: returns tensors that are its own, of the same shapes for all blocks.
        device: where it works; on others than the CPU one block comes after the other.
        at_once: whether threads work on a block each; otherwise one block comes after the other, and the threads of
            BLAS share each product.
    """
    if device.type != "cpu":
        return _of_some(work, range(blocks))
    with torch_in_one_thread() as threads:
        workers = min(threads, blocks) if blocks >= LEAST_BLOCKS else 1
        if not at_once:
            return _of_some(work, range(blocks))
        with _blas().limit(limits=1, user_api="blas"):
            if workers == 1:
                return _of_some(work, range(blocks))
            with ThreadPoolExecutor(workers, initializer=_alone) as pool:
                shares = [range(k, blocks, workers) for k in range(workers)]
                parts = list(pool.map(_of_some, [work] * workers, shares))
    return [sum(of_all[1:], start=of_all[0]) for of_all in zip(*parts, strict=True)]


@cache
def _blas() -> ThreadpoolController:
    """The libraries that are loaded, looked for once: it takes as long as a pass over 100,000 rows."""
    return ThreadpoolController()


def _alone() -> None:
    torch.set_num_threads(1)
    np.seterr(over="ignore", invalid="ignore")


def _of_some(work: Callable[[int], Sums], blocks: range) -> Sums:
    total = work(blocks[0])
    for block in blocks[1:]:
        for part, further in zip(total, work(block), strict=True):
            part += further
    return total
