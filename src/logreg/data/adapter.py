"""Any LightningDataModule, asked in one way.

Training, evaluation and reports ask data for the batches of a split, for a description, for its rows. A `BlockData`
answers all of it. Any other DataModule is adapted once, by `adapted`, and answers what its loaders can say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import torch
from lightning.pytorch import LightningDataModule

from logreg.core.errors import UserError
from logreg.data.datamodule import BlockData, ClassWeight
from logreg.data.rows import MAX_ELEMENTS, Batch, Rows, collected_rows


class LoaderData:
    """A DataModule whose loaders give ``(x, y)`` batches, and of whose rows nothing else is known.

    Attributes:
        module: what a Trainer takes.
        blocks: None, where `BlockData` has itself.
    """

    blocks: None = None

    def __init__(self, module: LightningDataModule) -> None:
        self.module, self.name = module, type(module).__name__

    @property
    def num_features(self) -> int:
        """Columns of a row.

        Raises:
            UserError: the DataModule does not say.
        """
        if not hasattr(self.module, "num_features"):
            raise UserError(f"data: {self.name} needs an attribute num_features, the columns of a row.")
        return int(self.module.num_features)

    def needs_blocks(self, sentence: str) -> NoReturn:
        """Refuse what takes rows that can be read again.

        Raises:
            UserError: the sentence.
        """
        raise UserError(sentence)

    @property
    def training_weight(self) -> float:
        """Raises `UserError`: the number of rows is not known before they are served."""
        raise UserError(f"penalty: its weight needs the number of training rows; derive {self.name} from BlockData.")

    def prepare_data(self) -> None:
        self.module.prepare_data()

    def setup(self, stage: str) -> None:
        self.module.setup(stage)

    def batches_of(self, split: str) -> Iterable[Batch] | None:
        """Of its loader; None where it has none, or an empty one."""
        name = f"{split}_dataloader"
        if getattr(type(self.module), name) is getattr(LightningDataModule, name):
            return None
        loader = getattr(self.module, name)()
        try:
            return loader if len(loader) else None
        except TypeError:  # an iterable without a length
            return loader

    def training_rows(self) -> tuple[Rows, list[str]]:
        """The training rows, read into memory, and a name for each column.

        Raises:
            UserError: they are more than `MAX_ELEMENTS` numbers.
        """
        rows = collected_rows(self.batches_of("train") or ())
        if rows is None:
            raise UserError(
                f"{self.name} serves its rows batch by batch, more than {MAX_ELEMENTS:,} numbers; "
                "derive it from BlockData"
            )
        return rows, [f"column_{i + 1}" for i in range(rows.x.shape[1])]

    def serve(self, dtype: torch.dtype, accumulate: int | None = None) -> None:
        """Its loaders decide themselves what they serve."""

    def weigh_labels(self, class_weight: ClassWeight) -> NoReturn:
        raise UserError(f"class_weight: {self.name} does not weigh its rows; derive it from BlockData.")

    def describe(self) -> dict[str, Any]:
        """What the DataModule says of itself for the run's record, if anything."""
        return self.module.describe() if hasattr(self.module, "describe") else {}


AnyData = BlockData | LoaderData


def adapted(data: LightningDataModule | LoaderData) -> AnyData:
    """The data of a run, whatever kind of DataModule it is."""
    return data if isinstance(data, AnyData) else LoaderData(data)
