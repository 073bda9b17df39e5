"""A table in files as a stream of polars frames, whatever its format.

Text is read by `logreg.data.tables.reading.text`; Parquet and Arrow by polars, or by pyarrow where polars would need
memory for more than a batch.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix
from tqdm import tqdm

from logreg.core.errors import UserError
from logreg.core.options.tables import Dialect, ReadOptions
from logreg.data.tables.reading import kinds
from logreg.data.tables.reading.files import OTHER_ARROW, Value, files_of, format_of, partitions_of
from logreg.data.tables.reading.libsvm import read_blocks
from logreg.data.tables.reading.text import Misread, TextFile, look

MOST_BATCH_ROWS, BATCH_VALUES = 2**17, 2**22  # of a batch
# Files up to here are hashed whole; of larger ones the size, the time of the last change and samples are.
HASHED_WHOLE = 64 * 2**20
SAMPLES, SAMPLE = 256, 4096  # how many, and bytes of each
# A Parquet row group of more bytes than this is decoded piece by piece.
LARGE_ROW_GROUP = 96 * 2**20
# What a file that is damaged makes polars and pyarrow raise.
DAMAGED = (*kinds.POLARS_ERRORS, OSError, ValueError, NotImplementedError, MemoryError)
MOST_READINGS = 4  # of a text file whose beginning did not tell what is in it


@dataclass(frozen=True)
class Source:
    """A table in one or several files of one format.

    Attributes:
        key: what to name in errors, such as ``data.path=churn.csv``.
        columns: the kind of every column, by name; see `logreg.data.tables.reading.kinds`.
        row_count: how many rows there are, where the files say so.
        texts: the files again, if they are text.
        partitions: of each file the columns that its folders stand for, as in ``year=2024/month=5/part.parquet``.
    """

    key: str
    files: tuple[Path, ...]
    format: str
    options: ReadOptions
    columns: dict[str, str] = field(default_factory=dict)
    row_count: int | None = None
    texts: tuple[TextFile, ...] = ()
    partitions: dict[Path, dict[str, Value]] = field(default_factory=dict)

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """These columns of all rows in their order, some ten thousand rows at a time.

        Raises:
            UserError: the files cannot be read, with the line where there are lines.
            WrongKinds: a column of a text file is not what its beginning said; read it again with these kinds.
        """
        for text in self.texts:
            yield from self._text_batches(text, list(columns))
        if not self.texts:
            for path in self.files:
                yield from self._binary_batches(path, list(columns))

    def sparse_blocks(self) -> Iterator[tuple[csr_matrix, np.ndarray]]:
        """Features and labels of a LIBSVM source; see `read_blocks`."""
        for path in self.files:
            yield from read_blocks(self.key, path, self.options.zero_based)

    def like(self, reread: Source) -> Source:
        """A text source whose columns are read as those of another one are: a sample may not show what they hold."""
        if self.key == reread.key:
            return reread
        if self.format != "csv" or reread.format != "csv":
            return self
        return replace(self, columns={c: reread.columns.get(c, kind) for c, kind in self.columns.items()})

    def lazy(self) -> pl.LazyFrame | None:
        """All columns as a lazy frame that is read in constant memory; None for text and for large row groups."""
        if self.texts or self.format == "libsvm":
            return None
        if self.format == "parquet" and any(_has_large_row_groups(path) for path in self.files):
            return None
        return pl.concat([self._scan(path) for path in self.files], how="vertical_relaxed")

    def _scan(self, path: Path) -> pl.LazyFrame:
        return _scanned(path, self.format).with_columns(self._partition(path))

    def _partition(self, path: Path) -> list[pl.Expr]:
        values = self.partitions.get(path, {})
        return [pl.lit(value, kinds.DTYPES[self.columns[name]]).alias(name) for name, value in values.items()]

    def _binary_batches(self, path: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
        try:
            if self.format == "parquet" and _has_large_row_groups(path):
                inside = [column for column in columns if column not in self.partitions.get(path, {})]
                for frame in _pieces(path, inside):
                    yield frame.with_columns(self._partition(path)).select(columns)
                return
            scan = self._scan(path).select(columns)
            yield from scan.collect_batches(chunk_size=batch_rows(len(columns)))
        except DAMAGED as error:
            raise UserError(
                f"{self._name(path)}: the file cannot be read as {self.format} ({_first_line(error)})."
            ) from error

    def _text_batches(self, text: TextFile, columns: list[str]) -> Iterator[pl.DataFrame]:
        self._refuse_strays(text, columns)
        try:
            yield from text.frames(columns, self.columns)
        except Misread:
            raise WrongKinds(self._inferred(columns)) from None

    def _inferred(self, columns: list[str]) -> Source:
        """The source with the kinds that all rows of all files show.

        Raises:
            UserError: a file is no table, or one of these columns has a text that does not belong there.
        """
        inferences = [text.infer(self.options.text) for text in self.texts]
        by_file = [self.columns, *(inference.kinds() for inference in inferences)]
        columns_of_all = {
            column: kind if kind == kinds.VERBATIM else kinds.common([of_file[column] for of_file in by_file])
            for column, kind in self.columns.items()
        }
        texts = [replace(text, strays=i.strays()) for text, i in zip(self.texts, inferences, strict=True)]
        source = replace(self, columns=columns_of_all, texts=tuple(texts))
        for text in source.texts:
            source._refuse_strays(text, columns)
        return source

    def _refuse_strays(self, text: TextFile, columns: list[str]) -> None:
        for column in columns:
            if column in text.strays and self.columns[column] in (*kinds.NUMBERS, *kinds.DATES):
                text.refuse_stray(column, self.columns[column])

    def _name(self, path: Path) -> str:
        return self.key if len(self.files) == 1 else f"{self.key} ({path.name})"

    @property
    def form(self) -> Dialect | None:
        """How the first file is written, if it is text."""
        if not self.texts:
            return None
        return replace(self.texts[0].dialect, missing=tuple(sorted(self.options.absent)))

    @cached_property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files)

    def fingerprint(self) -> str:
        """A digest of the content: whole for small files, samples of large ones; equal for a copy elsewhere."""
        digest = hashlib.sha256()
        for path in self.files:
            size = path.stat().st_size
            digest.update(size.to_bytes(8, "big"))
            with path.open("rb") as file:
                if size <= HASHED_WHOLE:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
                    continue
                for i in range(SAMPLES + 1):
                    file.seek(i * (size - SAMPLE) // SAMPLES)
                    digest.update(file.read(SAMPLE))
        return f"sha256:{digest.hexdigest()[:32]}"

    def state(self) -> list[list[str | int]]:
        """What shows on disk that a large file was changed: size and times."""
        stats = [(path, path.stat()) for path in self.files]
        large = any(stat.st_size > HASHED_WHOLE for _, stat in stats)
        return [[str(path.resolve()), s.st_size, s.st_mtime_ns, s.st_ctime_ns] for path, s in stats] if large else []


class WrongKinds(Exception):
    """A text file has to be read again, as ``source`` says now."""

    def __init__(self, source: Source) -> None:
        self.source = source
        super().__init__("the beginning of the file did not tell what its columns hold")


def open_source(path: str, options: ReadOptions, key: str) -> Source:
    """Look at a path: which files, what format, which columns.

    Args:
        key: the setting, such as ``data.path``.

    Raises:
        UserError: there is no such file, or it is empty, binary, truncated, or has no usable columns.
    """
    name = f"{key}={path}"
    files = files_of(path, options.format, name)
    form = options.format or format_of(files[0], name)
    source = Source(name, tuple(files), form, options)
    if form == "libsvm":
        return source
    opened = [_look(replace(source, files=(file,), key=source._name(file))) for file in files]
    first = opened[0]
    for other in opened[1:]:
        if list(other.columns) != list(first.columns):
            odd = sorted(set(other.columns) ^ set(first.columns)) or ["their order"]
            raise UserError(f"{other.key}: its columns are not those of {files[0].name}: {', '.join(odd[:5])}.")
        _check_same_kinds(first, other)
    total = total_rows(opened)
    if total == 0:
        raise UserError(f"{name}: there are no rows.")
    columns = {column: kinds.common([other.columns[column] for other in opened]) for column in first.columns}
    texts = tuple(text for other in opened for text in other.texts)
    partitions, kinds_of_folders = ({}, {}) if texts else partitions_of(files, path, first.columns)
    return replace(source, columns=columns | kinds_of_folders, row_count=total, texts=texts, partitions=partitions)


def _check_same_kinds(first: Source, other: Source) -> None:
    """Refuse files that have numbers and texts in the same column; text files are read as the first one says."""
    for column, kind in other.columns.items():
        pair = {kind, first.columns[column]} - {"empty"}
        if first.format != "csv" and len(pair) == 2 and not (pair <= set(kinds.NUMBERS) or pair <= set(kinds.DATES)):
            raise UserError(
                f"{other.key}: column {column} holds {kind}s there and {first.columns[column]}s in "
                f"{first.files[0].name}; write it the same way in both."
            )


def _look(source: Source) -> Source:
    path = source.files[0]
    if source.format == "csv":
        text, columns = look(path, source.options, source.key)
        return replace(source, columns=columns, texts=(text,))
    columns, rows = _opened(path, source.format, source.key)
    return replace(source, columns=columns, row_count=rows)


def total_rows(sources: Sequence[Source]) -> int | None:
    """The rows of all sources; None where one of them does not say."""
    counts = [source.row_count for source in sources if source.row_count is not None]
    return sum(counts) if len(counts) == len(sources) else None


def row_bar(sources: Sequence[Source], description: str = "preparing") -> tqdm:
    """A progress bar of rows that are read; silent where the output is not a terminal."""
    silent, total = not sys.stderr.isatty(), total_rows(sources)
    return tqdm(total=total, unit=" rows", unit_scale=True, desc=description, disable=silent, leave=False)


def batch_rows(columns: int) -> int:
    """Rows of a batch: many, since each batch waits for polars' threads, but with a limit on its values."""
    return int(min(MOST_BATCH_ROWS, max(1024, BATCH_VALUES // max(1, columns))))


def _opened(path: Path, form: str, key: str) -> tuple[dict[str, str], int]:
    """The kind of every column of a Parquet or Arrow file, and its rows.

    Raises:
        UserError: it cannot be read, or has two columns of one name.
    """
    _check_names(path, form, key)
    try:
        schema: Mapping[str, pl.DataType] = (
            pl.read_parquet_schema(path) if form == "parquet" else pl.read_ipc_schema(path)
        )
        rows = int(_scanned(path, form).select(pl.len()).collect().item())
    except DAMAGED as error:
        with path.open("rb") as file:
            other = OTHER_ARROW.get(file.read(4))
        if other:
            raise UserError(f"{key}: the file is {other}; write it as an Arrow file, which Feather 2 is.") from error
        raise UserError(f"{key}: the file is truncated, damaged or not {form} ({_first_line(error)}).") from error
    return {column: kinds.of(dtype) for column, dtype in schema.items()}, rows


def _check_names(path: Path, form: str, key: str) -> None:
    """Refuse a Parquet or Arrow file that has two columns of one name; one that cannot be read is refused elsewhere."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = (pq.read_schema(path) if form == "parquet" else pa.ipc.open_file(str(path)).schema).names
    except (OSError, ValueError, NotImplementedError):
        return
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise UserError(
            f"{key}: the column name {', '.join(twice[:5])} stands more than once; give every column its own."
        )


def _scanned(path: Path, form: str) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False) if form == "parquet" else pl.scan_ipc(path, glob=False)


def _has_large_row_groups(path: Path) -> bool:
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except (OSError, ValueError, NotImplementedError):  # polars may know better
        return False
    return any(metadata.row_group(i).total_byte_size > LARGE_ROW_GROUP for i in range(metadata.num_row_groups))


def _pieces(path: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Batches of a file whose row groups are too large to be decoded whole."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
        for batch in file.iter_batches(batch_size=2**16, columns=columns):
            yield pl.DataFrame(pl.from_arrow(batch)).select(columns)


def _first_line(error: BaseException) -> str:
    """An error's first line, without its final stop."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip(".")
