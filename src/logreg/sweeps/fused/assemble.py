"""From the configurations of a group of jobs to objects: data, networks, and the settings that they have in common."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn

from logreg.cli.assemble import check_device, check_separation, make_data, parts, threshold_rule
from logreg.core._compat import Dropout, Normalisation
from logreg.core.build import build, build_metrics, build_network, optimizer_factory, scheduler_factory
from logreg.core.settings import AUTO
from logreg.data.datamodule import BlockData
from logreg.data.rows import TensorRows, dense_rows
from logreg.data.splits import SPLITS
from logreg.evaluation.calibration import check_labels
from logreg.optim.losses import LOG_LOSS
from logreg.optim.objective import check_network, is_observed
from logreg.sweeps.fused.fit import FusedJob, GroupSettings
from logreg.training.callbacks import Checkpoints
from logreg.training.checks import check_held_out, check_monitor, check_parts
from logreg.training.classifier import BinaryClassifier
from logreg.training.measure import validation_labels
from logreg.training.updates import UpdateOptions

Config = dict[str, Any]
SERVING = ("train_dataloader", "tensors", "batches")  # what a DataModule of blocks must not do differently
NOT_IN_MEMORY = "its table is not one that is kept in memory"
DTYPES = {"32-true": torch.float32, "64-true": torch.float64}


@dataclass
class GroupMember:
    """One job of a group.

    Attributes:
        position: in the sweep.
        config: with its penalty as a number.
        random_state: of torch's generator after the network was drawn.
        notes: what was logged while the data was read.
    """

    position: int
    config: Config
    data: BlockData
    network: nn.Module
    random_state: Tensor
    notes: Sequence[logging.LogRecord]

    def job(self, table: int) -> FusedJob:
        c = self.config
        keywords = {k: tuple(v) if isinstance(v, list) else v for k, v in c["optimizer"].items() if k != "_target_"}
        threshold = c["threshold"] if isinstance(c["threshold"], float) else 0.5
        penalty = c["penalty"]["l1"], c["penalty"]["l2"]
        return FusedJob(table, self.network, keywords, c["scheduler"], *penalty, c["epochs"], threshold)


class CannotFuse(Exception):
    """Why jobs that are alike cannot share a fit, as it showed when their objects were made."""


@contextlib.contextmanager
def _notes() -> Iterator[list[logging.LogRecord]]:
    """What the project logs meanwhile; it is said on the terminal all the same."""
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign, assignment]
    logger = logging.getLogger("logreg")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


class Assembler:
    """Makes the objects of jobs; those that several share are made once."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self.trusted = trusted
        self._data: dict[str, BlockData] = {}
        self._notes: dict[int, list[logging.LogRecord]] = {}  # by the identity of the data
        self._networks: dict[str, tuple[nn.Module, Tensor]] = {}
        self._checked: dict[str, Any] = {}

    def member(self, position: int, config: Config) -> GroupMember:
        """One job.

        Raises:
            UserError: its configuration is not valid.
            CannotFuse: its data or model is of a kind that each run has for itself.
        """
        check_device(config["trainer"]["accelerator"])
        self._once(config["optimizer"], lambda: optimizer_factory(config["optimizer"], self.trusted))
        self._once(config["scheduler"], lambda: scheduler_factory(config["scheduler"], self.trusted))
        data = self._table(config)
        config = config | {"penalty": dict(config["penalty"])}
        if config["penalty"]["l2"] == AUTO:
            config["penalty"]["l2"] = 1 / data.training_weight
        plateau = str(config["scheduler"].get("_target_", "")).endswith(".ReduceLROnPlateau")
        if not len(data.rows["val"]):
            check_held_out(threshold_rule(config), plateau)
        if (method := config.get("calibration")) is not None:
            check_labels(method, validation_labels(data.batches("val") if len(data.rows["val"]) else None))
        network, state = self._network(config, data.num_features)
        return GroupMember(position, config, data, network, state, self._notes[id(data)])

    def _once(self, node: Any, check: Callable[[], Any]) -> Any:
        key = json.dumps(node, sort_keys=True, default=str)
        if key not in self._checked:
            self._checked[key] = check()
        return self._checked[key]

    def _table(self, config: Config) -> BlockData:
        key = json.dumps([config["data"], config.get("class_weight")], sort_keys=True, default=str)
        if key not in self._data:
            with _notes() as notes:
                data = make_data(config, self.trusted).blocks
            if data is None:
                raise CannotFuse(NOT_IN_MEMORY)
            self._data[key], self._notes[id(data)] = data, notes
            if any(data.is_large(split) for split in SPLITS):
                raise CannotFuse(NOT_IN_MEMORY)
            if any(getattr(type(data), name) is not getattr(BlockData, name) for name in SERVING):
                raise CannotFuse(f"{type(data).__name__} serves its rows in a way of its own")
            data.serve(DTYPES[config["trainer"]["precision"]])
            if not isinstance(data.served("train"), TensorRows):
                raise CannotFuse("its table is sparse")
        return self._data[key]

    def _network(self, config: Config, features: int) -> tuple[nn.Module, Tensor]:
        key = json.dumps([config["model"], config["seed"], features], sort_keys=True, default=str)
        if key not in self._networks:
            torch.default_generator.manual_seed(config["seed"])  # of the CPU alone: a tenth of the time
            network = build_network(config["model"], features, self.trusted)
            for module in network.modules():
                if isinstance(module, Normalisation | Dropout):
                    raise CannotFuse(f"its model has {type(module).__name__}")
            alone = {name for name, _ in network.named_parameters()}
            if set(network.state_dict()) != alone or list(network.buffers()) or is_observed(network):
                raise CannotFuse("its model has buffers, hooks, shared or frozen parameters")
            self._networks[key] = network, torch.get_rng_state()
        return self._networks[key]

    def settings(self, member: GroupMember) -> GroupSettings:
        """What a group has in common, read off one of its jobs.

        Raises:
            UserError: its parts do not fit together.
        """
        config, trainer = member.config, member.config["trainer"]
        metrics = build_metrics(config["metrics"], self.trusted)
        nodes = parts(config["callbacks"])
        callbacks = [build(node, Callback, f"callbacks.{key}", self.trusted) for key, node in nodes]
        factory = self._once(config["optimizer"], lambda: None)
        scheduler = self._once(config["scheduler"], lambda: None)
        loss = config.get("loss", LOG_LOSS.name)
        classifier = BinaryClassifier(member.network, factory, scheduler, loss=loss, metrics=metrics)
        check_monitor(config["monitor"], classifier, member.data)
        check_separation(config, classifier, member.data)
        options = UpdateOptions(trainer["gradient_clip_val"] or 0.0, str(trainer["gradient_clip_algorithm"] or "norm"))
        has_val = len(member.data.rows["val"]) > 0
        check_parts(callbacks, classifier, options, member.data, has_val)
        stopping = next((c for c in callbacks if isinstance(c, EarlyStopping)), None)
        checkpoints = next((c for c in callbacks if isinstance(c, Checkpoints)), None)
        for callback in (stopping, checkpoints) if has_val else ():
            if callback is not None:
                check_monitor(callback.monitor, classifier, member.data)
        check_network(member.network, dense_rows(member.data.served("train").cut(0, 8)[0].float(), 8))
        return GroupSettings(
            type(factory([nn.Parameter(torch.zeros(1, 1))])),
            lambda node: scheduler_factory(node, self.trusted),
            metrics,
            checkpoints.monitor if checkpoints else None,
            checkpoints.mode if checkpoints else config["mode"],
            stopping,
            trainer["log_every_n_steps"],
            trainer["check_val_every_n_epoch"] or 1,
            options.clip_value,
            options.clip_algorithm,
            DTYPES[trainer["precision"]],
            _device(trainer["accelerator"]),
            classifier.loss,
        )


def _device(accelerator: str) -> torch.device:
    return torch.device("cuda:0" if accelerator in ("gpu", "cuda") else accelerator)
