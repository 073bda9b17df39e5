"""Every name of Lightning's and torch's that is not public, and what it stands for; tests/core/test_compat.py holds it.

Lightning counts a training step as one update. A training step of `BinaryClassifier` makes a block of them, and calling
Lightning's wrapper of the optimizer for each would take longer than the update itself. So its counters are advanced
here: ``trainer.global_step``, ``max_steps`` and the step of everything a user logs read them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import nn
from torch._ops import OpOverload
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

__all__ = ["OpOverload", "TorchDispatchMode", "tree_leaves"]  # and what is defined here

Normalisation = _NormBase  # batch and instance normalisation of any number of dimensions: they have running statistics
Dropout = _DropoutNd  # dropout of any number of dimensions: it draws at random

OF_EACH_GROUP = ("base_lrs", "_last_lr")  # in the state of a scheduler: a number for each group of parameters

MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
PARAMETER_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")

LEAF_SPEC = r"`isinstance\(treespec, LeafSpec\)` is deprecated"  # of torch 2.13, to Lightning 2.6


def has_hooks(network: nn.Module) -> bool:
    """Whether anything listens to the passes through a network or to its gradients."""
    of_modules = any(getattr(module, name) for module in network.modules() for name in MODULE_HOOKS)
    return of_modules or any(getattr(p, name, None) for p in network.parameters() for name in PARAMETER_HOOKS)


def start_counting(trainer: Trainer) -> None:
    """Let what is logged per training step begin at the updates that have been made, also in a resumed run."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


def count_updates(trainer: Trainer, updates: int) -> None:
    """Count the updates of one training step."""
    loop = trainer.fit_loop.epoch_loop
    progress = loop.manual_optimization.optim_step_progress
    for tracker in (progress.total, progress.current):
        tracker.ready += updates
        tracker.completed += updates
    loop._batches_that_stepped += updates - 1  # Lightning adds one per training step


def resume_updates(trainer: Trainer, updates: int) -> None:
    """Set ``trainer.global_step`` to that of a checkpoint whose other counters are left out."""
    total = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
    total.ready = total.completed = updates


def end_at(trainer: Trainer, epochs: int, updates: int) -> None:
    """Let a fit end after these numbers of Lightning's epochs and of updates, whichever comes first."""
    trainer.fit_loop.max_epochs = epochs
    trainer.fit_loop.epoch_loop.max_steps = updates


@contextmanager
def fitting(trainer: Trainer, *names: str) -> Iterator[None]:
    """Give a Trainer its ends and these settings back, and keep to itself what Lightning should not ask of torch."""
    loop, settings = trainer.fit_loop, {name: getattr(trainer, name) for name in names}
    epochs, updates = loop.max_epochs, loop.epoch_loop.max_steps
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", LEAF_SPEC, FutureWarning, r"lightning\.pytorch\.utilities\._pytree")
            yield
    finally:
        loop.max_epochs, loop.epoch_loop.max_steps = epochs, updates
        for name, value in settings.items():
            setattr(trainer, name, value)
