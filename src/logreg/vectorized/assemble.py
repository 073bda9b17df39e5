"""From the configurations of a group of jobs to fits: data, networks, settings, stacked where they have one shape."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from logreg.build import build, build_metrics, build_network, optimizer_factory, scheduler_factory
from logreg.callbacks import Checkpoints
from logreg.classifier import BinaryClassifier
from logreg.data.block_data import BlockData
from logreg.data.rows import TensorRows, dense_rows
from logreg.data.splits import SPLITS
from logreg.errors import UserError
from logreg.experiment import check_device, make_data, parts, threshold_rule
from logreg.objective import check_network, is_observed
from logreg.settings import AUTO
from logreg.training import check_parts
from logreg.vectorized.fit import Job, Settings

Config = dict[str, Any]
MEMORY_SHARE = 0.25  # of what is free, for one fit
PLACES = 16  # jobs of a table come in multiples of so many, if there are several
SERVING = ("train_dataloader", "tensors", "batches")  # what a DataModule of blocks must not do differently
DTYPES = {"32-true": torch.float32, "64-true": torch.float64}


@dataclass
class Member:
    """One job of a group.

    Attributes:
        position: in the sweep.
        config: with its penalty as a number.
        random_state: of torch's generator after the network was drawn.
    """

    position: int
    config: Config
    data: BlockData
    network: nn.Module
    random_state: Tensor

    def job(self, table: int) -> Job:
        c = self.config
        keywords = {k: tuple(v) if isinstance(v, list) else v for k, v in c["optimizer"].items() if k != "_target_"}
        threshold = c["threshold"] if isinstance(c["threshold"], float) else 0.5
        return Job(table, self.network, keywords, c["scheduler"], c["penalty"]["l2"], c["epochs"], threshold)


@dataclass
class Stack:
    """Jobs of one fit, table by table; None fills a place."""

    tables: list[BlockData]
    members: list[Member | None]

    def jobs(self) -> list[Job]:
        of_a_table = len(self.members) // len(self.tables)
        present = [member or self.members[i - i % of_a_table] for i, member in enumerate(self.members)]
        return [member.job(i // of_a_table) for i, member in enumerate(present) if member is not None]

    @property
    def counted(self) -> np.ndarray:
        return np.array([member is not None for member in self.members])


class CannotFuse(Exception):
    """Why jobs that are alike cannot share a fit, as it showed when their objects were made."""


class Assembler:
    """Makes the objects of jobs; those that several share are made once."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self.trusted = trusted
        self._data: dict[str, Any] = {}
        self._networks: dict[str, tuple[nn.Module, Tensor]] = {}
        self._checked: dict[str, Any] = {}

    def member(self, position: int, config: Config) -> Member:
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
        has_val = len(data.rows["val"]) > 0
        if threshold_rule(config) is not None and not has_val:
            raise UserError(f"threshold={config['threshold']} is chosen on validation rows, and there are none.")
        if not has_val and str(config["scheduler"].get("_target_", "")).endswith(".ReduceLROnPlateau"):
            raise UserError("scheduler=plateau watches the validation loss, and there are no validation rows.")
        network, state = self._network(config, data.num_features)
        return Member(position, config, data, network, state)

    def _once(self, node: Any, check: Callable[[], Any]) -> Any:
        key = json.dumps(node, sort_keys=True, default=str)
        if key not in self._checked:
            self._checked[key] = check()
        return self._checked[key]

    def _table(self, config: Config) -> BlockData:
        key = json.dumps(config["data"], sort_keys=True, default=str)
        if key not in self._data:
            data = make_data(config, self.trusted)
            self._data[key] = data
            if not isinstance(data, BlockData) or any(data.is_large(split) for split in SPLITS):
                raise CannotFuse("its table is not one that is kept in memory")
            if any(getattr(type(data), name) is not getattr(BlockData, name) for name in SERVING):
                raise CannotFuse(f"{type(data).__name__} serves its rows in a way of its own")
            data.dtype = DTYPES[config["trainer"]["precision"]]
            if not isinstance(data.served("train"), TensorRows):
                raise CannotFuse("its table is sparse")
        return self._data[key]

    def _network(self, config: Config, features: int) -> tuple[nn.Module, Tensor]:
        key = json.dumps([config["model"], config["seed"], features], sort_keys=True, default=str)
        if key not in self._networks:
            torch.manual_seed(config["seed"])
            network = build_network(config["model"], features, self.trusted)
            for module in network.modules():
                if isinstance(module, _NormBase | _DropoutNd):
                    raise CannotFuse(f"its model has {type(module).__name__}")
            alone = {name for name, _ in network.named_parameters()}
            if set(network.state_dict()) != alone or list(network.buffers()) or is_observed(network):
                raise CannotFuse("its model has buffers, hooks, shared or frozen parameters")
            self._networks[key] = network, torch.get_rng_state()
        return self._networks[key]

    def settings(self, member: Member) -> Settings:
        """What a group has in common, read off one of its jobs.

        Raises:
            UserError: its parts do not fit together.
        """
        config, trainer = member.config, member.config["trainer"]
        metrics = build_metrics(config["metrics"], self.trusted)
        nodes = parts(config["callbacks"])
        callbacks = [build(node, Callback, f"callbacks.{key}", self.trusted) for key, node in nodes]
        factory = self._once(config["optimizer"], lambda: None)
        classifier = BinaryClassifier(member.network, factory, self._once(config["scheduler"], lambda: None))
        classifier.clip_value = trainer["gradient_clip_val"] or 0.0
        has_val = len(member.data.rows["val"]) > 0
        check_parts(SimpleNamespace(callbacks=callbacks), classifier, member.data, has_val)
        stopping = next((c for c in callbacks if isinstance(c, EarlyStopping)), None)
        checkpoints = next((c for c in callbacks if isinstance(c, Checkpoints)), None)
        there = {f"val/{name}" for name in ("loss", "log_loss", *metrics)}
        for callback in (stopping, checkpoints) if has_val else ():
            if callback is not None and callback.monitor not in there:
                raise UserError(f"monitor={callback.monitor}: there is no such metric.")
        check_network(member.network, dense_rows(member.data.served("train").cut(0, 8)[0].float(), 8))
        return Settings(
            type(factory([nn.Parameter(torch.zeros(1, 1))])),
            lambda node: scheduler_factory(node, self.trusted),
            metrics,
            checkpoints.monitor if checkpoints else None,
            checkpoints.mode if checkpoints else config["mode"],
            stopping,
            trainer["log_every_n_steps"],
            trainer["check_val_every_n_epoch"] or 1,
            classifier.clip_value,
            str(trainer["gradient_clip_algorithm"] or "norm"),
            DTYPES[trainer["precision"]],
            _device(trainer["accelerator"]),
        )


def _device(accelerator: str) -> torch.device:
    if accelerator == "gpu":
        accelerator = "cuda" if torch.cuda.is_available() else "mps"
    return torch.device("cuda:0" if accelerator == "cuda" else accelerator)


def stacks(members: Sequence[Member], settings: Settings, memory: int | None) -> list[Stack]:
    """Jobs stacked where their tables have one shape, in as many fits as memory asks for.

    Args:
        memory: bytes that a fit may take; None: a share of what is free.
    """
    by_table: dict[tuple[Any, ...], list[Member]] = {}
    keys = {id(member.data): _content(member.data, settings.dtype) for member in members}
    for member in members:
        by_table.setdefault(keys[id(member.data)], []).append(member)
    by_shape: dict[tuple[Any, ...], list[list[Member]]] = {}
    for of_table in by_table.values():
        data = of_table[0].data
        shape = (*(len(data.rows[split]) for split in SPLITS), data.num_features, len(of_table))
        by_shape.setdefault(shape, []).append(of_table)
    result: list[Stack] = []
    budget = memory or int(MEMORY_SHARE * _free_memory())
    for tables in by_shape.values():
        of_a_table = len(tables[0])
        of_job = _bytes_of_a_job(tables[0][0], settings) + _bytes_of_a_table(tables[0][0], settings) // of_a_table
        most = max(1, budget // of_job)
        if of_a_table > most:
            chunks = [[t[i : i + most]] for t in tables for i in range(0, of_a_table, most)]
        else:
            step = max(1, most // of_a_table)
            chunks = [tables[i : i + step] for i in range(0, len(tables), step)]
        result += [Stack([t[0].data for t in chunk], [m for t in chunk for m in _filled(t)]) for chunk in chunks]
    return result


def _filled(of_table: Sequence[Member]) -> list[Member | None]:
    """The jobs of a table, in a number that a matrix product takes in whole steps.

    Otherwise the last few go another way through the processor, and their last bits depend on how many there are.
    """
    places = len(of_table) if len(of_table) == 1 else -(-len(of_table) // PLACES) * PLACES
    return [*of_table, *[None] * (places - len(of_table))]


def _content(data: BlockData, dtype: torch.dtype) -> tuple[Any, ...]:
    """What makes two tables one to training: their rows, and the order of them where that depends on the seed."""
    data.dtype, digest = dtype, hashlib.sha256()
    for split in SPLITS:
        rows = data.served(split)
        assert isinstance(rows, TensorRows)
        for tensor in (rows.x, rows.y, rows.weight):
            if tensor is not None:
                digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return digest.hexdigest(), None if data.batches_per_pass == 1 else data.seed


def _bytes_of_a_job(member: Member, settings: Settings) -> int:
    data, size = member.data, 8 if settings.dtype == torch.float64 else 4
    rows = max(len(data.rows[split]) for split in SPLITS)
    batch = min(data.batch_size or rows, rows)
    parameters = sum(p.numel() for p in member.network.parameters())
    epochs = member.config["epochs"]
    logged = epochs * data.batches_per_pass // settings.log_every
    validations = epochs // settings.validate_every if len(data.rows["val"]) else 0
    kept = 16 * logged + 8 * (len(settings.metrics) + 2) * validations
    return size * (8 * batch + 6 * rows + 12 * parameters) + kept


def _bytes_of_a_table(member: Member, settings: Settings) -> int:
    """Of its rows as they are stacked, and as they are measured in the end."""
    size = 8 if settings.dtype == torch.float64 else 4
    return 2 * size * member.data.num_features * sum(len(member.data.rows[split]) for split in SPLITS)


def _free_memory() -> int:
    """Bytes that are free or can be freed, on Linux; elsewhere those that there are."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
