"""The DataModule that training in blocks needs: rows by split, a position in them, what a checkpoint keeps of both."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from logreg.core.errors import UserError
from logreg.core.options.rows import SPLITS, ServingOptions, SplitOptions, label_text
from logreg.data.blocks import BatchChange, BlockLoader, EvaluationBatches, PassPlan
from logreg.data.features import FittedPreprocessor
from logreg.data.rows import Batch, LargeBatch, Rows

# Rows of a split that take no more than this are read into memory; larger ones stay in the mapped file.
IN_MEMORY_BYTES = 2**28


class BlockData(LightningDataModule, ABC):
    """A DataModule that serves its training rows in blocks; subclasses say which rows these are.

    Args:
        serving: name, seed, batch size and standardisation.
        split: which rows are for what.
        own_files: splits whose rows come from files of their own.

    Attributes:
        name, seed, batch_size, standardize: see `logreg.data.ServingOptions`.
        rows: row numbers of each split; `setup` sets it.
        preprocessor: from raw columns to features; `setup` sets it.
        dtype: of the tensors served; see `serve`.
        fractions: of each split in the rows that are split.
        folds, fold: see `logreg.data.SplitOptions`; None where ``fractions`` decides.
        augmentation: changes training batches at random; None where each pass sees the rows as they are.
        class_weight: of the labels of training rows; see `weigh_labels`.
        plan: how the training loader goes over the rows; see `follow`.
    """

    rows: dict[str, np.ndarray]
    preprocessor: FittedPreprocessor
    augmentation: BatchChange | None = None

    def __init__(self, serving: ServingOptions, split: SplitOptions, own_files: Sequence[str] = ()) -> None:
        super().__init__()
        self.name, self.seed = serving.name, serving.seed
        self.batch_size, self.standardize = serving.batch_size, serving.standardize
        self.fractions, self.folds, self.fold = split.fractions(own_files), split.folds, split.fold
        self.dtype = torch.float32
        self.class_weight: ClassWeight = None
        self.loader: BlockLoader | None = None
        self.plan = PassPlan()
        self._position: dict[str, int] = {"passes": 0, "batches": 0}

    # --- what a subclass says -----------------------------------------------------------------------------------------

    @abstractmethod
    def served(self, split: str) -> Rows:
        """The rows of a split, as features of type ``dtype``."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of the source: equal for equal data."""

    @abstractmethod
    def labels_of(self, split: str) -> np.ndarray:
        """The labels of a split, (rows,), 0 or 1."""

    def own_weights(self, split: str) -> np.ndarray | None:
        """The weights that rows of a split have of themselves, (rows,); None where they have none."""
        return None

    def label_totals(self) -> tuple[float, float]:
        """The training rows of label 0 and of label 1, or the sums of their own weights."""
        y, weight = self.labels_of("train"), self.own_weights("train")
        totals = np.bincount(np.asarray(y).astype(np.int64), weight, minlength=2)
        return float(totals[0]), float(totals[1])

    def label_weights(self) -> tuple[float, float]:
        """What ``class_weight`` makes of label 0 and label 1."""
        if self.class_weight is None:
            return 1.0, 1.0
        return label_weights(self.class_weight, self.preprocessor.target.labels, self.label_totals())

    def _weights(self, split: str) -> np.ndarray | None:
        """The weights of the rows of a split, (rows,); those of labels count in training alone."""
        own = self.own_weights(split)
        if self.class_weight is None or split != "train":
            return own
        zero, one = self.label_weights()
        of_labels = np.where(self.labels_of(split) == 1, one, zero)
        return of_labels if own is None else of_labels * own

    def weights(self, split: str) -> Tensor | None:
        """The same with mean 1, as they are served."""
        weight = self._weights(split)
        if weight is None or not len(weight):
            return None
        return torch.as_tensor(weight / weight.mean(), dtype=self.dtype)

    @property
    def training_weight(self) -> float:
        """The number of training rows, or the sum of their weights."""
        weight = self._weights("train")
        return float(len(self.rows["train"]) if weight is None else weight.sum())

    @property
    def training_groups(self) -> np.ndarray | None:
        """Which training rows belong together, (rows,) of equal numbers for those that do; None if nothing says so."""
        return None

    def is_large(self, split: str) -> bool:
        """Whether the rows of a split are better not looked at all at once."""
        return False

    @property
    def label_counts(self) -> dict[str, list[int]]:
        """Rows of label 0 and of label 1 in each split."""
        labels = {split: np.asarray(self.labels_of(split)).astype(np.int64) for split in SPLITS}
        return {split: np.bincount(y, minlength=2).tolist() for split, y in labels.items()}

    # --- what training and evaluation ask; see `logreg.data.adapter` -----------------------------------------------

    @property
    def blocks(self) -> BlockData:
        """Itself: its rows are served in blocks and can be read again."""
        return self

    @property
    def module(self) -> LightningDataModule:
        """What a Trainer takes."""
        return self

    def needs_blocks(self, sentence: str) -> BlockData:
        """Itself."""
        return self

    @property
    def num_features(self) -> int:
        """The number of features that are served."""
        return self.preprocessor.width

    def tensors(self, split: str) -> tuple[Tensor, Tensor]:
        """Features (rows, features), dense or sparse, and labels (rows,) of a split."""
        batch = self.served(split).everything()
        if isinstance(batch, LargeBatch):
            parts = list(batch.parts())
            return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        return batch[0], batch[1]

    def batches(self, split: str) -> EvaluationBatches:
        """The rows of a split in their order, for evaluation."""
        return EvaluationBatches(self.served(split))

    def batches_of(self, split: str) -> EvaluationBatches | None:
        """`batches`, or None of a split without rows."""
        return self.batches(split) if len(self.rows[split]) else None

    def training_rows(self) -> tuple[Rows, list[str]]:
        """The training rows and the names of their features."""
        return self.served("train"), self.preprocessor.feature_names

    def serve(self, dtype: torch.dtype, accumulate: int | None = None) -> None:
        """Serve features of this type from now on, and ``accumulate`` batches to an update."""
        self.dtype = dtype
        if accumulate is not None:
            self.plan = replace(self.plan, accumulate=accumulate)

    def follow(self, plan: PassPlan) -> None:
        """Go over the training rows in this way."""
        self.plan = plan

    def weigh_labels(self, class_weight: ClassWeight) -> None:
        """Weigh training rows by their labels; see `label_weights`.

        Raises:
            UserError: there is no such label.
        """
        self.class_weight = class_weight
        self.setup("fit")  # which knows the labels
        self.label_weights()

    @contextlib.contextmanager
    def serving(self, dtype: torch.dtype) -> Iterator[None]:
        """Serve features of another type meanwhile."""
        before, self.dtype = self.dtype, dtype
        try:
            yield
        finally:
            self.dtype = before

    def train_dataloader(self) -> BlockLoader:
        position = self.position["passes"], self.position["batches"]
        rows = self.served("train")
        self.loader = BlockLoader(rows, self.batch_size, self.seed, self.plan, position, self.augmentation)
        return self.loader

    def val_dataloader(self) -> EvaluationBatches | list[Batch]:
        return self.batches_of("val") or []

    def test_dataloader(self) -> EvaluationBatches | list[Batch]:
        return self.batches_of("test") or []

    @property
    def batches_per_pass(self) -> int:
        """How many batches one pass over the training rows takes."""
        rows = len(self.rows["train"])
        return -(-rows // min(self.batch_size or rows, rows))

    # --- the position, for checkpoints --------------------------------------------------------------------------------

    @property
    def position(self) -> dict[str, int]:
        """How far training has come: whole passes, and batches of the pass in progress."""
        if self.loader is None:
            return self._position
        return {"passes": self.loader.passes, "batches": self.loader.batches}

    @property
    def splitting(self) -> dict[str, float | int | None]:
        """The settings that decide, with the seed, which row is in which split."""
        return dict(self.fractions) if self.folds is None else {"folds": self.folds, "fold": self.fold}

    def state_dict(self) -> dict[str, Any]:
        """Into every checkpoint: the position, and what it means (see `check_state`)."""
        return {
            **self.position,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "split": self.splitting,
            "batch_size": self.batch_size,
            "accumulate": self.plan.accumulate,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint that is being resumed."""
        self._position = {key: state_dict[key] for key in ("passes", "batches")}

    def check_state(self, state: Mapping[str, Any] | None) -> None:
        """Refuse the position of a checkpoint whose training rows were not these.

        Raises:
            UserError: other data, another split or, inside a pass, another batch size.
        """
        if state is None or state["fingerprint"] != self.fingerprint:
            raise UserError("resume: the checkpoint was trained on other data than this run's; give the same data=….")
        if state["seed"] != self.seed:
            raise UserError(
                f"resume: the checkpoint belongs to seed={state['seed']}, which fixes split and order of the rows, and "
                f"this run has seed={self.seed}; give seed={state['seed']}."
            )
        if state["split"] != self.splitting:
            raise UserError(
                f"resume: the checkpoint's rows were split by data.split={state['split']}, this run's by "
                f"data.split={self.splitting}; give the same."
            )
        if state["batches"] and (state["batch_size"], state["accumulate"]) != (self.batch_size, self.plan.accumulate):
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
            "fingerprint": self.fingerprint,
            "label_counts": self.label_counts,
            "class_weight": None if self.class_weight is None else list(self.label_weights()),
        }


BALANCED = "balanced"
LabelWeights = Mapping[str, float | int] | Mapping[int, float | int]  # YAML may make a number or a boolean of a label
ClassWeight = LabelWeights | str | None


def label_weights(
    given: LabelWeights | str, labels: tuple[str, str], totals: tuple[float, float]
) -> tuple[float, float]:
    """The weight of label 0 and of label 1.

    Args:
        given: ``balanced``, which makes both labels weigh the same in all, ``total / (2 * total of the label)`` as in
            scikit-learn; or a weight by label, 1 for one that is left out.
        labels: what 0 and 1 stand for; a key of ``given`` is one of them, whatever YAML made of it, else 0 or 1.
        totals: the number of training rows of each label, or the sum of their weights.

    Raises:
        UserError: a key is no label.
    """
    if isinstance(given, str):
        if given != BALANCED:
            raise UserError(f"class_weight={given}: {BALANCED}, a weight for each label, or null is needed.")
        return (sum(totals) / (2 * totals[0]), sum(totals) / (2 * totals[1]))
    weights = [1.0, 1.0]
    for key, value in given.items():
        name = str(key) if str(key) in labels else label_text(key)
        if name not in labels and name not in ("0", "1"):
            raise UserError(f"class_weight: there is no label {name}; the labels are {labels[0]} and {labels[1]}.")
        weights[labels.index(name) if name in labels else int(name)] = float(value)
    return weights[0], weights[1]
