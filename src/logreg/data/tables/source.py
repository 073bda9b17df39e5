"""What ``data.path`` means: its files, their format and columns, and their rows as a stream of polars frames.

polars does the reading. Where it only says that a text file is wrong, `logreg.data.tables.careful` reads it again and
says where.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from logreg.data.tables import kinds
from logreg.data.tables.careful import TRUNCATED, CarefulReader, open_bytes
from logreg.data.tables.dialect import SAMPLE_BYTES, Dialect, sniff
from logreg.errors import UserError

# A dot and a name, and what may follow it for compressed text.
FORMATS = {
    "csv": ("csv", "tsv", "tab", "txt", "data", "dat", "psv"),
    "parquet": ("parquet", "pq", "parq"),
    "arrow": ("arrow", "feather", "ipc"),
    "libsvm": ("svm", "libsvm", "svmlight"),
}
COMPRESSED = ("gz", "zst", "zstd")
MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "?")
CAREFUL_BATCH = 2**14
MOST_BATCH_ROWS, BATCH_VALUES = 2**17, 2**22
# Files up to here are hashed whole; of larger ones the size, the time of the last change and samples are.
HASHED_WHOLE = 64 * 2**20
SAMPLES, SAMPLE = 256, 4096
# A Parquet row group of more bytes than this is decoded piece by piece.
LARGE_ROW_GROUP = 96 * 2**20


@dataclass(frozen=True)
class ReadOptions:
    """How to read files that do not say it themselves; None is found out.

    Attributes:
        format: ``csv``, ``parquet``, ``arrow`` or ``libsvm``.
        delimiter, quote, header: of text; ``quote=""`` for none.
        encoding: of text.
        missing: the texts that stand for a missing value.
        text: columns of text files that are not to be taken for numbers or dates; names or globs.
    """

    format: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    header: bool | None = None
    encoding: str = "utf-8"
    missing: tuple[str, ...] = MISSING
    text: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Mapping[str, Any], given: Mapping[str, Any]) -> ReadOptions:
        """For a table that a run is applied to: what is given, else what the run's own table was read with."""
        names = ("format", "delimiter", "quote", "header", "encoding", "missing")
        values: dict[str, Any] = {name: given[name] if given.get(name) is not None else run.get(name) for name in names}
        if given.get("format") is None:
            values["format"] = None  # the new table may well be of another one
        values["encoding"], values["missing"] = values["encoding"] or "utf-8", tuple(values["missing"] or MISSING)
        return cls(**values)

    def __post_init__(self) -> None:
        if self.format not in (None, *FORMATS):
            raise UserError(f"data.format={self.format}: one of {', '.join(FORMATS)} is needed.")
        for name, value in (("delimiter", self.delimiter), ("quote", self.quote or None)):
            if value is not None and (len(value) != 1 or value in "\r\n"):
                raise UserError(f"data.{name}={value!r}: a single character is needed; '\\t' is written as \"\\t\".")


@dataclass(frozen=True)
class Source:
    """A table in one or several files of one format.

    Attributes:
        key: what to name in errors, such as ``data.path=churn.csv``.
        columns: the kind of every column, by name; see `logreg.data.tables.kinds`.
        row_count: how many rows there are, where the files say so.
    """

    key: str
    files: tuple[Path, ...]
    format: str
    options: ReadOptions
    columns: dict[str, str] = field(default_factory=dict)
    row_count: int | None = None
    dialect: Dialect | None = None

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """These columns of all rows in their order, some ten thousand rows at a time.

        Raises:
            UserError: the files cannot be read, with the line where there are lines.
            WrongKinds: a column of a text file is not what its beginning said; read it again with these kinds.
        """
        for path in self.files:
            if self.format == "csv":
                yield from self._text_batches(path, list(columns))
            else:
                yield from self._binary_batches(path, list(columns))

    def lazy(self) -> pl.LazyFrame | None:
        """All columns as a lazy frame that is read in constant memory; None for text and for large row groups."""
        if self.format == "parquet" and not any(_has_large_row_groups(path) for path in self.files):
            return pl.concat([pl.scan_parquet(path) for path in self.files])
        if self.format == "arrow":
            return pl.concat([pl.scan_ipc(path) for path in self.files])
        return None

    def _binary_batches(self, path: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
        try:
            if self.format == "parquet" and _has_large_row_groups(path):
                yield from _parquet_pieces(path, columns)
                return
            scan = pl.scan_parquet(path) if self.format == "parquet" else pl.scan_ipc(path)
            yield from scan.select(columns).collect_batches(chunk_size=batch_rows(len(columns)))
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            raise UserError(
                f"{self._name(path)}: the file cannot be read as {self.format} ({_line(error)})."
            ) from error

    def _text_batches(self, path: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
        schema = {column: kinds.DTYPES[kind] for column, kind in self.columns.items()}
        assert self.dialect is not None
        if not self.dialect.plain or not _is_utf8(self.options.encoding):
            yield from self._careful_batches(path, columns, schema)
            return
        scan = pl.scan_csv(
            path,
            separator=self.dialect.delimiter,
            quote_char=self.dialect.quote,
            has_header=self.dialect.header,
            schema=schema,
            null_values=_null_values(self.options.missing, self.dialect),
            try_parse_dates=True,
        )
        last, checked = next(reversed(schema)), False
        try:
            for frame in scan.collect_batches(chunk_size=batch_rows(len(schema))):
                # A short row and a blank line look like missing values at the end: the careful reader tells.
                if not checked and frame[last].null_count():
                    checked = True
                    if self._careful(path).mixes_blank_lines(self.options.missing):
                        raise _NeedsCare
                if checked and len(schema) > 1:
                    frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
                yield _stripped(frame[columns], self.dialect)
        except (pl.exceptions.PolarsError, OSError) as error:
            self._explain(path, error)

    def _explain(self, path: Path, error: Exception) -> None:
        """Find out what polars did not like.

        Raises:
            UserError: always, or
            WrongKinds: where the text is well-formed and only the kinds of the columns were wrong.
        """
        found = kinds.Inference(list(self.columns), self.options.missing, self.options.text)
        rows = self._careful(path).rows()
        if self.dialect is not None and self.dialect.header:
            next(rows, None)
        for line, row in rows:
            found.add(row, line)
        widened = found.kinds(self._name(path))
        if widened == self.columns:  # polars and Python's csv module disagree about the text itself
            assert self.dialect is not None
            raise WrongKinds(replace(self, dialect=replace(self.dialect, plain=False))) from error
        raise WrongKinds(replace(self, columns=widened)) from error

    def _careful_batches(self, path: Path, columns: list[str], schema: dict[str, Any]) -> Iterator[pl.DataFrame]:
        assert self.dialect is not None
        rows = self._careful(path).rows()
        if self.dialect.header:
            next(rows, None)
        names, missing = list(schema), [m for m in self.options.missing]
        while batch := [row for _, row in zip(range(CAREFUL_BATCH), (row for _, row in rows), strict=False)]:
            frame = pl.DataFrame(batch, schema=dict.fromkeys(names, pl.String), orient="row")
            frame = frame.select(pl.col(columns).str.strip_chars())
            frame = frame.with_columns(
                pl.when(pl.col(c).is_in(missing)).then(None).otherwise(pl.col(c)).alias(c) for c in columns
            )
            try:
                yield frame.with_columns(kinds.parse(c, schema[c]) for c in columns if schema[c] != pl.String)
            except pl.exceptions.PolarsError as error:
                self._explain(path, error)

    def _careful(self, path: Path) -> CarefulReader:
        assert self.dialect is not None
        return CarefulReader(path, self.dialect, self.options.encoding, self._name(path))

    def _name(self, path: Path) -> str:
        return self.key if len(self.files) == 1 else f"{self.key} ({path.name})"

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


class _NeedsCare(pl.exceptions.ComputeError):
    """Blank lines that polars cannot tell from rows without any value."""


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
    counts = [other.row_count for other in opened]
    total = sum(count for count in counts if count is not None) if None not in counts else None
    if total == 0:
        raise UserError(f"{name}: there are no rows.")
    columns = {column: kinds.common([other.columns[column] for other in opened]) for column in first.columns}
    return replace(first, key=name, files=tuple(files), columns=columns, row_count=total)


def _files(path: str, form: str | None, name: str) -> list[Path]:
    given = Path(path)
    if given.is_dir():
        known = {end for ends in FORMATS.values() for end in ends}
        inside = [p for p in sorted(given.rglob("*")) if p.is_file() and not p.name.startswith(("_", "."))]
        files = [p for p in inside if form or p.suffix[1:].lower() in FORMATS["parquet"]]
        files = files or [p for p in inside if _ending(p) in known]
        if not files:
            raise UserError(f"{name}: this folder has no table in it; give a file, or a folder of Parquet files.")
        if len({_format(p, name) for p in files}) > 1:
            raise UserError(
                f"{name}: this folder has files of several formats; give one file, or a glob such as {path}/*.csv."
            )
    elif given.exists():
        files = [given]
    else:
        files = [Path(p) for p in sorted(glob.glob(path, recursive=True)) if Path(p).is_file()]
        if not files:
            what = "no file matches" if glob.has_magic(path) else "there is no such file"
            raise UserError(f"{name}: {what}.")
    for file in files:
        try:
            with file.open("rb") as opened:
                if not opened.read(1):
                    raise UserError(
                        f"{name}: {file.name} is empty." if len(files) > 1 else f"{name}: the file is empty."
                    )
        except OSError as error:
            raise UserError(f"{name}: {file} cannot be read ({error.strerror}).") from error
    return files


def _ending(path: Path) -> str:
    parts = path.name.lower().split(".")
    return parts[-2] if len(parts) > 2 and parts[-1] in COMPRESSED else parts[-1]


def _format(path: Path, name: str) -> str:
    """The format of a file by its first bytes, its name, and for text its beginning."""
    with path.open("rb") as file:
        magic = file.read(8)
    if magic[:4] in (b"PAR1", b"PARE"):
        return "parquet"
    if magic[:6] == b"ARROW1" or magic[:4] == b"FEA1":
        return "arrow"
    for form, endings in FORMATS.items():
        if _ending(path) in endings and form != "csv":
            return form
    from logreg.data.tables.libsvm import looks_like_libsvm

    head, _ = _head(path, name)
    return "libsvm" if looks_like_libsvm(head.decode("utf-8", errors="replace")) else "csv"


def _head(path: Path, name: str) -> tuple[bytes, bool]:
    """The first bytes of a text file, decompressed, and whether that is all of it.

    Raises:
        UserError: they are binary, or cannot be decompressed.
    """
    try:
        with open_bytes(path) as file:
            head = file.read(SAMPLE_BYTES)
            whole = not file.read(1)
    except TRUNCATED as error:
        raise UserError(f"{name}: the file is truncated or damaged ({_line(error)}).") from error
    return head, whole


def _look(source: Source) -> Source:
    """The columns of a source of one file."""
    path, name = source.files[0], source.key
    if source.format == "csv":
        return _look_at_text(source)
    try:
        if source.format == "parquet":
            schema: Any = pl.read_parquet_schema(path)
            rows = int(pl.scan_parquet(path).select(pl.len()).collect().item())
        else:
            schema = pl.read_ipc_schema(path)
            rows = int(pl.scan_ipc(path).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise UserError(f"{name}: the file is truncated, damaged or not {source.format} ({_line(error)}).") from error
    return replace(source, columns={column: kinds.of(dtype) for column, dtype in schema.items()}, row_count=rows)


def _look_at_text(source: Source) -> Source:
    path, name, options = source.files[0], source.key, source.options
    head, whole = _head(path, name)
    if not head.strip():
        raise UserError(f"{name}: the file is empty.")
    wide = options.encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
    if b"\0" in head and not wide:
        raise UserError(f"{name}: the file is binary, not text; data.format says which format to read it as.")
    try:
        text = head.decode(options.encoding, errors="replace" if _is_utf8(options.encoding) else "ignore").lstrip(
            "\ufeff"
        )
    except LookupError as error:
        raise UserError(
            f"data.encoding={options.encoding}: there is no such encoding; try utf-8 or latin-1."
        ) from error
    dialect = sniff(text, whole, options.missing, name, options.delimiter, options.quote, options.header)
    sample = CarefulReader(path, dialect, options.encoding, name).rows()
    try:
        first = next(sample)[1]
    except StopIteration:
        raise UserError(f"{name}: the file is empty.") from None
    names = [field.strip() for field in first] if dialect.header else [f"column_{i + 1}" for i in range(len(first))]
    names = [column or f"column_{i + 1}" for i, column in enumerate(names)]
    duplicates = sorted({column for column in names if names.count(column) > 1})
    if duplicates:
        raise UserError(
            f"{name}: the column name {', '.join(duplicates[:5])} stands more than once in the header; give every column "
            "a name of its own, or set data.header=false if the first line is no header."
        )
    inference = kinds.Inference(names, options.missing, options.text)
    if not dialect.header:
        inference.add(first, 1)
    for line, row in sample:
        inference.add(row, line)
        if inference.rows >= kinds.SAMPLED_ROWS:
            break
    if not inference.rows:
        raise UserError(f"{name}: there is a header and no rows.")
    return replace(source, columns=inference.kinds(name), dialect=dialect)


def batch_rows(columns: int) -> int:
    """Rows of a batch: many, since each batch waits for polars' threads, but only so many values."""
    return int(min(MOST_BATCH_ROWS, max(1024, BATCH_VALUES // max(1, columns))))


def _null_values(missing: Sequence[str], dialect: Dialect) -> list[str]:
    """The same with the blank that padded fields have in front."""
    return [*missing, *(f" {text}" for text in missing)] if dialect.padded else list(missing)


def _stripped(frame: pl.DataFrame, dialect: Dialect) -> pl.DataFrame:
    if not dialect.padded:
        return frame
    return pl.DataFrame([c.str.strip_chars() if c.dtype == pl.String else c for c in frame])


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii")


def _has_large_row_groups(path: Path) -> bool:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
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
