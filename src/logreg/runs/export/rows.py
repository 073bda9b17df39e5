"""What an export is compared on: the rows of a run's table or its photos, read again from where they came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from logreg.core.build import build_data
from logreg.core.errors import UserError
from logreg.data.images.data import ImageData
from logreg.data.images.decoding import BadPhoto, read_rgb
from logreg.data.images.discover import photos_below
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.data.tables.reading.source import MOST_READINGS, Source, WrongKinds, open_source
from logreg.runs.load import Run
from logreg.runs.reading import read_options
from logreg.runs.tables import matching

# A batch of raw rows: a frame of the run's columns, or a sparse matrix of its width.
RawRows = pl.DataFrame | csr_matrix
Batch = TypeVar("Batch", bound=RawRows | np.ndarray)

MOST_ROWS = 100_000
BATCH_ELEMENTS = 2**21  # features of the rows of a batch
BATCH_ROWS = 2**13
MOST_PHOTOS = 200
BATCH_PHOTOS = 8  # of one size
BATCH_BYTES = 2**24
OTHER_ROWS = "Give data.path=<table> to compare the export on another one with the same columns."
OTHER_PHOTOS = "Give data.path=<photo or folder of photos> to compare the export on others."


@dataclass(frozen=True)
class Sample(Generic[Batch]):
    """Rows spread evenly over a table, or photos over all, in batches; can be iterated over several times.

    Attributes:
        read: reads them, from the first one on.
        count: rows of all batches together, of ``total``.
        what: a row is.
    """

    read: Callable[[], Iterator[Batch]]
    count: int
    total: int
    what: str = "row"

    def __iter__(self) -> Iterator[Batch]:
        return self.read()


def spread(total: int, most: int) -> range:
    """Positions of at most ``most`` rows, evenly spread over ``total``."""
    return range(0, total, max(1, math.ceil(total / most)))


def sample_of_rows(read: Callable[[], Iterator[RawRows]], total: int, width: int) -> Sample[RawRows]:
    """At most `MOST_ROWS` rows of a table.

    Args:
        read: reads the table, from its first row on.
        width: features of a row, which decide how many rows a batch has.
    """
    positions = spread(total, MOST_ROWS)
    batch_rows = max(1, min(BATCH_ROWS, BATCH_ELEMENTS // max(1, width)))

    def batches() -> Iterator[RawRows]:
        passed = 0
        for rows in read():
            chosen = rows[-passed % positions.step :: positions.step]
            passed += rows.shape[0]
            for first in range(0, chosen.shape[0], batch_rows):
                yield chosen[first : first + batch_rows]

    return Sample(batches, len(positions), total)


def rows_of(run: Run, data_path: str | None = None, trusted: Sequence[str] = ()) -> Sample[RawRows]:
    """The rows of a run's table, or of another one with the same columns.

    Raises:
        UserError: the table is not there any more or cannot be read, or lacks columns.
    """
    if data_path is not None:
        options = read_options(run.settings.data.reading)
        return _of_sources([matching(open_source(data_path, options, "data.path"), run)], run)
    data = build_data(run.settings.data, trusted)
    if hasattr(data, "open_sources"):
        try:
            sources = list(data.open_sources().values())
        except UserError as error:
            raise UserError(f"{error} {OTHER_ROWS}") from error
        return _of_sources(sources, run)
    data.prepare_data()
    data.setup("fit")
    if not hasattr(data, "source"):
        raise UserError(f"run={run.directory}: the rows of {type(data).__name__} cannot be read again. {OTHER_ROWS}")
    frame = pl.DataFrame(data.source.x, schema=data.source.features)
    run.table_preprocessor.check(frame.columns, f"run={run.directory}")
    return sample_of_rows(lambda: iter([frame]), len(frame), run.table_preprocessor.width)


def _of_sources(sources: list[Source], run: Run) -> Sample[RawRows]:
    pre = run.table_preprocessor
    if pre.sparse:
        read = partial(_sparse_batches, sources, pre.width)
        return sample_of_rows(read, sum(batch.shape[0] for batch in read()), pre.width)
    for source in sources:
        pre.check(list(source.columns), source.key)
    settled, total = _settled(sources, pre)
    return sample_of_rows(lambda: (x for s in settled for x in s.batches(pre.raw_columns)), total, pre.width)


def _sparse_batches(sources: list[Source], width: int) -> Iterator[csr_matrix]:
    """Blocks of the run's width: columns that training did not have count for nothing."""
    for source in sources:
        for x, _ in source.sparse_blocks():
            x = x[:, :width]
            yield csr_matrix((x.data, x.indices, x.indptr), shape=(x.shape[0], width))


def _settled(sources: list[Source], pre: Preprocessor) -> tuple[list[Source], int]:
    """The sources with the final kinds of their columns, and their rows; a text file is read to its end for that."""
    counts = [source.row_count for source in sources if source.format != "csv" and source.row_count is not None]
    if len(counts) == len(sources):
        return sources, sum(counts)
    for _ in range(MOST_READINGS):
        try:
            return sources, sum(len(frame) for source in sources for frame in source.batches(pre.raw_columns))
        except WrongKinds as wrong:
            sources = [source.like(wrong.source) for source in sources]
    raise UserError(f"{sources[0].key}: the file cannot be read consistently; set data.delimiter and data.quote.")


def photos_of(run: Run, data_path: str | None = None, trusted: Sequence[str] = ()) -> Sample[np.ndarray]:
    """The run's own photos as they were before they were shrunk; or a photo, or those of a folder.

    Raises:
        UserError: there are none, or they are not there any more.
    """
    if data_path is not None:
        files = photos_below(data_path)
        return sample_of_photos([files[i] for i in spread(len(files), MOST_PHOTOS)], len(files), "data.path")
    data = build_data(run.settings.data, trusted)
    if not isinstance(data, ImageData):
        kind = type(data).__name__
        raise UserError(f"run={run.directory}: the photos of {kind} cannot be read again. {OTHER_PHOTOS}")
    try:
        data.prepare_data()
        data.load()
    except UserError as error:
        raise UserError(f"{error} {OTHER_PHOTOS}") from error
    numbers = data.candidates()
    chosen = [int(numbers[i]) for i in spread(len(numbers), MOST_PHOTOS)]
    return sample_of_photos(data.originals(chosen), len(numbers), f"run={run.directory}")


def sample_of_photos(photos: Sequence[Path | np.ndarray], total: int, key: str) -> Sample[np.ndarray]:
    """These photos of ``total``, in batches of (photos, height, width, 3) uint8: those of one size in a row together.

    Args:
        photos: paths, or arrays (height, width, 3) of uint8.
        key: where they come from, for errors.
    """

    def batches() -> Iterator[np.ndarray]:
        for shape, several in groupby((_decoded(photo, key) for photo in photos), key=np.shape):
            most = max(1, min(BATCH_PHOTOS, BATCH_BYTES // math.prod(shape)))
            while batch := list(islice(several, most)):
                yield np.stack(batch)

    return Sample(batches, len(photos), total, "photo")


def _decoded(photo: Path | np.ndarray, key: str) -> np.ndarray:
    if isinstance(photo, np.ndarray):
        return photo
    try:
        return np.asarray(read_rgb(photo))
    except BadPhoto as reason:
        raise UserError(f"{key}: {photo} {reason}.{'' if key == 'data.path' else f' {OTHER_PHOTOS}'}") from None
