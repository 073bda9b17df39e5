"""`TableData`: a table in files, of any size."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from logreg.core.errors import UserError
from logreg.core.options.rows import SPLITS, ServingOptions, SplitOptions
from logreg.core.options.tables import TABLE, Dialect, PrepareOptions, ReadOptions, RoleOptions, TablePaths
from logreg.data.cache import key_of
from logreg.data.datamodule import IN_MEMORY_BYTES, BlockData
from logreg.data.rows import MappedRows, Rows, SparseRows, TensorRows
from logreg.data.tables.preparing.pipeline import VERSION, CachedTable, TablePreparation
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.data.tables.reading.source import Source, open_source

log = logging.getLogger(__name__)


class TableData(BlockData):
    """A table in CSV, Parquet, Arrow or LIBSVM files, prepared once into a memory-mapped cache.

    Args:
        paths: its files, and where the prepared table is kept; see `logreg.data.TablePaths`.
        serving: name, seed, batch size and standardisation; see `logreg.data.ServingOptions`. Sparse tables are never
            standardised.
        split: fractions of train, val and test, or folds; see `logreg.data.SplitOptions`.
        reading: how files are read that do not say it themselves; see `logreg.data.ReadOptions`, whose ``text`` and
            ``names`` are taken from ``roles``.
        roles: target, label 1, features, categories, weights and groups; see `logreg.data.RoleOptions`.
        preparing: how columns become features; see `logreg.data.PrepareOptions`.
    """

    preprocessor: Preprocessor

    def __init__(
        self,
        paths: TablePaths,
        serving: ServingOptions = TABLE,
        split: SplitOptions = SplitOptions(),
        reading: ReadOptions = ReadOptions(),
        roles: RoleOptions = RoleOptions(),
        preparing: PrepareOptions = PrepareOptions(),
    ) -> None:
        super().__init__(serving, split, paths.own_files)
        self.paths, self.roles = paths, roles
        texts = tuple(c for c in (*roles.categorical, roles.group) if c is not None)
        named = tuple(c for c in (roles.target, roles.weight, roles.group) if c is not None)
        self.reading = replace(reading, text=texts, names=named)
        self.preparation = TablePreparation(roles, split, preparing, serving.seed, serving.standardize)
        self.form: Dialect | None = None

    # --- preparation --------------------------------------------------------------------------------------------------

    @cached_property
    def table(self) -> CachedTable:
        """The prepared table, which is made unless the cache has it; sets its rows and preprocessor, too."""
        sources = self.open_sources()
        self.form = sources["train"].form
        key = self._key(sources)

        def make(folder: Path) -> CachedTable:
            table = self.preparation.make(sources, folder)
            if self._key(sources) != key:
                raise UserError(
                    f"data.path={self.paths.path}: the file was changed while it was being read; start again."
                )
            return table

        table, is_new = CachedTable.opened_or_written(Path(self.paths.cache_dir), key, make)
        for note in table.notes:
            log.info("%s", note)
        for warning in table.warnings:
            log.warning("warning: %s", warning)
        log.info("%s %s", "prepared" if is_new else "found prepared", table.folder)
        self.preprocessor, self.rows = table.preprocessor, {split: table.rows_of(split) for split in SPLITS}
        if not len(self.rows["train"]):
            raise UserError(f"data.path={self.paths.path}: no row is left for training.")
        return table

    def prepare_data(self) -> None:
        """Convert the table into the cache, unless it is there; called once per machine by Lightning."""
        _ = self.table

    def setup(self, stage: str | None = None) -> None:
        _ = self.table

    def open_sources(self) -> dict[str, Source]:
        """The sources by the split they are for; the first is ``path``."""
        paths = {"train": self.paths.path, "val": self.paths.val_path, "test": self.paths.test_path}
        sources = {
            split: open_source(path, self.reading, "data.path" if split == "train" else f"data.{split}_path")
            for split, path in paths.items()
            if path is not None
        }
        train = sources["train"]
        for source in sources.values():
            if (source.format == "libsvm") != (train.format == "libsvm"):
                raise UserError(f"{source.key}: a table in {source.format} does not go with one in {train.format}.")
        if train.format == "libsvm":
            self._check_sparse()
        return {split: source.like(train) for split, source in sources.items()}

    def _check_sparse(self) -> None:
        o = self.roles
        for name, value in (("features", o.features), ("exclude", o.exclude), ("categorical", o.categorical)):
            if value:
                raise UserError(f"data.{name}: the columns of a LIBSVM file have no names; leave it out.")
        for name, given in (("weight", o.weight), ("group", o.group), ("target", o.target)):
            if given is not None:
                raise UserError(f"data.{name}={given}: a LIBSVM file has a label and features only; leave it out.")

    def _key(self, sources: Mapping[str, Source]) -> str:
        return key_of(
            VERSION,
            [[split, s.format, s.fingerprint(), s.state()] for split, s in sources.items()],
            self.reading,
            self.preparation,
        )

    # --- serving ------------------------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        return self.table.fingerprint

    @property
    def training_groups(self) -> np.ndarray | None:
        group = self.table.group
        return None if group is None else np.asarray(group[self.rows["train"]])

    def is_large(self, split: str) -> bool:
        table = self.table
        entries = table.values / max(1, table.total) if table.sparse else table.width
        return len(self.rows[split]) * entries * 8 > IN_MEMORY_BYTES

    def served(self, split: str) -> Rows:
        table, rows = self.table, self.rows[split]
        weight = self.weights(split)
        if self.is_large(split) and not table.sparse:
            return MappedRows(table.x, rows, torch.as_tensor(self.labels_of(split)), weight, self.dtype)
        y = torch.as_tensor(self.labels_of(split), dtype=self.dtype)
        if table.sparse:
            return SparseRows(table.csr, rows, table.width, y, weight, self.dtype)
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
        return self.table.labels

    def describe(self) -> dict[str, Any]:
        target = self.preprocessor.target
        return super().describe() | {
            "path": self.paths.path,
            "target": target.column,
            "labels": {label: value for value, label in enumerate(target.labels)},
            "left_out": self.preprocessor.left_out,
            "label_weights": None if self.own_weights("train") is None else list(self.label_totals()),
            "warnings": self.table.warnings,
            "form": asdict(self.form) if self.form else None,
        }
