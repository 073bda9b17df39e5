"""The numbers of a table while it is prepared, column by column: first in memory, then in a scratch file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from logreg.data.tables.reading.source import batch_rows

KEPT_BYTES = 400 * 2**20  # that stay in memory; what comes after them goes to the file


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows.

    Attributes:
        first: the number of the first one in the table.
        columns: (rows,) each; only to be read.
    """

    first: int
    columns: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def rows(self) -> slice:
        return slice(self.first, self.first + len(self))

    def parts(self, rows: int) -> Iterator[Chunk]:
        """The same in smaller ones, which fit into the processor's cache."""
        for start in range(0, len(self), rows):
            yield Chunk(self.first + start, [column[start : start + rows] for column in self.columns])


class ColumnStore:
    """Columns of one type that are appended to, some rows at a time, and then read in chunks of fixed size.

    Args:
        path: the scratch file.
        width: how many columns there are.
    """

    def __init__(self, path: Path, dtype: np.dtype, width: int) -> None:
        self.path, self.dtype, self.width = path, dtype, width
        self._in_memory: list[Sequence[np.ndarray]] = []
        self._in_file = 0  # chunks
        self._last = np.empty((width, 0), dtype)  # made when it is needed
        self._filled = 0  # rows of the last one
        # By the width alone: sums over a table are sums over chunks, and must not depend on how its rows were read.
        self._rows = batch_rows(width)
        self._most_in_memory = KEPT_BYTES // max(1, width * self._rows * dtype.itemsize)

    def append(self, columns: Sequence[np.ndarray]) -> None:
        """Add rows, (rows,) of each column; the columns must not change afterwards."""
        rows, start = len(columns[0]), 0
        is_full = rows == self._rows and not self._filled and all(column.dtype == self.dtype for column in columns)
        if is_full and not self._in_file and len(self._in_memory) < self._most_in_memory:
            self._in_memory.append(columns)  # not copied
            return
        while start < rows:
            if not self._last.shape[1]:
                self._last = np.empty((self.width, self._rows), self.dtype)
            count = min(rows - start, self._rows - self._filled)
            with np.errstate(over="ignore"):  # found when the columns are looked at
                for stored, column in zip(self._last, columns, strict=True):
                    stored[self._filled : self._filled + count] = column[start : start + count]
            self._filled, start = self._filled + count, start + count
            if self._filled == self._rows:
                self._put_away()

    def _put_away(self) -> None:
        if not self._in_file and len(self._in_memory) < self._most_in_memory:
            self._in_memory.append(list(self._last))
            self._last = self._last[:, :0]
        else:
            with self.path.open("ab") as file:
                file.write(self._last.data.cast("B"))
            self._in_file += 1
        self._filled = 0

    def chunks(self) -> list[Chunk]:
        """All rows in their order."""
        parts = list(self._in_memory)
        if self._in_file:
            shape = self._in_file, self.width, self._rows
            # Not a np.memmap, whose every slice is slow.
            parts += [list(part) for part in np.asarray(np.memmap(self.path, self.dtype, "r", shape=shape))]
        if self._filled:
            parts.append(list(self._last[:, : self._filled]))
        return [Chunk(i * self._rows, columns) for i, columns in enumerate(parts)]

    def remove(self) -> None:
        """Free the memory and the file."""
        self._in_memory, self._in_file, self._filled = [], 0, 0
        self.path.unlink(missing_ok=True)
