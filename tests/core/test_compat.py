"""What each name stands for that Lightning and torch do not promise, held against what they do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader

from logreg.core import _compat
from logreg.records.record import read_history

UPDATES = 7  # of a training step


class Counting(LightningModule):
    """A training step makes several updates, past Lightning's wrapper of the optimizer."""

    def __init__(self, start: int = 0) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.layer, self.start = nn.Linear(1, 1), start
        self.steps: list[int] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_train_start(self) -> None:
        _compat.resume_updates(self.trainer, self.start)
        _compat.start_counting(self.trainer)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.steps.append(self.trainer.global_step)
        self.log("seen", float(batch_idx))
        _compat.count_updates(self.trainer, UPDATES)


def fitted(directory: Path, start: int = 0, **settings: Any) -> tuple[Counting, Trainer]:
    module = Counting(start)
    defaults = {"max_epochs": 1, "log_every_n_steps": 1, "accelerator": "cpu"}
    trainer = Trainer(
        logger=CSVLogger(directory, name="", version=""), default_root_dir=directory, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, **(defaults | settings),
    )  # fmt: skip
    trainer.fit(module, DataLoader(torch.zeros(5, 1)))
    return module, trainer


def test_updates_counted_are_lightnings_global_step_and_the_step_of_what_is_logged(tmp_path: Path) -> None:
    module, trainer = fitted(tmp_path)
    assert trainer.global_step == 5 * UPDATES
    assert module.steps == [0, 7, 14, 21, 28]
    logged = [row["step"] for row in read_history(tmp_path) if "seen" in row]
    assert logged == [6, 13, 20, 27, 34]  # Lightning's own: the last update of each training step


def test_a_resumed_run_counts_on(tmp_path: Path) -> None:
    module, trainer = fitted(tmp_path, start=100)
    assert module.steps[0] == 100
    assert trainer.global_step == 135
    assert next(row["step"] for row in read_history(tmp_path) if "seen" in row) == 106


def test_max_steps_ends_by_the_updates_counted(tmp_path: Path) -> None:
    module, _ = fitted(tmp_path, max_steps=2 * UPDATES)
    assert len(module.steps) == 2


def test_ends_are_set_and_given_back(tmp_path: Path) -> None:
    trainer = Trainer(max_epochs=3, max_steps=40, logger=False, accelerator="cpu", enable_checkpointing=False)
    with _compat.fitting(trainer):
        _compat.end_at(trainer, epochs=5, updates=60)
        assert (trainer.max_epochs, trainer.max_steps) == (5, 60)
    assert (trainer.max_epochs, trainer.max_steps) == (3, 40)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.InstanceNorm1d(2), nn.SyncBatchNorm(2)])
def test_layers_with_running_statistics(layer: nn.Module) -> None:
    assert isinstance(layer, _compat.Normalisation)
    assert not isinstance(nn.LayerNorm(2), _compat.Normalisation)


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout()])
def test_layers_that_draw(layer: nn.Module) -> None:
    assert isinstance(layer, _compat.Dropout)


def test_every_way_to_listen_to_a_network_is_seen() -> None:
    def listen(*_: Any) -> None:
        return None

    def attach(network: nn.Module) -> list[Any]:
        parameter = next(network.parameters())
        return [
            network.register_forward_hook, network.register_forward_pre_hook, network.register_full_backward_hook,
            network.register_full_backward_pre_hook, parameter.register_hook,
            parameter.register_post_accumulate_grad_hook,
        ]  # fmt: skip

    for i in range(6):
        network = nn.Linear(2, 1)
        assert not _compat.has_hooks(network)
        handle = attach(network)[i](listen)
        assert _compat.has_hooks(network)
        handle.remove()
        assert not _compat.has_hooks(network)


def test_a_dispatch_mode_sees_every_operation_and_leaves_are_its_tensors() -> None:
    operations: list[str] = []

    class Watch(_compat.TorchDispatchMode):
        def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            operations.append(str(operation))
            assert all(isinstance(leaf, torch.Tensor) for leaf in _compat.tree_leaves(args))
            return operation(*args, **(kwargs or {}))

    ones = torch.ones(2)
    with Watch():
        ones.sin().cos()
    assert [name.split(".")[1] for name in operations[-2:]] == ["sin", "cos"]


def test_operations_of_a_program_are_overloads() -> None:
    assert isinstance(torch.ops.aten.conv2d.default, _compat.OpOverload)


def test_a_scheduler_keeps_a_number_for_each_group() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.2)]
    state = torch.optim.lr_scheduler.StepLR(torch.optim.SGD(groups), 1).state_dict()
    assert {key for key, value in state.items() if isinstance(value, list)} == set(_compat.OF_EACH_GROUP)
