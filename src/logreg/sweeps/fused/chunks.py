"""Which jobs lie in one fit: those whose tables have one shape, as many as memory takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from logreg.core.memory import free_memory
from logreg.data.datamodule import BlockData
from logreg.data.rows import TensorRows
from logreg.data.splits import SPLITS
from logreg.optim.solver import Solver
from logreg.sweeps.fused.assemble import GroupMember
from logreg.sweeps.fused.fit import FusedJob, GroupSettings
from logreg.sweeps.fused.footprint import Footprint, footprint
from logreg.sweeps.fused.networks import GeneralNetworks, NetworksInTurn, form_of

MEMORY_SHARE = 0.25  # of what is free, for one fit
PLACES = 16  # jobs of a table come in multiples of so many, if there are several
FACTORS = 6  # matrices of a solver's job: its Hessian, scaled, its factor, and what these are made from


@dataclass
class Stack:
    """Jobs of one fit, table by table; None fills a place."""

    tables: list[BlockData]
    members: list[GroupMember | None]

    def jobs(self) -> list[FusedJob]:
        of_a_table = len(self.members) // len(self.tables)
        present = [member or self.members[i - i % of_a_table] for i, member in enumerate(self.members)]
        return [member.job(i // of_a_table) for i, member in enumerate(present) if member is not None]

    @property
    def counted(self) -> np.ndarray:
        return np.array([member is not None for member in self.members])


def stacks(members: Sequence[GroupMember], settings: GroupSettings, memory: int) -> list[Stack]:
    """Jobs stacked where their tables have one shape, in as many fits as memory asks for.

    Args:
        memory: bytes that a fit may take.
    """
    by_table: dict[tuple[Any, ...], list[GroupMember]] = {}
    keys = {id(member.data): _content(member.data, settings.dtype) for member in members}
    for member in members:
        by_table.setdefault(keys[id(member.data)], []).append(member)
    by_shape: dict[tuple[Any, ...], list[list[GroupMember]]] = {}
    for of_table in by_table.values():
        data = of_table[0].data
        shape = (*(len(data.rows[split]) for split in SPLITS), data.num_features, len(of_table))
        by_shape.setdefault(shape, []).append(of_table)
    result: list[Stack] = []
    solved = issubclass(settings.optimizer, Solver)  # whose last bits depend on its neighbours anyway
    for tables in by_shape.values():
        of_a_table, first = len(tables[0]), tables[0][0]
        made = footprint(first.network, first.data.served("train"))
        filled = not solved and not made.convolves
        of_job = _bytes_of_a_job(first, settings) + _bytes_of_a_table(first, settings) // of_a_table
        form, of_batch = form_of(first.network, made, settings.device), _bytes_of_a_batch(first, settings, made)
        of_job += of_batch if form is GeneralNetworks else 0
        left = memory - (of_batch if form is NetworksInTurn else 0)  # of which there is one at a time
        most = max(1, left // of_job)
        most -= most % PLACES if most > PLACES and filled else 0  # as `_filled` fills them up
        if of_a_table > most:
            chunks = [[t[i : i + most]] for t in tables for i in range(0, of_a_table, most)]
        else:
            step = max(1, most // of_a_table)
            chunks = [tables[i : i + step] for i in range(0, len(tables), step)]
        result += [
            Stack([t[0].data for t in chunk], [m for t in chunk for m in (_filled(t) if filled else t)])
            for chunk in chunks
        ]
    return result


def _filled(of_table: Sequence[GroupMember]) -> list[GroupMember | None]:
    """The jobs of a table, in a number that a matrix product takes in whole steps.

    Otherwise the last few go another way through the processor, and their last bits depend on how many there are. A
    place costs as much as a job, which for convolutions is too much to pay for.
    """
    places = len(of_table) if len(of_table) == 1 else -(-len(of_table) // PLACES) * PLACES
    return [*of_table, *[None] * (places - len(of_table))]


def _content(data: BlockData, dtype: torch.dtype) -> tuple[Any, ...]:
    """What makes two tables one to training: their rows, how they are changed at random, and the seed of that and of
    their order, where there is any of it.
    """
    data.dtype, digest = dtype, hashlib.sha256()
    for split in SPLITS:
        rows = data.served(split)
        assert isinstance(rows, TensorRows)
        for tensor in (rows.x, rows.y, rows.weight):
            if tensor is not None:
                digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    change = data.augmentation  # one without an equality of its own is equal to itself alone
    fixed = data.batches_per_pass == 1 and change is None
    return digest.hexdigest(), change, None if fixed else data.seed


def _bytes_of_a_job(member: GroupMember, settings: GroupSettings) -> int:
    data, size = member.data, 8 if settings.dtype == torch.float64 else 4
    rows = max(len(data.rows[split]) for split in SPLITS)
    batch = min(data.batch_size or rows, rows)
    parameters = sum(p.numel() for p in member.network.parameters())
    logged, validations = _measurements(member, settings)
    kept = 16 * logged + 8 * (len(settings.metrics) + 2) * validations
    factors = FACTORS * 8 * (data.num_features + 1) ** 2 if issubclass(settings.optimizer, Solver) else 0
    return size * (8 * batch + 6 * rows + 12 * parameters) + kept + factors


def _bytes_of_a_batch(member: GroupMember, settings: GroupSettings, made: Footprint) -> int:
    """What a network makes of a batch, and keeps for the way back, where it meets as much again."""
    data, size = member.data, 8 if settings.dtype == torch.float64 else 4
    rows = len(data.rows["train"])
    return 2 * size * made.numbers * min(data.batch_size or rows, rows, made.at_once)


def bytes_on_disk(member: GroupMember, settings: GroupSettings) -> int:
    """Of the history, as text and as events, and of two checkpoints with the optimizer's state of a job."""
    logged, validations = _measurements(member, settings)
    values = 2 * logged + (len(settings.metrics) + 2) * validations
    parameters = sum(p.numel() for p in member.network.parameters())
    return 65 * values + 2 * 3 * 8 * parameters


def _measurements(member: GroupMember, settings: GroupSettings) -> tuple[int, int]:
    """How often a job logs its training values, and how often it validates."""
    epochs, data = member.settings.epochs, member.data
    logged = epochs * data.batches_per_pass // settings.log_every
    return logged, epochs // settings.validate_every if len(data.rows["val"]) else 0


def _bytes_of_a_table(member: GroupMember, settings: GroupSettings) -> int:
    """Of its rows as they are stacked, and as they are changed at random, or measured in the end."""
    size = 8 if settings.dtype == torch.float64 else 4
    return 2 * size * member.data.num_features * sum(len(member.data.rows[split]) for split in SPLITS)


def default_memory(device: torch.device) -> int:
    """Bytes that a fit may take."""
    return int(MEMORY_SHARE * free_memory(device))
