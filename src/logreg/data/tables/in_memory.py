"""Tables that a program makes and that fit into memory."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from logreg.core.errors import UserError
from logreg.core.options.rows import ALL_FOR_TRAINING, ServingOptions, SplitOptions
from logreg.data.datamodule import BlockData
from logreg.data.labels import Target
from logreg.data.rows import TensorRows
from logreg.data.splits import dealt
from logreg.data.tables.preparing.preprocessor import Preprocessor


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


def _check_table(table: Table) -> None:
    labels = np.unique(table.y).tolist()
    if labels != [0, 1]:
        shown = ", ".join(map(str, labels[:5]))
        raise UserError(f"data: the labels are {shown}; both 0 and 1 are needed, and nothing else.")
    bad = ~np.isfinite(table.x)
    if bad.any():
        row, column = (int(part[0]) for part in np.nonzero(bad))
        raise UserError(
            f"data: {int(bad.sum())} values are missing or infinite, the first in column {table.features[column]}, "
            f"row {row}; numbers are needed."
        )


class InMemoryData(BlockData):
    """A DataModule over one in-memory table; subclasses say where it comes from in `load`.

    Args:
        name, seed, batch_size, standardize: see `logreg.data.ServingOptions`.
        split, folds, fold: see `logreg.data.SplitOptions`; by default all rows are for training.
    """

    table: Table | None = None
    preprocessor: Preprocessor

    def __init__(
        self,
        name: str,
        seed: int = 0,
        batch_size: int | None = None,
        split: Mapping[str, float] | None = None,
        standardize: bool = True,
        folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        serving = ServingOptions(name, seed, batch_size, standardize)
        super().__init__(serving, SplitOptions(split or ALL_FOR_TRAINING, folds, fold))

    @abstractmethod
    def load(self) -> Table:
        """Read the source, whose labels are 0 and 1, both of them, and whose features are finite."""

    def setup(self, stage: str | None = None) -> None:
        if self.table is not None:
            return
        self.table = self.load()
        _check_table(self.table)
        self.rows = dealt(self.table.y, self.fractions, self.folds, self.fold, self.seed)
        train = self.table.x[self.rows["train"]]
        target = Target("", self.table.labels)
        self.preprocessor = Preprocessor.fit(train, self.table.features, self.standardize, target)

    @property
    def source(self) -> Table:
        """The table as read; `setup` has run."""
        self.setup()
        assert self.table is not None
        return self.table

    @property
    def num_features(self) -> int:
        return len(self.source.features)

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint

    def labels_of(self, split: str) -> np.ndarray:
        return self.source.y[self.rows[split]]

    def served(self, split: str) -> TensorRows:
        raw = self.source.x[self.rows[split]]  # first, as it sets up what comes next
        x = self.preprocessor.transform_numbers(raw)
        y = torch.as_tensor(self.labels_of(split), dtype=self.dtype)
        return TensorRows(torch.as_tensor(x, dtype=self.dtype), y, self.weights(split))
