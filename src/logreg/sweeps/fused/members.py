"""From the configurations of a group of jobs to objects: data, networks, and the settings that they have in common."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass, replace
from logging.handlers import BufferingHandler
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from logreg.cli.assemble import check_device, check_separation, make_data, threshold_rule
from logreg.core._compat import Dropout, Normalisation
from logreg.core.build import build, build_metrics, build_network, optimizer_factory, scheduler_factory
from logreg.core.components import Component
from logreg.core.settings import Settings
from logreg.data.datamodule import BlockData
from logreg.data.rows import TensorRows, dense_rows
from logreg.data.splits import SPLITS
from logreg.optim.objective import check_network, is_observed
from logreg.sweeps.fused.fit import FusedJob, GroupSettings
from logreg.sweeps.fused.obstacle import class_of
from logreg.training.callbacks import Checkpoints
from logreg.training.checks import check_held_out, check_monitor, check_parts
from logreg.training.classifier import BinaryClassifier
from logreg.training.measure import check_calibration
from logreg.training.updates import FULL_PRECISIONS, UpdateOptions

SERVING = ("train_dataloader", "tensors", "batches")  # what a DataModule of blocks must not do differently
T = TypeVar("T")


@dataclass
class GroupMember:
    """One job of a group."""

    position: int  # in the sweep
    settings: Settings  # with its penalty as a number
    data: BlockData
    network: nn.Module
    random_state: Tensor  # of torch's generator after the network was drawn
    notes: Sequence[logging.LogRecord]  # what was logged while the data was read

    def job(self) -> FusedJob:
        settings, penalty = self.settings, self.settings.penalty
        arguments = settings.optimizer.arguments
        keywords = {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
        weights, threshold = (penalty.l1, float(penalty.l2)), settings.fixed_threshold
        return FusedJob(self.network, keywords, settings.scheduler, *weights, settings.epochs, threshold)


class CannotFuse(Exception):
    """Why jobs that are alike cannot share a fit, as it showed when their objects were made."""


@contextlib.contextmanager
def _notes() -> Iterator[list[logging.LogRecord]]:
    """What the project logs meanwhile; it is said on the terminal all the same."""
    handler = BufferingHandler(sys.maxsize)
    logger = logging.getLogger("logreg")
    logger.addHandler(handler)
    try:
        yield handler.buffer
    finally:
        logger.removeHandler(handler)


class Assembler:
    """Makes the objects of jobs; those that several share are made once."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self.trusted = trusted
        self._objects: dict[str, Any] = {}

    def member(self, position: int, settings: Settings) -> GroupMember:
        """One job.

        Raises:
            UserError: its settings are not valid.
            CannotFuse: its data or model is of a kind that each run has for itself.
        """
        check_device(settings.trainer.accelerator)
        self._optimizer(settings.optimizer)
        self._scheduler(settings.scheduler)
        of_data = _key("data", settings.data, settings.class_weight)
        data, notes = self._shared(of_data, lambda: self._table(settings))
        settings = replace(settings, penalty=settings.penalty.of_rows(data.training_weight))
        plateau = settings.scheduler is not None and class_of(settings.scheduler) is ReduceLROnPlateau
        if not len(data.rows["val"]):
            check_held_out(threshold_rule(settings), plateau)
        check_calibration(settings.calibration, data.batches_of)
        of_network = _key("network", settings.model, settings.seed, data.num_features)
        network, state = self._shared(of_network, lambda: self._network(settings, data.num_features))
        return GroupMember(position, settings, data, network, state, notes)

    def _shared(self, key: str, make: Callable[[], T]) -> T:
        """What jobs share whose settings have the same key, made once for all of them."""
        if key not in self._objects:
            self._objects[key] = make()
        return self._objects[key]

    def _optimizer(self, component: Component) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
        return self._shared(_key("optimizer", component), lambda: optimizer_factory(component, self.trusted))

    def _scheduler(self, component: Component | None) -> Callable[[Optimizer], LRScheduler] | None:
        return self._shared(_key("scheduler", component), lambda: scheduler_factory(component, self.trusted))

    def _table(self, settings: Settings) -> tuple[BlockData, list[logging.LogRecord]]:
        with _notes() as notes:
            data = make_data(settings, self.trusted).blocks
        if data is None or any(data.is_large(split) for split in SPLITS):
            raise CannotFuse("its table is not one that is kept in memory")
        if any(getattr(type(data), name) is not getattr(BlockData, name) for name in SERVING):
            raise CannotFuse(f"{type(data).__name__} serves its rows in a way of its own")
        data.serve(FULL_PRECISIONS[settings.trainer.precision])
        if not isinstance(data.served("train"), TensorRows):
            raise CannotFuse("its table is sparse")
        return data, notes

    def _network(self, settings: Settings, features: int) -> tuple[nn.Module, Tensor]:
        torch.default_generator.manual_seed(settings.seed)  # of the CPU alone: a tenth of the time
        network = build_network(settings.model, features, self.trusted)
        for module in network.modules():
            if isinstance(module, Normalisation | Dropout):
                raise CannotFuse(f"its model has {type(module).__name__}")
        names = {name for name, _ in network.named_parameters()}
        if set(network.state_dict()) != names or list(network.buffers()) or is_observed(network):
            raise CannotFuse("its model has buffers, hooks, shared or frozen parameters")
        return network, torch.get_rng_state()

    def common(self, member: GroupMember) -> GroupSettings:
        """What a group has in common, read off one of its jobs.

        Raises:
            UserError: its parts do not fit together.
        """
        settings, trainer = member.settings, member.settings.trainer
        metrics = build_metrics(settings.metrics, self.trusted)
        callbacks = [
            build(component, Callback, f"callbacks.{key}", self.trusted)
            for key, component in settings.callbacks.items()
        ]
        factory, scheduler = self._optimizer(settings.optimizer), self._scheduler(settings.scheduler)
        classifier = BinaryClassifier(member.network, factory, scheduler, loss=settings.loss, metrics=metrics)
        check_monitor(settings.monitor, classifier, member.data)
        check_separation(settings.separation, classifier, member.data)
        options = UpdateOptions(trainer.gradient_clip_val or 0.0, trainer.gradient_clip_algorithm or "norm")
        has_val = len(member.data.rows["val"]) > 0
        check_parts(callbacks, classifier, options, member.data, has_val)
        stopping = next((c for c in callbacks if isinstance(c, EarlyStopping)), None)
        checkpoints = next((c for c in callbacks if isinstance(c, Checkpoints)), None)
        for callback in (stopping, checkpoints) if has_val else ():
            if callback is not None:
                check_monitor(callback.monitor, classifier, member.data)
        check_network(member.network, dense_rows(member.data.served("train").span(0, 8)[0].float(), 8))
        return GroupSettings(
            type(factory([nn.Parameter(torch.zeros(1, 1))])),
            self._scheduler,
            metrics,
            checkpoints.monitor if checkpoints else None,
            checkpoints.mode if checkpoints else settings.mode,
            stopping,
            trainer.log_every_n_steps or 1,
            trainer.check_val_every_n_epoch or 1,
            options.clip_value,
            options.clip_algorithm,
            FULL_PRECISIONS[trainer.precision],
            torch.device("cuda:0" if settings.accelerator in ("gpu", "cuda") else settings.accelerator),
            classifier.loss,
        )


def _key(*values: object) -> str:
    """A text that is the same for settings that are."""
    return json.dumps(values, sort_keys=True, default=lambda value: vars(value) if is_dataclass(value) else str(value))
