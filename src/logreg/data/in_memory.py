"""Tables that fit into memory: split, standardised, served as blocks."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from logreg.data.blocks import Batches, BlockLoader
from logreg.data.splits import SPLITS, check_fractions, stratified
from logreg.data.standardizer import Standardizer
from logreg.errors import UserError


@dataclass(frozen=True)
class Table:
    """A source as it was read.

    Attributes:
        x: features, (rows, features), float.
        y: labels, (rows,), 0 or 1.
        features: a name per column.
        labels: what 0 and 1 stand for.
    """

    x: np.ndarray
    y: np.ndarray
    features: list[str]
    labels: tuple[str, str] = ("0", "1")

    @property
    def fingerprint(self) -> str:
        """A digest of features and labels: equal for equal data, whatever file it came from."""
        digest = hashlib.sha256()
        for array in (self.x, self.y):
            digest.update(str((array.dtype, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return f"sha256:{digest.hexdigest()[:32]}"


def check_table(table: Table) -> None:
    """Refuse a table that a binary classifier cannot be trained on.

    Raises:
        UserError: labels other than 0 and 1, one label only, or features that are missing or infinite.
    """
    found = np.unique(table.y).tolist()
    if found != [0, 1]:
        shown = ", ".join(map(str, found[:5]))
        raise UserError(f"data: the labels are {shown}; both 0 and 1 are needed, and nothing else.")
    bad = ~np.isfinite(table.x)
    if bad.any():
        row, column = (int(part[0]) for part in np.nonzero(bad))
        raise UserError(
            f"data: {int(bad.sum())} values are missing or infinite, the first in column {table.features[column]}, "
            f"row {row}; numbers are needed."
        )


class InMemoryData(LightningDataModule, ABC):
    """A DataModule over one in-memory table; subclasses say where it comes from in `load`.

    Args:
        name: what the run is called after, unless ``name`` is given.
        seed: fixes the split and the order of the rows, each from its own stream.
        batch_size: rows per update; None is the full batch.
        split: fractions for ``train``, ``val`` and ``test``, stratified by label.
        standardize: centre and scale by mean and standard deviation (ddof 0) of the training rows.

    Attributes:
        dtype: of the tensors served; training sets it to the trainer's precision.
    """

    def __init__(
        self,
        name: str,
        seed: int = 0,
        batch_size: int | None = None,
        split: Mapping[str, float] | None = None,
        standardize: bool = True,
    ) -> None:
        super().__init__()
        if batch_size is not None and batch_size < 1:
            raise UserError(f"data.batch_size={batch_size}: a number of rows above 0, or null for the full batch.")
        self.name, self.seed, self.batch_size, self.standardize = name, seed, batch_size, standardize
        self.fractions = check_fractions(split or {"train": 1.0})
        self.dtype = torch.float32
        self.table: Table | None = None
        self.loader: BlockLoader | None = None
        # Set by training, see `BlockLoader`.
        self.passes_in_total = self.passes_per_epoch = self.accumulate = 1
        self.updates_left: int | None = None
        self._position: dict[str, int] = {"passes": 0, "batches": 0}

    @abstractmethod
    def load(self) -> Table:
        """Read the source."""

    def setup(self, stage: str | None = None) -> None:
        if self.table is not None:
            return
        self.table = self.load()
        check_table(self.table)
        self.rows = stratified(self.table.y, self.fractions, self.seed)
        columns = self.table.x.shape[1]
        train = self.table.x[self.rows["train"]]
        self.standardizer = Standardizer.fit(train) if self.standardize else Standardizer.identity(columns)

    @property
    def num_features(self) -> int:
        return len(self.source.features)

    @property
    def source(self) -> Table:
        """The table as read; `setup` has run."""
        if self.table is None:
            self.setup()
        assert self.table is not None
        return self.table

    def tensors(self, split: str) -> tuple[Tensor, Tensor]:
        """Standardised features (rows, features) and labels (rows,) of a split."""
        table = self.source
        rows = self.rows[split]
        x = self.standardizer.transform(table.x[rows])
        return torch.as_tensor(x, dtype=self.dtype), torch.as_tensor(table.y[rows], dtype=self.dtype)

    def batches(self, split: str) -> Batches:
        """The rows of a split in their order, for evaluation."""
        return Batches(*self.tensors(split))

    def train_dataloader(self) -> BlockLoader:
        position = self.position
        self.loader = BlockLoader(*self.tensors("train"), self.batch_size, self.seed)
        self.loader.passes, self.loader.batches = position["passes"], position["batches"]
        self.loader.passes_in_total, self.loader.passes_per_epoch = self.passes_in_total, self.passes_per_epoch
        self.loader.accumulate, self.loader.updates_left = self.accumulate, self.updates_left
        return self.loader

    def val_dataloader(self) -> Batches | list[Any]:
        return self.batches("val") if len(self.rows["val"]) else []

    def test_dataloader(self) -> Batches | list[Any]:
        return self.batches("test") if len(self.rows["test"]) else []

    @property
    def batches_per_pass(self) -> int:
        rows = len(self.rows["train"])
        return -(-rows // min(self.batch_size or rows, rows))

    @property
    def position(self) -> dict[str, int]:
        """How far training has come: whole passes, and batches of the pass in progress."""
        if self.loader is None:
            return self._position
        return {"passes": self.loader.passes, "batches": self.loader.batches}

    def state_dict(self) -> dict[str, Any]:
        """Into every checkpoint: the position, and what it means (see `check_state`)."""
        return {
            **self.position,
            "fingerprint": self.source.fingerprint,
            "seed": self.seed,
            "split": self.fractions,
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint that is being resumed."""
        self._position = {key: state_dict[key] for key in ("passes", "batches")}

    def check_state(self, state: Mapping[str, Any] | None) -> None:
        """Refuse the position of a checkpoint whose training rows were not these.

        Raises:
            UserError: other data, another split or, inside a pass, another batch size.
        """
        if state is None or state["fingerprint"] != self.source.fingerprint:
            raise UserError("resume: the checkpoint was trained on other data than this run's; give the same data=….")
        if state["seed"] != self.seed:
            raise UserError(
                f"resume: the checkpoint belongs to seed={state['seed']}, which fixes split and order of the rows, and "
                f"this run has seed={self.seed}; give seed={state['seed']}."
            )
        if state["split"] != self.fractions:
            raise UserError(
                f"resume: the checkpoint's rows were split by data.split={state['split']}, this run's by "
                f"data.split={self.fractions}; give the same."
            )
        if state["batches"] and (state["batch_size"], state["accumulate"]) != (self.batch_size, self.accumulate):
            raise UserError(
                f"resume: the checkpoint stops inside a pass with data.batch_size={state['batch_size']} and "
                f"trainer.accumulate_grad_batches={state['accumulate']}; go on with the same."
            )

    def describe(self) -> dict[str, Any]:
        """For the run's record: rows per split, features, fingerprint of the source."""
        return {
            "name": self.name,
            "rows": {name: len(self.rows[name]) for name in SPLITS},
            "features": self.num_features,
            "fingerprint": self.source.fingerprint,
        }
