"""What ``data.path`` means: its files, their format and columns, and their rows as a stream of polars frames.

polars does the reading; text has a module of its own, `logreg.data.tables.reading.text`.
"""

from __future__ import annotations

import glob
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from logreg.core.errors import UserError
from logreg.data.tables.options import COMPRESSED, FORMATS, Form, ReadOptions
from logreg.data.tables.reading import kinds
from logreg.data.tables.reading.partitions import partitions_of
from logreg.data.tables.reading.text import Misread, TextFile, look
from logreg.data.tables.reading.text_blocks import head_of

MOST_BATCH_ROWS, BATCH_VALUES = 2**17, 2**22
# Files up to here are hashed whole; of larger ones the size, the time of the last change and samples are.
HASHED_WHOLE = 64 * 2**20
NOTES = ("txt", "data", "dat")  # endings of tables that may as well be those of a note
SAMPLES, SAMPLE = 256, 4096
# A Parquet row group of more bytes than this is decoded piece by piece.
LARGE_ROW_GROUP = 96 * 2**20
# Files of Arrow's that are no Arrow files, by their first four bytes.
OTHER_ARROW = {b"\xff\xff\xff\xff": "an Arrow stream", b"FEA1": "Feather version 1"}
# What a file that is damaged makes polars and pyarrow raise.
DAMAGED = (*kinds.POLARS_ERRORS, OSError, ValueError, NotImplementedError, MemoryError)


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
    partitions: dict[Path, dict[str, str | int | None]] = field(default_factory=dict)

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

    def lazy(self) -> pl.LazyFrame | None:
        """All columns as a lazy frame that is read in constant memory; None for text and for large row groups."""
        if self.texts or self.format == "libsvm":
            return None
        if self.format == "parquet" and any(_has_large_row_groups(path) for path in self.files):
            return None
        return pl.concat([self._scan(path) for path in self.files], how="vertical_relaxed")

    def _scan(self, path: Path) -> pl.LazyFrame:
        return _scan(path, self.format).with_columns(self._partition(path))

    def _partition(self, path: Path) -> list[pl.Expr]:
        """The columns that the folders of a file stand for."""
        values = self.partitions.get(path, {})
        return [pl.lit(value, kinds.DTYPES[self.columns[name]]).alias(name) for name, value in values.items()]

    def _binary_batches(self, path: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
        try:
            if self.format == "parquet" and _has_large_row_groups(path):
                inside = [column for column in columns if column not in self.partitions.get(path, {})]
                for frame in _parquet_pieces(path, inside):
                    yield frame.with_columns(self._partition(path)).select(columns)
                return
            scan = self._scan(path).select(columns)
            yield from scan.collect_batches(chunk_size=batch_rows(len(columns)))
        except DAMAGED as error:
            raise UserError(
                f"{self._name(path)}: the file cannot be read as {self.format} ({_line(error)})."
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
        found, texts = [self.columns], []
        for text in self.texts:
            inference = text.infer(self.options.text)
            found.append(inference.kinds())
            texts.append(replace(text, strays=inference.strays()))
        columns_found = {
            column: given if given == kinds.VERBATIM else kinds.common([kind[column] for kind in found])
            for column, given in self.columns.items()
        }
        source = replace(self, columns=columns_found, texts=tuple(texts))
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
    def form(self) -> Form | None:
        """How the first file is written, if it is text."""
        if not self.texts:
            return None
        d = self.texts[0].dialect
        return Form(
            d.delimiter, d.quote, d.header, d.padded, len(self.texts[0].names), tuple(sorted(self.options.absent))
        )

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

    def state(self) -> list[Any]:
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
    files = _files(path, options.format, name)
    form = options.format or _format(files[0], name)
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
    counts = [other.row_count for other in opened]
    total = sum(count for count in counts if count is not None) if None not in counts else None
    if total == 0:
        raise UserError(f"{name}: there are no rows.")
    columns = {column: kinds.common([other.columns[column] for other in opened]) for column in first.columns}
    texts = tuple(text for other in opened for text in other.texts)
    partitions: dict[Path, dict[str, str | int | None]] = {}
    if not texts:
        partitions, found = partitions_of(files, path)
        columns |= {column: kind for column, kind in found.items() if column not in columns}
        partitions = {file: {c: v for c, v in p.items() if c not in first.columns} for file, p in partitions.items()}
    opened_whole = replace(first, key=name, files=tuple(files), columns=columns, row_count=total, texts=texts)
    return replace(opened_whole, partitions=partitions)


def _check_same_kinds(first: Source, other: Source) -> None:
    """Refuse files that have numbers and texts in the same column; text files are read as the first one tells.

    Raises:
        UserError: names the column.
    """
    for column, kind in other.columns.items():
        pair = {kind, first.columns[column]} - {"empty"}
        if first.format != "csv" and len(pair) == 2 and not (pair <= set(kinds.NUMBERS) or pair <= set(kinds.DATES)):
            raise UserError(
                f"{other.key}: column {column} holds {kind}s there and {first.columns[column]}s in "
                f"{first.files[0].name}; write it the same way in both."
            )


def _files(path: str, form: str | None, name: str) -> list[Path]:
    """The files that a path stands for.

    Raises:
        UserError: there are none, or one of them is empty or cannot be read.
    """
    try:
        given = Path(path)
        if path and given.is_dir():
            return _inside(given, form, name)
        files = [given] if path and given.exists() else [Path(p) for p in sorted(glob.glob(path, recursive=True))]
        files = [file for file in files if not file.is_dir()]
        if not files:
            what = "no file matches" if glob.has_magic(path) else "there is no such file"
            if "://" in path:
                what = "addresses are not read; download the file and give its path"
            raise UserError(f"{name}: {what}.")
        for file in files:
            _check_content(file, f"{name}: " + (f"{file.name}" if len(files) > 1 else "the file"))
        return files
    except OSError as error:
        raise UserError(f"{name}: {error.filename or path} cannot be read ({error.strerror}).") from error


def _inside(folder: Path, form: str | None, name: str) -> list[Path]:
    """The tables in a folder: whatever has the ending of a table; notes beside Parquet files are none."""
    known = {end for ends in FORMATS.values() for end in ends}
    inside = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(("_", "."))]
    files = [p for p in inside if form or _ending(p) in known]
    if any(_ending(p) in FORMATS["parquet"] for p in files) and not form:
        files = [p for p in files if _ending(p) not in NOTES]
    if not files:
        raise UserError(f"{name}: this folder has no table in it; give a file, or a folder of Parquet files.")
    for file in files:
        _check_content(file, f"{name}: {file.name}")
    if not form and len({_format(p, name) for p in files}) > 1:
        raise UserError(
            f"{name}: this folder has files of several formats; give one file, or a glob such as {folder}/*.csv."
        )
    return files


def _check_content(file: Path, name: str) -> None:
    if not file.is_file():
        raise UserError(f"{name} is a device or a pipe; give a file.")
    with file.open("rb") as opened:
        if not opened.read(1):
            raise UserError(f"{name} is empty.")


def _ending(path: Path) -> str:
    parts = path.name.lower().split(".")
    return parts[-2] if len(parts) > 2 and parts[-1] in COMPRESSED else parts[-1]


def _format(path: Path, name: str) -> str:
    """The format of a file by its first bytes, its name, and for text its beginning."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith((b"PAR1", b"PARE")):
        return "parquet"
    if magic.startswith((b"ARROW1", *OTHER_ARROW)):
        return "arrow"
    for form, endings in FORMATS.items():
        if _ending(path) in endings and form != "csv":
            return form
    from logreg.data.tables.reading.libsvm import looks_like_libsvm

    head, _ = head_of(path, name)
    return "libsvm" if looks_like_libsvm(head.decode("utf-8", errors="replace")) else "csv"


def _look(source: Source) -> Source:
    """The columns of a source of one file.

    Raises:
        UserError: it cannot be read.
    """
    path, name = source.files[0], source.key
    if source.format == "csv":
        text, columns = look(path, source.options, name)
        return replace(source, columns=columns, texts=(text,))
    _check_names(path, source.format, name)
    try:
        schema: Any = pl.read_parquet_schema(path) if source.format == "parquet" else pl.read_ipc_schema(path)
        rows = int(_scan(path, source.format).select(pl.len()).collect().item())
    except DAMAGED as error:
        with path.open("rb") as file:
            other = OTHER_ARROW.get(file.read(4))
        if other:
            raise UserError(f"{name}: the file is {other}; write it as an Arrow file, which Feather 2 is.") from error
        raise UserError(f"{name}: the file is truncated, damaged or not {source.format} ({_line(error)}).") from error
    return replace(source, columns={column: kinds.of(dtype) for column, dtype in schema.items()}, row_count=rows)


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


def _scan(path: Path, form: str) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False) if form == "parquet" else pl.scan_ipc(path, glob=False)


def batch_rows(columns: int) -> int:
    """Rows of a batch: many, since each batch waits for polars' threads, but only so many values."""
    return int(min(MOST_BATCH_ROWS, max(1024, BATCH_VALUES // max(1, columns))))


def _has_large_row_groups(path: Path) -> bool:
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except (OSError, ValueError, NotImplementedError):  # polars may know better
        return False
    return any(metadata.row_group(i).total_byte_size > LARGE_ROW_GROUP for i in range(metadata.num_row_groups))


def _parquet_pieces(path: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Batches of a file whose row groups are too large to be decoded whole."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
        for batch in file.iter_batches(batch_size=2**16, columns=columns):
            yield pl.DataFrame(pl.from_arrow(batch)).select(columns)


def _line(error: BaseException) -> str:
    """An error's first line, without its final stop."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip(".")
