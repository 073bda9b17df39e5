"""One seed, several independent streams.

A draw added to one stream never shifts another, and the order of pass 700 is known without drawing the 699 before it,
which is what makes a resumed run equal an unbroken one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_STREAMS = {"split": 1, "order": 2, "subsample": 3, "augment": 4}


def derive(seed: int, stream: str, index: int = 0) -> int:
    """A 63-bit seed for one stream of a run (see `_STREAMS`) and one index of it, such as the pass."""
    entropy = np.random.SeedSequence([seed, _STREAMS[stream], index])
    return int(entropy.generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, stream: str, index: int = 0) -> torch.Generator:
    """A CPU generator seeded with `derive`."""
    import torch  # processes that draw no tensors need none of it

    return torch.Generator().manual_seed(derive(seed, stream, index))
