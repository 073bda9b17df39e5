"""From sources to a prepared table in the cache: read, label, split, fit, write; see `logreg.data.cache`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from tqdm import tqdm

from logreg.core.errors import UserError, plural
from logreg.core.options.rows import SPLITS, SplitOptions
from logreg.core.options.tables import PrepareOptions, RoleOptions
from logreg.data.cache import CacheEntry
from logreg.data.labels import SHOWN_VALUES, Target, label_codes, shown
from logreg.data.tables.preparing import roles
from logreg.data.tables.preparing.assign import (
    assign_rows,
    binary_target,
    evenly_spaced,
    label_counts,
    write_rows,
)
from logreg.data.tables.preparing.column_fit import ColumnFit, Matrix, leaks, sparse_leaks, without_reference
from logreg.data.tables.preparing.columns import NumberedColumns
from logreg.data.tables.preparing.convert import Conversion, convert_sparse, sparse_rows
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.data.tables.preparing.raw_table import NeedsFloat64, RawTable
from logreg.data.tables.preparing.statistics import TrainingStatistics
from logreg.data.tables.reading.source import MOST_READINGS, Source, WrongKinds, row_bar

# Part of every key: a table prepared by another version of this room is not read.
VERSION = 5
# Up to this many bytes of text, or of float64 features, numbers are kept in float64; above it, in float32.
FLOAT64_BYTES = 2**27
LEAK_ROWS, LEAK_VALUES = 20_000, 2**24  # of the sample in which leaks are looked for


@dataclass(frozen=True, kw_only=True)
class CachedTable(CacheEntry):
    """A table as training reads it.

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
    what: ClassVar[str] = "table"

    @cached_property
    def preprocessor(self) -> Preprocessor:
        return Preprocessor.from_json(self.preprocessing)

    @property
    def x(self) -> np.ndarray:
        return self.array("x", self.dtype, self.total, self.width)

    @property
    def y(self) -> np.ndarray:
        return self.array("y", np.int8, self.total)

    @property
    def weight(self) -> np.ndarray | None:
        return self.array("weight", np.float64, self.total) if self.weighted else None

    @property
    def group(self) -> np.ndarray | None:
        """A hash of each row's group."""
        return self.array("group", np.uint64, self.total) if self.grouped else None

    def rows_of(self, split: str) -> np.ndarray:
        """The row numbers of a split, ascending."""
        return self.array(f"rows_{split}", np.int64, self.rows[split])

    @property
    def csr(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where each row begins, and the columns and values of the entries."""
        return (
            self.array("indptr", np.int64, self.total + 1),
            self.array("indices", np.int32, self.values),
            self.array("values", self.dtype, self.values),
        )


@dataclass(frozen=True)
class TablePreparation:
    """How a table is prepared; equal ones make equal tables of equal sources.

    Attributes:
        seed: decides, with ``split``, which row is for what.
        standardize: numbers are centred and scaled; sparse tables never are.
    """

    roles: RoleOptions
    split: SplitOptions
    options: PrepareOptions
    seed: int
    standardize: bool

    def make(self, sources: dict[str, Source], folder: Path) -> CachedTable:
        """Read, split, fit and write, all into a folder.

        Args:
            sources: by the split they are for; the first has the training rows.

        Raises:
            UserError: the table cannot be read or trained on.
        """
        with row_bar(list(sources.values())) as bar:
            if sources["train"].format == "libsvm":
                return self._make_sparse(sources, folder, bar)
            try:
                return self._make_dense(sources, folder, bar, self.options.storage)
            except NeedsFloat64:
                if self.options.storage is not None:
                    raise UserError(
                        "data.storage=float32 does not hold the numbers of this table; use float64."
                    ) from None
                bar.reset()
                return self._make_dense(sources, folder, bar, "float64")

    def _make_sparse(self, sources: dict[str, Source], folder: Path, bar: tqdm) -> CachedTable:
        dtype = dtype_of(sum(source.size for source in sources.values()), self.options.storage)
        raw, width = convert_sparse(list(sources.values()), folder, dtype, bar.update)
        y, labels = binary_target(raw, self.roles)
        part = assign_rows(raw, y, list(sources)[1:], self.split, self.seed)
        pre = Preprocessor(NumberedColumns(width), Target("", labels), {}, sparse=True)
        return self._written(sources, raw, part, y, pre)

    def _make_dense(self, sources: dict[str, Source], folder: Path, bar: tqdm, storage: str | None) -> CachedTable:
        names = list(sources)
        for _ in range(MOST_READINGS):
            train = sources["train"]
            chosen = roles.assign(train.columns, self.roles, train.key)
            for source in sources.values():
                if absent := [c for c in chosen.columns if c not in source.columns]:
                    listed = ", ".join(absent[:10])
                    raise UserError(f"{source.key}: the columns {listed} are missing; the training rows have them.")
            bytes_of_files = sum(source.size for source in sources.values())
            size = 8 * train.row_count * len(chosen.features) if train.row_count else bytes_of_files
            try:
                raw = Conversion(list(sources.values()), chosen, folder, dtype_of(size, storage), bar.update).run()
                break
            except WrongKinds as wrong:  # the text files are read once more, with what they turned out to hold
                sources = {split: s.like(wrong.source) for split, s in sources.items()}
                bar.reset()
        else:
            raise UserError(
                f"{sources['train'].key}: the file cannot be read consistently; set data.delimiter and data.quote."
            )
        bar.set_postfix_str("fitting")
        y, labels = binary_target(raw, self.roles)
        part = assign_rows(raw, y, names[1:], self.split, self.seed)
        training, rows = TrainingStatistics(raw, self._training_weight(raw, part)), int(np.count_nonzero(part == 0))
        fit = ColumnFit(training, chosen, rows, self.standardize, self.options.min_count)
        columns = without_reference(fit.columns(), self.options.reference, train.key)
        pre = Preprocessor(columns, Target(self.roles.target or "", labels), fit.left_out)
        raw.notes.extend(f"column {name} is left out: {reason}" for name, reason in fit.left_out.items())
        bar.set_postfix_str("writing")
        Matrix(raw, pre).write(folder / "x")
        return self._written(sources, raw, part, y, pre)

    def _training_weight(self, raw: RawTable, part: np.ndarray) -> np.ndarray:
        """(rows,): the weight of every training row, 0 for the others."""
        if not raw.has_weight:
            return part == 0
        weight = np.array(raw.array("weight", np.float64, raw.rows))
        for i, split in enumerate(SPLITS):
            if (part == i).any() and not weight[part == i].any():
                raise UserError(f"data.weight={self.roles.weight}: all weights of the {split} rows are 0.")
        weight[part != 0] = 0.0
        return weight

    def _written(
        self, sources: Mapping[str, Source], raw: RawTable, part: np.ndarray, y: np.ndarray, pre: Preprocessor
    ) -> CachedTable:
        folder = raw.folder
        labels = dict(zip(SPLITS, label_counts(part, y, len(SPLITS)).tolist(), strict=True))
        write_rows(part, folder)
        np.asarray(y).tofile(folder / "y")
        warnings = self._leaks(raw, part, y, pre)
        for name in ("numbers", "codes", "target"):
            (folder / name).unlink(missing_ok=True)
        zero, one = self._spelled(raw, pre.target.labels)
        total = [plural(sum(by_split[i] for by_split in labels.values()), "row") for i in (0, 1)]
        raw.notes.insert(0, f"{pre.target.column or 'label'}: 1 is {one} ({total[1]}), 0 is {zero} ({total[0]})")
        return CachedTable(
            folder=folder,
            rows={name: sum(counts) for name, counts in labels.items()},
            labels=labels,
            total=raw.rows,
            width=pre.width,
            dtype=raw.dtype.name,
            sparse=pre.sparse,
            weighted=raw.has_weight,
            grouped=raw.has_group,
            preprocessing=pre.to_json(),
            fingerprint=" ".join(source.fingerprint() for source in sources.values()),
            values=int(raw.array("indptr", np.int64, raw.rows + 1)[-1]) if pre.sparse else 0,
            notes=raw.notes,
            warnings=warnings,
        )

    def _spelled(self, raw: RawTable, labels: tuple[str, str]) -> list[str]:
        """What 0 and 1 stand for, with all the labels that ``data.labels`` puts together."""
        meaning = label_codes(raw.labels.values, labels, self.roles.labels, "data.target")
        sides = [[text for text, code in zip(raw.labels.values, meaning, strict=True) if code == i] for i in (0, 1)]
        return [" or ".join(shown(text) for text in side[:SHOWN_VALUES]) or labels[i] for i, side in enumerate(sides)]

    def _leaks(self, raw: RawTable, part: np.ndarray, y: np.ndarray, pre: Preprocessor) -> list[str]:
        """A warning for each column that alone tells the labels apart."""
        most = min(LEAK_ROWS, LEAK_VALUES // max(1, 1 if pre.sparse else pre.width))
        sample = evenly_spaced(part, 0, most)
        labels = np.asarray(y[sample], dtype=np.float64)
        if pre.sparse:
            by_number = sparse_leaks(sparse_rows(raw, sample, pre.width), labels, self.options.leak_auroc)
            areas = {pre.columns[i].feature: area for i, area in by_number.items()}
        else:
            x = np.memmap(raw.folder / "x", dtype=raw.dtype, mode="r", shape=(raw.rows, pre.width))
            areas = leaks(pre, np.asarray(x[sample]), labels, self.options.leak_auroc)
        out = "leave it out" + ("" if pre.sparse else " with 'data.exclude=[{}]'")
        return [
            f"column {column} (AUROC {area:.4f}) alone tells the labels apart almost perfectly; if it would not be "
            f"known when a prediction is made, {out.format(column)}"
            for column, area in areas.items()
        ]


def dtype_of(size: int, storage: str | None) -> np.dtype:
    """What numbers are kept as: what is asked for, else float64 for a small table."""
    return np.dtype(storage or ("float64" if size <= FLOAT64_BYTES else "float32"))
