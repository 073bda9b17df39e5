"""What training is held against, and what interrupts it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from logreg.data import InMemoryData
from logreg.data.blocks import BlockLoader


def bare_loop(
    data: InMemoryData,
    passes: int,
    make: Any,
    l2: float = 0.0,
    scheduler: Any = None,
    clip: Any = None,
    accumulate: int = 1,
) -> tuple[list[float], nn.Module]:
    """The textbook loop with autograd over the same batches; the loss before each update, and the network."""
    loader = BlockLoader(data.served("train"), data.batch_size, data.seed)
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(data.num_features, 1), nn.Sigmoid())
    optimizer = make(network.parameters())
    schedule = scheduler(optimizer) if scheduler else None
    losses = []
    for number in range(passes):
        for first in range(0, loader.batches_per_pass, accumulate):
            group = [loader.batch(number, i) for i in range(first, min(first + accumulate, loader.batches_per_pass))]
            optimizer.zero_grad()
            values = []
            for xb, yb in group:
                loss = F.binary_cross_entropy(network(xb).squeeze(1), yb) + l2 / 2 * network[0].weight.square().sum()
                (loss / accumulate).backward()
                values.append((float(loss.detach()), len(yb)))
            if clip:
                clip(network.parameters())
            optimizer.step()
            losses.append(sum(value * n for value, n in values) / sum(n for _, n in values))
        if schedule:
            schedule.step()
    return losses, network


class Stop(Callback):
    """Presses Ctrl-C, so to speak, when this many blocks have been trained."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step >= self.after:
            pl_module.stop()
