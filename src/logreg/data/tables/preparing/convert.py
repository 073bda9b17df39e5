"""One pass over a source: from its columns to plain arrays on disk, in constant memory.

Numbers go to a `ColumnStore`, ``codes`` (rows, categoricals) int32 and target, weight and group to a file each; LIBSVM
files become the three arrays of a CSR matrix.
Nothing here depends on which rows are for training; `logreg.data.tables.preparing.column_fit` decides that when the
pass is over.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_array

from logreg.core.errors import UserError
from logreg.data.rows import gathered
from logreg.data.tables.preparing.columns import DATE_PARTS, TIME_PARTS
from logreg.data.tables.preparing.raw_table import (
    MOST_LABELS,
    DistinctIntegers,
    LevelDictionary,
    RawTable,
    append,
    occurrences,
)
from logreg.data.tables.preparing.roles import Roles
from logreg.data.tables.reading.kinds import as_levels, as_numbers
from logreg.data.tables.reading.source import Source

# A text column with more different values than this says nothing to a linear model.
MOST_LEVELS = 2**17
DISTINCT_COMPARED = 2**24  # values of all integer columns together, which are kept in memory until the pass is over
FIRST_ROWS = 2**16  # by which the units of float32 columns are chosen

Progress = Callable[[int], object]


class Conversion:
    """One pass over sources, one after the other, into arrays in ``folder``.

    Args:
        dtype: float64 keeps numbers as they are; float32 keeps columns far from zero relative to their first rows, so
            that a large offset costs no digits.
        progress: called with the number of rows of every batch.
    """

    def __init__(
        self, sources: Sequence[Source], roles: Roles, folder: Path, dtype: np.dtype, progress: Progress
    ) -> None:
        self.sources, self.roles, self.progress = sources, roles, progress
        kinds = sources[0].columns
        numbers: list[tuple[str, str | None]] = [(column, None) for column in roles.numeric]
        for column in roles.dates:
            parts = DATE_PARTS if kinds[column] == "date" else DATE_PARTS + TIME_PARTS
            numbers += [(column, part) for part in parts]
        levels = {column: LevelDictionary(MOST_LEVELS) for column in roles.categorical}
        has_weight, has_group = roles.weight is not None, roles.group is not None
        self.raw = RawTable(folder, dtype, numbers, levels, has_weight, has_group)
        whole = [column for column in roles.numeric if kinds[column] == "integer"]
        self._ids = {column: DistinctIntegers(DISTINCT_COMPARED // len(whole)) for column in whole}
        self._units_chosen = dtype == np.float64  # which keeps every column as it is

    def run(self) -> RawTable:
        """Read all sources.

        Raises:
            UserError: they cannot be read, or hold infinite numbers, negative weights or rows without a group.
            WrongKinds: a text file turned out to hold something else than its beginning said.
        """
        raw, roles = self.raw, self.roles
        names = ["codes", "target", *(["weight"] if roles.weight else []), *(["group"] if roles.group else [])]
        with contextlib.ExitStack() as stack:
            files = {name: stack.enter_context((raw.folder / name).open("wb")) for name in names}
            for source in self.sources:
                rows, counts = 0, Counter[int]()
                for frame in source.batches(roles.columns):
                    self._add(frame, files, counts, source.key, rows)
                    rows += len(frame)
                    self.progress(len(frame))
                raw.end_source(source.key, rows, counts, self._ids)
                self._ids = {}
        return raw

    def _add(
        self, frame: pl.DataFrame, files: Mapping[str, IO[bytes]], counts: Counter[int], key: str, row: int
    ) -> None:
        raw, roles = self.raw, self.roles
        codes = raw.labels.codes(frame[roles.target])
        if raw.labels.overflowed:
            raise UserError(
                f"data.target={roles.target}: two labels are needed, and {key} has more than {MOST_LABELS} different "
                f"values in this column, {', '.join(raw.labels.values[:5])}, … among them."
            )
        counts.update(occurrences(codes))
        append(files["target"], codes.astype(np.int8))
        if roles.weight is not None:
            append(files["weight"], _weights(frame[roles.weight], codes >= 0, key, row))
        if roles.group is not None:
            groups = as_levels(frame[roles.group])
            ungrouped = groups.is_null().to_numpy() & (codes >= 0)
            if ungrouped.any():
                raise UserError(
                    f"data.group={roles.group}: {key} has rows without a group, the first is row "
                    f"{row + int(np.flatnonzero(ungrouped)[0]) + 1}."
                )
            append(files["group"], groups.hash().to_numpy())
        if raw.numbers:
            raw.store.append(self._numbers(frame, key))
        if raw.levels:
            columns = [levels.codes(frame[column]) for column, levels in raw.levels.items()]
            append(files["codes"], np.stack(columns, axis=1))

    def _numbers(self, frame: pl.DataFrame, key: str) -> list[np.ndarray]:
        """The numbers of a batch in the units of the store, (rows,) for each column, NaN where they are missing."""
        raw = self.raw
        # Series by series: an expression would wait for polars' threads, which are reading the next rows.
        columns = [
            # A view where the column has no gaps.
            (frame[name] if frame.schema[name].is_float() else frame[name].cast(pl.Float64)).to_numpy()
            if part is None
            else as_numbers(frame[name], part, key)
            for name, part in raw.numbers
        ]
        for i, ((name, _), x) in enumerate(zip(raw.numbers, columns, strict=True)):
            raw.rounded[i] |= x.dtype != raw.dtype
            if name in self._ids:
                self._ids[name].add(frame[name])
        if not self._units_chosen:
            raw.choose_units([x[:FIRST_ROWS] for x in columns])
            self._units_chosen = True
        for i in np.flatnonzero((raw.shift != 0) | (raw.scale != 1)).tolist():
            columns[i] = (columns[i] - raw.shift[i]) / raw.scale[i]
        return columns


def _weights(column: pl.Series, labelled: np.ndarray, key: str, row: int) -> np.ndarray:
    """(rows,); 0 where there is no label."""
    weights = np.where(labelled, as_numbers(column, None, key), 0.0)
    bad = ~(weights >= 0)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        what = "missing" if np.isnan(weights[first]) else f"{weights[first]:g}"
        raise UserError(
            f"data.weight={column.name}: the weight in row {row + first + 1} of {key} is {what}; weights are 0 or more."
        )
    return weights


def convert_sparse(
    sources: Sequence[Source], folder: Path, dtype: np.dtype, progress: Progress
) -> tuple[RawTable, int]:
    """Read LIBSVM sources into ``indptr``, ``indices``, ``values`` and ``target``.

    Returns:
        The labels as a `RawTable` without numbers, and the width, which is that of the first source; columns beyond it
        in the others are left out.

    Raises:
        UserError: a file cannot be read; with the line.
    """
    raw = RawTable(folder, dtype)
    width, entries = 0, 0
    with contextlib.ExitStack() as stack:
        files = ("indptr", "indices", "values", "target")
        indptr, indices, values, target = (stack.enter_context((folder / name).open("wb")) for name in files)
        append(indptr, np.zeros(1, np.int64))
        for source in sources:
            is_first = not raw.origins
            rows, widest, counts = 0, 0, Counter[int]()
            for x, y in source.sparse_blocks():
                widest = max(widest, x.shape[1])
                if not is_first and x.shape[1] > width:
                    x = x[:, :width]
                append(indptr, entries + x.indptr[1:].astype(np.int64))
                append(indices, x.indices.astype(np.int32))
                append(values, x.data.astype(dtype))
                entries += x.nnz
                codes = raw.labels.codes(pl.Series("label", y))
                if raw.labels.overflowed:
                    several = f"there are more than {MOST_LABELS} different ones"
                    raise UserError(f"{source.key}: two labels are needed, and {several}.")
                counts.update(occurrences(codes))
                append(target, codes.astype(np.int8))
                rows += len(y)
                progress(len(y))
            raw.end_source(source.key, rows, counts)
            if is_first:
                width = widest
            elif widest > width:
                raw.notes.append(
                    f"{source.key} has {widest} columns; those beyond the {width} of the training rows are left out"
                )
    if not width:
        raise UserError(f"{sources[0].key}: no row has any feature.")
    return raw, width


def sparse_rows(raw: RawTable, rows: np.ndarray, width: int) -> csr_array:
    """Some rows of the matrix that `convert_sparse` wrote."""
    indptr = raw.array("indptr", np.int64, raw.rows + 1)
    stored = int(indptr[-1])
    indices, values = raw.array("indices", np.int32, stored), raw.array("values", raw.dtype, stored)
    pointers, columns, entries = gathered(*(torch.from_numpy(part) for part in (indptr, indices, values, rows)))
    return csr_array((entries.numpy(), columns.numpy(), pointers.numpy()), shape=(len(rows), width))
