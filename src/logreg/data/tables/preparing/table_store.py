"""A table in the cache; see `logreg.data.cache`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from logreg.data.cache import CacheEntry, Manifest
from logreg.data.tables.preprocessor import Preprocessor

# Part of every key: a table prepared by another version of this room is not read.
VERSION = 5


@dataclass(frozen=True)
class TableManifest(Manifest):
    """What a prepared table is.

    Attributes:
        rows: in each split.
        labels: rows of label 0 and 1 in each split.
        total: rows of the matrix, whatever split they are in.
        width: features.
        values: stored values of a sparse matrix.
        dtype: of the matrix.
        fingerprint: of the sources' content.
    """

    rows: dict[str, int]
    labels: dict[str, list[int]]
    total: int
    width: int
    dtype: str
    sparse: bool
    weighted: bool
    preprocessing: str
    fingerprint: str
    values: int = 0
    grouped: bool = False
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CachedTable(CacheEntry[TableManifest]):
    """A table as training reads it."""

    manifest_type: ClassVar[type[Manifest]] = TableManifest
    what: ClassVar[str] = "table"

    @cached_property
    def preprocessor(self) -> Preprocessor:
        return Preprocessor.from_json(self.manifest.preprocessing)

    @property
    def x(self) -> np.ndarray:
        return self.array("x", self.manifest.dtype, self.manifest.total, self.manifest.width)

    @property
    def y(self) -> np.ndarray:
        return self.array("y", np.int8, self.manifest.total)

    @property
    def weight(self) -> np.ndarray | None:
        return self.array("weight", np.float64, self.manifest.total) if self.manifest.weighted else None

    @property
    def group(self) -> np.ndarray | None:
        """A hash of each row's group."""
        return self.array("group", np.uint64, self.manifest.total) if self.manifest.grouped else None

    def rows(self, split: str) -> np.ndarray:
        """The row numbers of a split, ascending."""
        return self.array(f"rows_{split}", np.int64, self.manifest.rows[split])

    @property
    def csr(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where each row begins, and the columns and values of the entries."""
        m = self.manifest
        return (
            self.array("indptr", np.int64, m.total + 1),
            self.array("indices", np.int32, m.values),
            self.array("values", m.dtype, m.values),
        )
