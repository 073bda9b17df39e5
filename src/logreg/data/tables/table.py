"""`TableData`: a table in files, of any size."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from logreg.core.errors import UserError
from logreg.data import cache
from logreg.data.datamodule import BlockData
from logreg.data.labels import label_text, parsed_labels
from logreg.data.rows import MappedRows, Rows, SparseRows, TensorRows
from logreg.data.splits import SPLITS, check_folds
from logreg.data.tables.preparing import roles
from logreg.data.tables.preparing.assign import SplitOptions
from logreg.data.tables.preparing.fit import parsed_reference
from logreg.data.tables.preparing.pipeline import STORAGE, Preparation, with_kinds
from logreg.data.tables.preparing.table_store import VERSION, Manifest, PreparedTable
from logreg.data.tables.preprocessor import Preprocessor
from logreg.data.tables.reading.options import Form
from logreg.data.tables.reading.source import MISSING, ReadOptions, Source, open_source

log = logging.getLogger(__name__)

# Rows of a split that take no more than this are read into memory; larger ones stay in the mapped file.
IN_MEMORY_BYTES = 2**28
DEFAULT_SPLIT = {"train": 0.8, "val": 0.1, "test": 0.1}


class TableData(BlockData):
    """A table in CSV, Parquet, Arrow or LIBSVM files, prepared once into a memory-mapped cache.

    Args:
        path: a file, a folder or a glob; of the training rows, and of the others unless they have files of their own.
        val_path, test_path: files of validation and test rows.
        format, delimiter, quote, header, encoding, missing: see `logreg.data.tables.reading.source.ReadOptions`.
        zero_based: indices of a LIBSVM file start at 0.
        target, positive, labels, features, exclude, categorical, weight, group, drop_missing_target: see
            `logreg.data.tables.preparing.roles.RoleOptions`.
        min_count: levels of fewer training rows share one feature; None: one row in a hundred, from 2 to 10.
        reference: leave a level of each text column without a feature, see `logreg.data.tables.preparing.fit`.
        standardize: numbers are centred and scaled; sparse tables never are.
        split: fractions of train, val and test, stratified by label.
        folds, fold: train on all of so many folds but this one, counted from 0, and validate on it.
        storage: ``float32`` or ``float64``; None: float64 for small tables.
        leak_auroc: warn of a column whose AUROC alone reaches this.
        cache_dir: where prepared tables are kept.
    """

    preprocessor: Preprocessor

    def __init__(
        self,
        name: str = "table",
        seed: int = 0,
        batch_size: int | None = None,
        split: Mapping[str, float] | None = None,
        standardize: bool = True,
        *,
        path: str,
        val_path: str | None = None,
        test_path: str | None = None,
        format: str | None = None,
        delimiter: str | None = None,
        quote: str | None = None,
        header: bool | None = None,
        encoding: str = "utf-8",
        missing: Sequence[str] = MISSING,
        zero_based: bool = False,
        target: str | int | None = None,
        positive: str | int | float | bool | None = None,
        labels: Mapping[Any, Any] | str | None = None,
        features: Sequence[Any] | None = None,
        exclude: Sequence[Any] = (),
        categorical: Sequence[Any] = (),
        weight: str | None = None,
        group: str | None = None,
        drop_missing_target: bool = False,
        min_count: int | None = None,
        reference: str | Mapping[str, Any] | None = None,
        folds: int | None = None,
        fold: int | None = None,
        storage: str | None = None,
        leak_auroc: float = 0.99,
        cache_dir: str = "outputs/cache",
    ) -> None:
        own = [name for name, given in (("val", val_path), ("test", test_path)) if given is not None]
        super().__init__(name, seed, batch_size, fractions_beside(split or DEFAULT_SPLIT, own), standardize)
        self.paths = {"path": path, "val_path": val_path, "test_path": test_path}
        self.role_options = roles.RoleOptions(
            target=None if target is None else str(target),
            positive=label_text(positive),
            labels=parsed_labels(labels),
            features=None if features is None else tuple(map(str, features)),
            exclude=tuple(map(str, exclude)),
            categorical=tuple(map(str, categorical)),
            weight=weight,
            group=group,
            drop_missing_target=drop_missing_target,
        )
        text = tuple(c for c in (*self.role_options.categorical, group) if c is not None)
        named = tuple(c for c in (self.role_options.target, weight, group) if c is not None)
        self.read_options = ReadOptions(
            format, delimiter, quote, header, encoding, tuple(map(str, missing)), text, named
        )
        self.folds, self.fold = folds, fold
        self.split_options = SplitOptions(self.fractions, folds, fold)
        self.preparation = Preparation(
            self.role_options,
            self.split_options,
            seed,
            standardize,
            min_count,
            leak_auroc,
            storage,
            zero_based,
            parsed_reference(reference),
        )
        self.cache_dir = Path(cache_dir)
        self.prepared: PreparedTable | None = None
        self.form: Form | None = None
        self._check_settings()

    def _check_settings(self) -> None:
        split = self.split_options
        check_folds(split.folds, split.fold)
        if split.folds is not None and self.paths["val_path"]:
            raise UserError("data.val_path: the validation rows come from data.folds already; give one of the two.")
        if self.preparation.storage not in (None, *STORAGE):
            raise UserError(f"data.storage={self.preparation.storage}: float32, float64 or null is needed.")
        if self.preparation.min_count is not None and self.preparation.min_count < 1:
            raise UserError(f"data.min_count={self.preparation.min_count}: 1 or more is needed.")

    # --- preparation --------------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Convert the table into the cache, unless it is there; called once per machine by Lightning."""
        if self.prepared is not None:
            return
        sources = self.open_sources()
        self.form = sources["train"].form
        settings = self._settings(sources)

        def make(folder: Path) -> Manifest:
            manifest = self.preparation.make(sources, folder)
            if self._settings(sources) != settings:
                raise UserError(
                    f"data.path={self.paths['path']}: the file was changed while it was being read; start again."
                )
            return manifest

        self.prepared, made = cache.prepared(self.cache_dir, cache.key_of(VERSION, settings), make, PreparedTable)
        manifest = self.prepared.manifest
        for note in manifest.notes:
            log.info("%s", note)
        for warning in manifest.warnings:
            log.warning("warning: %s", warning)
        log.info("%s %s", "prepared" if made else "found prepared", self.prepared.folder)

    def setup(self, stage: str | None = None) -> None:
        if self.prepared is None:
            self.prepare_data()
        assert self.prepared is not None
        self.preprocessor = self.prepared.preprocessor
        self.rows = {split: self.prepared.rows(split) for split in SPLITS}
        if not len(self.rows["train"]):
            raise UserError(f"data.path={self.paths['path']}: no row is left for training.")

    def open_sources(self) -> dict[str, Source]:
        """The sources by the split they are for; the first is ``path``."""
        found = {}
        for name, split in (("path", "train"), ("val_path", "val"), ("test_path", "test")):
            path = self.paths[name]
            if path is not None:
                found[split] = open_source(str(path), self.read_options, f"data.{name}")
        train = found["train"]
        for split, source in found.items():
            if (source.format == "libsvm") != (train.format == "libsvm"):
                raise UserError(f"{source.key}: a table in {source.format} does not go with one in {train.format}.")
            found[split] = with_kinds(source, train)
        if train.format == "libsvm":
            self._check_sparse()
        return found

    def _check_sparse(self) -> None:
        """Refuse what needs columns with names."""
        o = self.role_options
        for name, value in (("features", o.features), ("exclude", o.exclude), ("categorical", o.categorical)):
            if value:
                raise UserError(f"data.{name}: the columns of a LIBSVM file have no names; leave it out.")
        for name, given in (("weight", o.weight), ("group", o.group), ("target", o.target)):
            if given is not None:
                raise UserError(f"data.{name}={given}: a LIBSVM file has a label and features only; leave it out.")

    def _settings(self, sources: Mapping[str, Source]) -> dict[str, Any]:
        """Everything that the prepared table depends on."""
        return {
            "sources": [[split, s.format, s.fingerprint(), s.state()] for split, s in sources.items()],
            "read": self.read_options,
            "preparation": self.preparation,
        }

    # --- serving ------------------------------------------------------------------------------------------------------

    @property
    def table(self) -> PreparedTable:
        if self.prepared is None:
            self.setup()
        assert self.prepared is not None
        return self.prepared

    @property
    def fingerprint(self) -> str:
        return self.table.manifest.fingerprint

    @property
    def training_groups(self) -> np.ndarray | None:
        group = self.table.group
        return None if group is None else np.asarray(group[self.rows["train"]])

    def is_large(self, split: str) -> bool:
        manifest = self.table.manifest
        entries = manifest.values / max(1, manifest.total) if manifest.sparse else manifest.width
        return len(self.rows[split]) * entries * 8 > IN_MEMORY_BYTES

    def served(self, split: str) -> Rows:
        table, rows = self.table, self.rows[split]
        weight = self.weights(split)
        if self.is_large(split) and not table.manifest.sparse:
            return MappedRows(table.x, rows, torch.as_tensor(self.labels_of(split)), weight, self.dtype)
        y = torch.as_tensor(self.labels_of(split), dtype=self.dtype)
        if table.manifest.sparse:
            return SparseRows(*table.csr, rows, table.manifest.width, y, weight, self.dtype)
        return TensorRows(torch.as_tensor(np.asarray(table.x[rows]), dtype=self.dtype), y, weight)

    def labels_of(self, split: str) -> np.ndarray:
        rows = self.rows[split]
        if len(rows) and int(rows[-1]) - int(rows[0]) + 1 == len(rows):  # they ascend, so that this is all between
            return np.asarray(self.table.y[int(rows[0]) : int(rows[-1]) + 1])
        return np.asarray(self.table.y[rows])

    def own_weights(self, split: str) -> np.ndarray | None:
        weight = self.table.weight
        return None if weight is None else np.asarray(weight[self.rows[split]])

    @property
    def label_counts(self) -> dict[str, list[int]]:
        return self.table.manifest.labels

    def describe(self) -> dict[str, Any]:
        target = self.preprocessor.target
        return super().describe() | {
            "path": self.paths["path"],
            "target": target.column,
            "labels": {label: value for value, label in enumerate(target.labels)},
            "left_out": self.preprocessor.left_out,
            "label_weights": self._weights_of_labels(),
            "warnings": self.table.manifest.warnings,
            "form": asdict(self.form) if self.form else None,
        }

    def _weights_of_labels(self) -> list[float] | None:
        """The training weight of label 0 and 1; None where rows have no weights."""
        return None if self.own_weights("train") is None else list(self.label_totals())


def fractions_beside(split: Mapping[str, float], own_files: Sequence[str]) -> dict[str, float]:
    """The fractions of the rows of ``path``, of which splits with files of their own take none."""
    left = {name: share for name, share in split.items() if name not in own_files}
    numbers = [share for share in left.values() if isinstance(share, int | float)]
    total = sum(numbers)
    if len(left) == len(split) or len(numbers) < len(left) or not 0 < total <= 1 + 1e-6:
        return left  # checked, and refused, by `check_fractions`
    return {name: share / total for name, share in left.items()}
