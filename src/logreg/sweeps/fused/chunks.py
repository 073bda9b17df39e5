"""Which jobs lie in one fit: those whose tables have one shape, as many as memory takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from logreg.core.memory import free_memory
from logreg.data.datamodule import BlockData
from logreg.data.rows import TensorRows
from logreg.data.splits import SPLITS
from logreg.optim.solver import Solver
from logreg.sweeps.fused.fit import FusedJob, GroupSettings
from logreg.sweeps.fused.members import GroupMember
from logreg.sweeps.fused.networks import Footprint, GeneralNetworks, NetworksInTurn, footprint, form_of

MEMORY_SHARE = 0.25  # of what is free, for one fit
PLACES = 16  # jobs of a table come in multiples of this, if there are several
FACTORS = 6  # matrices of a solver's job: its Hessian, scaled, its factor, and what these are made from

T = TypeVar("T")


@dataclass
class Stack:
    """Jobs of one fit, table by table, equally many for each."""

    tables: list[BlockData]
    members: list[GroupMember | None]  # None fills a place, in which the table's first job is trained once more

    def jobs(self) -> list[FusedJob]:
        of_a_table = len(self.members) // len(self.tables)
        present = [member or self.members[i - i % of_a_table] for i, member in enumerate(self.members)]
        return [member.job() for member in present if member is not None]

    @property
    def counted(self) -> np.ndarray:
        return np.array([member is not None for member in self.members])


def stacks(members: Sequence[GroupMember], settings: GroupSettings, memory: int) -> list[Stack]:
    """Jobs stacked where their tables have one shape, in as many fits as memory asks for.

    Args:
        memory: bytes that a fit may take.
    """
    contents = {id(member.data): _content(member.data, settings.dtype) for member in members}
    by_table = _grouped(members, lambda member: contents[id(member.data)])
    # The jobs of each table, by what has to be equal for tables to lie in one array.
    by_shape = _grouped(by_table, lambda of_table: (*_shape(of_table[0].data), len(of_table)))
    return [stack for tables in by_shape for stack in _stacks_of_a_shape(tables, settings, memory)]


def _grouped(items: Iterable[T], key: Callable[[T], object]) -> list[list[T]]:
    groups: dict[object, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def _shape(data: BlockData) -> tuple[int, ...]:
    return (*(len(data.rows[split]) for split in SPLITS), data.num_features)


def _stacks_of_a_shape(tables: list[list[GroupMember]], settings: GroupSettings, memory: int) -> list[Stack]:
    """The jobs of each of some tables of one shape, equally many of each, in as few stacks as memory allows."""
    of_a_table, first = len(tables[0]), tables[0][0]
    of_row = footprint(first.network, first.data.served("train"))
    # A solver's last bits depend on its neighbours anyway.
    filled = not issubclass(settings.optimizer, Solver) and not of_row.convolves
    *rows, features = _shape(first.data)
    of_table = 2 * settings.dtype.itemsize * features * sum(rows)  # as it is stacked, and as it is changed or measured
    of_job = _bytes_of_a_job(first, settings) + of_table // of_a_table
    form, of_batch = form_of(first.network, of_row, settings.device), _bytes_of_a_batch(first, settings, of_row)
    if form is GeneralNetworks:
        of_job += of_batch
    elif form is NetworksInTurn:  # there is one at a time
        memory -= of_batch
    most = max(1, memory // of_job)
    if most > PLACES and filled:
        most -= most % PLACES  # as `_filled` fills them up
    if of_a_table > most:
        parts = [[table[i : i + most]] for table in tables for i in range(0, of_a_table, most)]
    else:
        step = max(1, most // of_a_table)
        parts = [tables[i : i + step] for i in range(0, len(tables), step)]
    return [
        Stack([table[0].data for table in part], [m for t in part for m in (_filled(t) if filled else t)])
        for part in parts
    ]


def _filled(of_table: Sequence[GroupMember]) -> list[GroupMember | None]:
    """The jobs of a table, in a number that a matrix product takes in whole steps.

    Otherwise the last few go another way through the processor, and their last bits depend on how many there are. A
    place costs as much as a job, which for convolutions is too much to pay for.
    """
    places = len(of_table) if len(of_table) == 1 else -(-len(of_table) // PLACES) * PLACES
    return [*of_table, *[None] * (places - len(of_table))]


def _content(data: BlockData, dtype: torch.dtype) -> tuple[str, object, int | None]:
    """What makes two tables one to training: their rows, how they are changed at random, and the seed of that and of
    their order, where there is any of it.
    """
    data.serve(dtype)
    digest = hashlib.sha256()
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
    data, size = member.data, settings.dtype.itemsize
    rows = max(len(data.rows[split]) for split in SPLITS)
    batch = min(data.batch_size or rows, rows)
    parameters = sum(p.numel() for p in member.network.parameters())
    logged, validations = _measurements(member, settings)
    history = 16 * logged + 8 * (len(settings.metrics) + 2) * validations
    factors = FACTORS * 8 * (data.num_features + 1) ** 2 if issubclass(settings.optimizer, Solver) else 0
    return size * (8 * batch + 6 * rows + 12 * parameters) + history + factors


def _bytes_of_a_batch(member: GroupMember, settings: GroupSettings, of_row: Footprint) -> int:
    """What a network makes of a batch, and keeps for the way back, where it meets as much again."""
    data, size = member.data, settings.dtype.itemsize
    rows = len(data.rows["train"])
    return 2 * size * of_row.numbers * min(data.batch_size or rows, rows, of_row.at_once)


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


def default_memory(device: torch.device) -> int:
    """Bytes that a fit may take."""
    return int(MEMORY_SHARE * free_memory(device))
