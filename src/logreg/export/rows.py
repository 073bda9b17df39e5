"""The rows of a run's table, read again from where they came from, to compare an export on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from lightning.pytorch import LightningDataModule
from scipy.sparse import csr_matrix

from logreg.build import build
from logreg.data.preprocessing import Preprocessor
from logreg.data.table import with_kinds
from logreg.data.tables.libsvm import read_blocks
from logreg.data.tables.source import ReadOptions, Source, WrongKinds, open_source
from logreg.errors import UserError
from logreg.predicting import matching
from logreg.runs import Run

# A batch of raw rows: a frame of the run's columns, or a sparse matrix of its width.
Batch = pl.DataFrame | csr_matrix

MOST_ROWS = 100_000
BATCH_ELEMENTS = 2**21  # features of the rows of a batch
BATCH_ROWS = 2**13
MOST_READINGS = 4  # of a text file whose beginning did not tell what is in it


class ComparedRows:
    """Rows spread evenly over a table, in batches; can be iterated over several times.

    Args:
        read: starts reading the table anew.
        total: its rows.
        width: features of a row, which decide how many rows a batch has.

    Attributes:
        count: rows of all batches together, `MOST_ROWS` at the most.
    """

    def __init__(self, read: Callable[[], Iterator[Batch]], total: int, width: int) -> None:
        self.read, self.total = read, total
        self.step = max(1, -(-total // MOST_ROWS))
        self.count = -(-total // self.step)
        self.batch_rows = max(1, min(BATCH_ROWS, BATCH_ELEMENTS // max(1, width)))

    def __iter__(self) -> Iterator[Batch]:
        done = 0
        for batch in self.read():
            chosen = batch[-done % self.step :: self.step]
            done += batch.shape[0]
            for first in range(0, chosen.shape[0], self.batch_rows):
                yield chosen[first : first + self.batch_rows]


def rows_of(run: Run, data_path: str | None = None, trusted: Sequence[str] = ()) -> ComparedRows:
    """The rows of a run's table, or of another one with the same columns.

    Raises:
        UserError: the table is not there any more or cannot be read, or lacks columns.
    """
    pre = run.table_preprocessor
    if data_path is not None:
        options = ReadOptions.of(run.config["data"], {})
        return _of_sources([matching(open_source(data_path, options, "data.path"), run)], run)
    data = build(run.config["data"], LightningDataModule, "data", trusted)
    other = "Give data.path=<table> to compare the export on another one with the same columns."
    if hasattr(data, "open_sources"):
        try:
            sources = list(data.open_sources().values())
        except UserError as error:
            raise UserError(f"{error} {other}") from error
        return _of_sources(sources, run)
    data.prepare_data()
    data.setup("fit")
    if not hasattr(data, "source"):
        raise UserError(f"run={run.directory}: the rows of {type(data).__name__} cannot be read again. {other}")
    frame = pl.DataFrame(data.source.x, schema=data.source.features)
    pre.check(frame.columns, f"run={run.directory}")
    return ComparedRows(lambda: iter([frame]), len(frame), pre.width)


def _of_sources(sources: list[Source], run: Run) -> ComparedRows:
    pre = run.table_preprocessor
    if pre.sparse:
        zero_based = bool(run.config["data"].get("zero_based"))
        read: Callable[[], Iterator[Batch]] = lambda: _sparse_batches(sources, pre.width, zero_based)  # noqa: E731
        return ComparedRows(read, sum(batch.shape[0] for batch in read()), pre.width)
    for source in sources:
        pre.check(list(source.columns), source.key)
    settled, total = _settled(sources, pre)
    return ComparedRows(lambda: _batches(settled, pre), total, pre.width)


def _batches(sources: list[Source], pre: Preprocessor) -> Iterator[pl.DataFrame]:
    for source in sources:
        yield from source.batches(pre.raw_columns)


def _sparse_batches(sources: list[Source], width: int, zero_based: bool) -> Iterator[csr_matrix]:
    """Blocks of the run's width: columns that training did not have count for nothing."""
    for source in sources:
        for path in source.files:
            for x, _, _ in read_blocks(source.key, Path(path), zero_based):
                x = x[:, :width]
                yield csr_matrix((x.data, x.indices, x.indptr), shape=(x.shape[0], width))


def _settled(sources: list[Source], pre: Preprocessor) -> tuple[list[Source], int]:
    """The sources with what their columns hold known for good, and their rows; text is read to the end for it."""
    counts = [source.row_count for source in sources]
    if all(source.format != "csv" for source in sources) and None not in counts:
        return sources, sum(count for count in counts if count is not None)
    for _ in range(MOST_READINGS):
        try:
            return sources, sum(len(frame) for frame in _batches(sources, pre))
        except WrongKinds as wrong:
            found: Any = wrong.source
            sources = [found if source.key == found.key else with_kinds(source, found) for source in sources]
    raise UserError(f"{sources[0].key}: the file cannot be read consistently; set data.delimiter and data.quote.")
