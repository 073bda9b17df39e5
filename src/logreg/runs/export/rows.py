"""The rows of a run's table, read again from where they came from, to compare an export on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import polars as pl
from lightning.pytorch import LightningDataModule
from scipy.sparse import csr_matrix

from logreg.core.build import build
from logreg.core.errors import UserError
from logreg.data.images.data import ImageData
from logreg.data.images.decoding import BadPhoto, read_rgb
from logreg.data.images.discover import photos_below
from logreg.data.tables.preprocessor import Preprocessor
from logreg.data.tables.reading.libsvm import read_blocks
from logreg.data.tables.reading.source import Source, WrongKinds, open_source
from logreg.data.tables.table import with_kinds
from logreg.runs.load import Run
from logreg.runs.reading import read_options
from logreg.runs.tables import matching

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
        read = 0
        for batch in self.read():
            chosen = batch[-read % self.step :: self.step]
            read += batch.shape[0]
            for first in range(0, chosen.shape[0], self.batch_rows):
                yield chosen[first : first + self.batch_rows]


def rows_of(run: Run, data_path: str | None = None, trusted: Sequence[str] = ()) -> ComparedRows:
    """The rows of a run's table, or of another one with the same columns.

    Raises:
        UserError: the table is not there any more or cannot be read, or lacks columns.
    """
    pre = run.table_preprocessor
    if data_path is not None:
        options = read_options(run.settings.data.arguments, {})
        return _of_sources([matching(open_source(data_path, options, "data.path"), run)], run)
    data = build(run.settings.data, LightningDataModule, "data", trusted)
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
        zero_based = bool(run.settings.value("data.zero_based"))
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
            corrected = wrong.source
            sources = [
                corrected if source.key == corrected.key else with_kinds(source, corrected) for source in sources
            ]
    raise UserError(f"{sources[0].key}: the file cannot be read consistently; set data.delimiter and data.quote.")


MOST_PHOTOS = 200
TOGETHER = 8  # photos of one size
TOGETHER_BYTES = 2**24
OTHER = "Give data.path=<photo or folder of photos> to compare the export on others."


class ComparedPhotos:
    """Photos spread evenly over all, those of one size that follow each other together; can be iterated over again.

    Args:
        photos: paths, or arrays (height, width, 3) of uint8.
        total: how many there are; these were chosen from them.
        key: where they come from, for errors.

    Attributes:
        count: photos of all batches together.
    """

    def __init__(self, photos: Sequence[Path | np.ndarray], total: int, key: str) -> None:
        self.photos, self.total, self.key, self.count = photos, total, key, len(photos)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Batches of (photos, height, width, 3) uint8."""
        for shape, several in groupby(map(self._decoded, self.photos), key=np.shape):
            most = max(1, min(TOGETHER, TOGETHER_BYTES // int(np.prod(shape))))
            batch: list[np.ndarray] = []
            for photo in several:
                batch.append(photo)
                if len(batch) == most:
                    yield np.stack(batch)
                    batch = []
            if batch:
                yield np.stack(batch)

    def _decoded(self, photo: Path | np.ndarray) -> np.ndarray:
        if isinstance(photo, np.ndarray):
            return photo
        try:
            return np.asarray(read_rgb(photo))
        except BadPhoto as reason:
            raise UserError(f"{self.key}: {photo} {reason}.{'' if self.key == 'data.path' else f' {OTHER}'}") from None


def spread(total: int) -> range:
    """Numbers of photos to compare on, evenly spread over ``total``."""
    return range(0, total, max(1, -(-total // MOST_PHOTOS)))


def photos_of(run: Run, data_path: str | None = None, trusted: Sequence[str] = ()) -> ComparedPhotos:
    """The run's own photos as they were before they were shrunk; or a photo, or those of a folder.

    Raises:
        UserError: there are none, or they are not there any more.
    """
    if data_path is not None:
        files: list[Path] = photos_below(data_path)
        return ComparedPhotos([files[i] for i in spread(len(files))], len(files), "data.path")
    data = build(run.settings.data, LightningDataModule, "data", trusted)
    if not isinstance(data, ImageData):
        raise UserError(f"run={run.directory}: the photos of {type(data).__name__} cannot be read again. {OTHER}")
    try:
        data.prepare_data()
        data.load()
    except UserError as error:
        raise UserError(f"{error} {OTHER}") from error
    numbers = data.candidates()
    chosen = [int(numbers[i]) for i in spread(len(numbers))]
    return ComparedPhotos(data.originals(chosen), len(numbers), f"run={run.directory}")
