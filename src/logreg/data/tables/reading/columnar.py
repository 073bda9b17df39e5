"""Parquet and Arrow files, by polars; pyarrow where polars would need memory for more than a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from logreg.core.errors import UserError
from logreg.data.tables.reading import kinds

# A Parquet row group of more bytes than this is decoded piece by piece.
LARGE_ROW_GROUP = 96 * 2**20
# Files of Arrow's that are no Arrow files, by their first four bytes.
OTHER_ARROW = {b"\xff\xff\xff\xff": "an Arrow stream", b"FEA1": "Feather version 1"}
# What a file that is damaged makes polars and pyarrow raise.
DAMAGED = (*kinds.POLARS_ERRORS, OSError, ValueError, NotImplementedError, MemoryError)


def opened(path: Path, form: str, key: str) -> tuple[dict[str, str], int]:
    """The kind of every column of a Parquet or Arrow file, and its rows.

    Raises:
        UserError: it cannot be read, or has two columns of one name.
    """
    _check_names(path, form, key)
    try:
        schema: Mapping[str, pl.DataType] = (
            pl.read_parquet_schema(path) if form == "parquet" else pl.read_ipc_schema(path)
        )
        rows = int(scan(path, form).select(pl.len()).collect().item())
    except DAMAGED as error:
        with path.open("rb") as file:
            other = OTHER_ARROW.get(file.read(4))
        if other:
            raise UserError(f"{key}: the file is {other}; write it as an Arrow file, which Feather 2 is.") from error
        raise UserError(f"{key}: the file is truncated, damaged or not {form} ({first_line(error)}).") from error
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


def scan(path: Path, form: str) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False) if form == "parquet" else pl.scan_ipc(path, glob=False)


def has_large_row_groups(path: Path) -> bool:
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except (OSError, ValueError, NotImplementedError):  # polars may know better
        return False
    return any(metadata.row_group(i).total_byte_size > LARGE_ROW_GROUP for i in range(metadata.num_row_groups))


def pieces(path: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Batches of a file whose row groups are too large to be decoded whole."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
        for batch in file.iter_batches(batch_size=2**16, columns=columns):
            yield pl.DataFrame(pl.from_arrow(batch)).select(columns)


def first_line(error: BaseException) -> str:
    """An error's first line, without its final stop."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip(".")
