"""What a resumed run takes from its checkpoint besides Lightning's own state, and what from its configuration."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

PLATEAU_SETTINGS = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lrs", "eps")


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of the generators that layers such as dropout draw from, by device."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Go on drawing where a run stopped; one that was resumed on another device has no state of it."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def apply_settings(
    optimizer: Optimizer, scheduler: LRScheduler | None, fresh: Optimizer, fresh_scheduler: LRScheduler | None
) -> None:
    """Give an optimizer and a scheduler, which keep the state of a checkpoint, the settings of this configuration.

    Args:
        fresh, fresh_scheduler: as this configuration makes them.
    """
    if isinstance(scheduler, ReduceLROnPlateau):
        for name in PLATEAU_SETTINGS:
            setattr(scheduler, name, getattr(fresh_scheduler, name))
        for group, restored in zip(fresh.param_groups, optimizer.param_groups, strict=True):
            group["lr"] = restored["lr"]  # which the validation losses have led to
    elif scheduler is not None and fresh_scheduler is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch misses the optimizer's own steps in between
            # The only state of such a scheduler is the number of its steps, so the new settings are stepped as far.
            for _ in range(scheduler.last_epoch):
                fresh_scheduler.step()
        scheduler.load_state_dict(fresh_scheduler.state_dict())
    for group, new in zip(optimizer.param_groups, fresh.param_groups, strict=True):
        group.update({key: value for key, value in new.items() if key != "params"})
