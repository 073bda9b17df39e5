"""Reading text the careful way: Python's csv module, line by line.

It is what a file is read with whose form polars does not know (columns aligned by blanks, another encoding, quotes
after a blank), and what finds the line when polars has only said that something is wrong.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from logreg.data.tables.dialect import Dialect, reader
from logreg.errors import UserError

LONGEST_FIELD = 2**24


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed if its first bytes say gzip or Zstandard."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if magic == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


TRUNCATED = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, OSError)


@dataclass(frozen=True)
class CarefulReader:
    """The rows of one text file.

    Args:
        key: what to name in errors, such as ``data.path=churn.csv``.
    """

    path: Path
    dialect: Dialect
    encoding: str
    key: str

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Every row that is not blank with the number of the line it ends in, the header's included.

        Raises:
            UserError: the text cannot be decoded or decompressed, a quote is left open, a row has another number of
                fields than the first.
        """
        csv.field_size_limit(LONGEST_FIELD)
        d = self.dialect
        width: int | None = None
        lines = _Lines(self)
        rows = reader(lines, d.delimiter, d.quote, d.padded, strict=True)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                raise UserError(
                    f"{self.key}: line {max(rows.line_num, 1)} cannot be read as a row ({error})."
                ) from error
            if d.delimiter == " " and d.padded:
                row = [field for field in row if field]
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            width = len(row) if width is None else width
            if len(row) != width:
                raise UserError(
                    f"{self.key}: line {rows.line_num} has {len(row)} fields where {width} are expected, as in the "
                    "first line; mend that line, or set data.delimiter and data.quote."
                )
            yield rows.line_num, row

    def mixes_blank_lines(self, missing: Collection[str]) -> bool:
        """Whether the file has blank lines *and* rows without any value, which only this reader tells apart.

        Raises:
            UserError: as `rows` does, for a row that is too short above all.
        """
        if self._is_regular():
            return False
        empty = any(all(field.strip() in missing for field in row) for _, row in self.rows())
        return empty and self._has_blank_lines()

    def _is_regular(self) -> bool:
        """Whether counting delimiters proves that all rows are complete: no quotes, no blank lines, an even count."""
        delimiters = lines = 0
        before = b"\n"
        with open_bytes(self.path) as file:
            while block := file.read(2**22):
                if (self.dialect.quote and self.dialect.quote.encode() in block) or _blank_line(before + block):
                    return False
                delimiters += block.count(self.dialect.delimiter.encode())
                lines += block.count(b"\n")
                before = block[-2:]
        lines += before[-1:] != b"\n"
        return delimiters % lines == 0 and not self.dialect.padded

    def _has_blank_lines(self) -> bool:
        before = b""
        with open_bytes(self.path) as file:
            while block := file.read(2**22):
                if _blank_line(before + block):
                    return True
                before = block[-2:]
        return False


def _blank_line(block: bytes) -> bool:
    return b"\n\n" in block or b"\n\r\n" in block


class _Lines:
    """The lines of a file, decoded one by one so that a bad byte has a line number."""

    def __init__(self, source: CarefulReader) -> None:
        self.source = source
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        source = self.source
        encoding = "utf-8-sig" if source.encoding.lower() in ("utf-8", "utf8") else source.encoding
        try:
            with open_bytes(source.path) as raw:
                if encoding == "utf-8-sig":
                    yield from self._decoded(raw)
                else:
                    yield from io.TextIOWrapper(raw, encoding=encoding, newline="")
        except LookupError as error:
            raise UserError(
                f"data.encoding={source.encoding}: there is no such encoding; try utf-8 or latin-1."
            ) from error
        except UnicodeDecodeError as error:
            raise UserError(
                f"{source.key}: the file is not in the encoding {source.encoding} ({error.reason})."
            ) from error
        except TRUNCATED as error:
            raise UserError(f"{source.key}: the file is truncated or damaged ({error}).") from error

    def _decoded(self, raw: IO[bytes]) -> Iterator[str]:
        for number, line in enumerate(raw, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{self.source.key}: line {number} is not UTF-8 text (byte 0x{line[error.start]:02x}); set "
                    "data.encoding, for example to latin-1."
                ) from error
            # \r alone ends lines in files from old Macintoshes.
            yield from text.splitlines(keepends=True) if "\r" in text.rstrip("\r\n") and '"' not in text else (text,)
