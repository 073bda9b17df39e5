"""The bytes of a text file in blocks of whole rows, decompressed and in UTF-8."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from logreg.core.errors import UserError
from logreg.core.options.tables import Dialect
from logreg.data.tables.reading.dialect import LONGEST_FIELD, SAMPLE_BYTES, reader

BLOCK_BYTES = 2**24
LONGEST_LINE = 2**30
READ_AHEAD = 3  # blocks, each of which polars reads in as many threads as it has
# What other compressed files begin with, which nothing here reads.
OTHER_COMPRESSIONS = {
    rb"BZh[1-9]1AY&SY": "compressed by bzip2",
    rb"\xfd7zXZ": "compressed by xz",
    rb"\x04\x22\x4d\x18": "compressed by lz4",
    rb"PK\x03\x04": "a zip archive or a spreadsheet",
}
TRUNCATED = (EOFError, zlib.error, OSError)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class TextBlock:
    """Some rows.

    Attributes:
        line: the number of the first line.
    """

    data: bytes
    line: int


def open_bytes(path: Path) -> io.BufferedIOBase:
    """The bytes of a file, decompressed if its first bytes say gzip or Zstandard."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == b"\x1f\x8b":
        return gzip.GzipFile(path, "rb")
    if magic == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def truncated(key: str, error: BaseException) -> UserError:
    """The error for a file that cannot be read to its end."""
    return UserError(f"{key}: the file is truncated or damaged ({str(error).rstrip('.')}).")


def head_of(path: Path, key: str) -> tuple[bytes, bool]:
    """The first bytes of a text file, decompressed, and whether that is all of it.

    Raises:
        UserError: they cannot be decompressed.
    """
    try:
        with open_bytes(path) as file:
            head = file.read(SAMPLE_BYTES)
            return head, not file.read(1)
    except TRUNCATED as error:
        raise truncated(key, error) from error


def blocks(path: Path, key: str, encoding: str, dialect: Dialect) -> Iterator[TextBlock]:
    """A file in blocks of whole rows; UTF-8 is passed on as it is, right or wrong.

    Args:
        key: what to name in errors, such as ``data.path=churn.csv``.

    Raises:
        UserError: the file cannot be decompressed or is not in this encoding; with the line.
    """
    rest, line = b"", 1
    is_old_mac = b"\n" not in head_of(path, key)[0]  # whose lines end in \r alone
    for piece in _pieces(path, key, encoding):
        if is_old_mac:
            piece = piece.replace(b"\r", b"\n")
        end = _row_end(piece, rest, dialect)
        if not end and len(rest) > LONGEST_FIELD:
            end = piece.rfind(b"\n") + 1  # no quoted text is so long: a quote is out of place
            if not end and len(rest) > LONGEST_LINE:
                raise UserError(f"{key}: line {line} is longer than {LONGEST_LINE:,} bytes; this is no table.")
        if end:
            # Not copied where it is used whole.
            data = piece if end == len(piece) and not rest else b"".join((rest, memoryview(piece)[:end]))
            yield TextBlock(data, line)
            line += data.count(b"\n")
            rest = piece[end:]
        else:
            rest += piece
    if rest:
        yield TextBlock(rest, line)


def _row_end(piece: bytes, rest: bytes, dialect: Dialect) -> int:
    """Where the last whole row ends in bytes that come after the beginning of a row; 0 for nowhere.

    A row ends with a line in which no quote is open.
    """
    end, quote = piece.rfind(b"\n") + 1, (dialect.quote or "").encode()
    if quote and (quote in piece or quote in rest):
        if _has_stray_quotes(b"\n" + rest + piece, quote, dialect.delimiter.encode()):
            return max(0, _careful_row_end(rest + piece, dialect) - len(rest))
        odd = (rest.count(quote) + piece.count(quote, 0, end)) % 2
        while end and odd:
            before = piece.rfind(b"\n", 0, end - 1) + 1
            odd ^= piece.count(quote, before, end) % 2
            end = before
    return end


def _has_stray_quotes(data: bytes, quote: bytes, delimiter: bytes) -> bool:
    """Whether a quote is neither the beginning nor the end of a field, so that counting quotes tells nothing.

    Args:
        data: the end of a row, and rows.
    """
    characters = np.frombuffer(data, dtype=np.uint8)
    marks = np.flatnonzero(characters == quote[0]).astype(np.int32)
    around = np.zeros(256, dtype=bool)
    around[list(quote + delimiter + b"\r\n")] = True
    return not (
        around[characters.take(marks[::2] - 1, mode="clip")].all()
        and around[characters.take(marks[1::2] + 1, mode="clip")].all()
    )


def _careful_row_end(data: bytes, dialect: Dialect) -> int:
    """`_row_end` by Python's csv module; of the last row that it reads it cannot tell whether there is more of it."""
    read, ends = 0, [0, 0]

    def lines() -> Iterator[str]:
        nonlocal read
        for line in io.BytesIO(data):
            read += len(line)
            yield line.decode("latin-1")

    with contextlib.suppress(csv.Error):  # said with its line when the rows are read
        for _ in reader(lines(), dialect):
            ends.append(read)
    return ends[-2]


def _pieces(path: Path, key: str, encoding: str) -> Iterator[bytes]:
    """The bytes of a file in UTF-8, without a byte order mark."""
    try:
        with open_bytes(path) as file:
            if encoding != "utf-8":
                yield from _decoded(file, key, encoding)
                return
            for number, piece in enumerate(iter(partial(file.read, BLOCK_BYTES), b"")):
                yield piece if number else piece.removeprefix(codecs.BOM_UTF8)
    except TRUNCATED as error:
        raise truncated(key, error) from error


def _decoded(file: io.BufferedIOBase, key: str, encoding: str) -> Iterator[bytes]:
    decoder, lines = codecs.getincrementaldecoder(encoding)(), 0
    while True:
        piece = file.read(BLOCK_BYTES)
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            lines += error.object[: error.start].decode(encoding, errors="ignore").count("\n")
            raise UserError(f"{key}: {not_text(lines + 1, encoding, error)}") from error
        except UnicodeError as error:
            raise UserError(f"{key}: the file is not {encoding} text ({error}); set data.encoding.") from error
        yield text.removeprefix("\ufeff").encode() if not lines else text.encode()
        lines += text.count("\n")
        if not piece:
            return


def not_text(line: int, encoding: str, error: UnicodeDecodeError) -> str:
    """What to say of a line that cannot be decoded."""
    byte = f"byte 0x{error.object[error.start]:02x}"
    return f"line {line} is not {encoding} text ({byte}); set data.encoding, for example to latin-1."


def in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int = READ_AHEAD) -> Iterator[Result]:
    """The results of a function that runs in threads of its own, a few items ahead."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
