"""The progress bar of a preparation; silent where the output is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType

from tqdm import tqdm

from logreg.data.tables.reading.source import Source


class RowBar:
    """Counts the rows that have been read."""

    def __init__(self, sources: Sequence[Source], description: str = "preparing") -> None:
        counts = [source.row_count for source in sources]
        total = sum(count for count in counts if count is not None) if None not in counts else None
        self._bar = tqdm(
            total=total, unit=" rows", unit_scale=True, desc=description, disable=not sys.stderr.isatty(), leave=False
        )

    def __enter__(self) -> RowBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def add(self, rows: int) -> None:
        self._bar.update(rows)

    def stage(self, name: str) -> None:
        """What is being done now that all rows are read."""
        self._bar.set_postfix_str(name)

    def restart(self) -> None:
        self._bar.reset()
