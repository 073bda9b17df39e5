"""Sparse tables: from LIBSVM files to the three arrays of a CSR matrix, in one pass and in constant memory."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_array

from logreg.core.errors import UserError
from logreg.data.rows import gathered
from logreg.data.tables.preparing.convert import Progress
from logreg.data.tables.preparing.raw_table import MOST_LABELS, RawTable, append, occurrences
from logreg.data.tables.reading.source import Source


def convert_sparse(
    sources: Sequence[Source], folder: Path, dtype: np.dtype, progress: Progress
) -> tuple[RawTable, int, int, list[str]]:
    """Read LIBSVM sources into ``indptr``, ``indices``, ``values`` and ``target``.

    Returns:
        The labels as a `RawTable` without numbers, the width, the number of entries, and what was noticed. The
        width is that of the first source; columns beyond it in the others are left out.

    Raises:
        UserError: a file cannot be read; with the line.
    """
    raw = RawTable(folder, dtype)
    width, entries, notes = 0, 0, []
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
                notes.append(
                    f"{source.key} has {widest} columns; those beyond the {width} of the training rows are left out"
                )
    if not width:
        raise UserError(f"{sources[0].key}: no row has any feature.")
    return raw, width, entries, notes


def sparse_rows(raw: RawTable, rows: np.ndarray, width: int) -> csr_array:
    """Some rows of the matrix that `convert_sparse` wrote."""
    indptr = raw.array("indptr", np.int64, raw.rows + 1)
    stored = int(indptr[-1])
    indices, values = raw.array("indices", np.int32, stored), raw.array("values", raw.dtype, stored)
    pointers, columns, entries = gathered(*(torch.from_numpy(part) for part in (indptr, indices, values, rows)))
    return csr_array((entries.numpy(), columns.numpy(), pointers.numpy()), shape=(len(rows), width))
