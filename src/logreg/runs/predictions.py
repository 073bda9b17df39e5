"""Files of predictions, which appear when they are complete, and predictions on standard output."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from scipy.special import expit

from logreg.core.errors import UserError
from logreg.core.files import replacing
from logreg.runs.load import Run

STDOUT = "-"


def output_file(output: str, sources: Iterable[Path], what: str) -> AbstractContextManager[Path]:
    """A file beside ``output`` to write into, which takes its name if all goes well.

    Args:
        sources: the files that are being read, which are no output.
        what: these are, for the error.

    Raises:
        UserError: the output is one of them, or cannot be written.
    """
    target = Path(output)
    if target.exists() and any(target.samefile(path) for path in sources):
        raise UserError(f"output={output}: this is {what}; give another file.")
    return replacing(target)


def to_file(frames: Iterator[pl.DataFrame], part: Path, parquet: bool) -> int:
    """Write one frame or more; returns the number of rows."""
    if parquet:
        return to_parquet(frames, part)
    with part.open("wb") as file:
        return to_csv(frames, file)


def to_stdout(frames: Iterator[pl.DataFrame]) -> int:
    """As CSV, for as long as somebody reads it."""
    try:
        return to_csv(frames, sys.stdout.buffer)
    except OSError as error:
        if error.errno != errno.EPIPE and "Broken pipe" not in str(error):
            raise
        # Whoever reads has seen enough, as in `… | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def to_csv(frames: Iterator[pl.DataFrame], file: IO[bytes]) -> int:
    rows = 0
    for i, frame in enumerate(frames):
        frame.write_csv(file, include_header=i == 0)
        rows += len(frame)
    return rows


def to_parquet(frames: Iterator[pl.DataFrame], part: Path) -> int:
    import pyarrow.parquet as pq

    rows, writer = 0, None
    try:
        for frame in frames:
            table = frame.to_arrow()
            if writer is None:
                writer = pq.ParquetWriter(part, table.schema, compression="zstd")
            writer.write_table(table)
            rows += len(frame)
    finally:
        if writer is not None:
            writer.close()
    return rows


RESULTS = ("probability", "prediction")


class Scorer:
    """A run's calibration and threshold."""

    def __init__(self, run: Run) -> None:
        self.run, self.threshold, self.calibration = run, run.model.threshold, run.model.calibration

    def probabilities(self, z: np.ndarray) -> np.ndarray:
        """Of label 1, calibrated where the run is, (rows,)."""
        return expit(z) if self.calibration is None else self.calibration.probabilities(z)

    def results(self, z: np.ndarray) -> pl.DataFrame:
        """The two columns that a prediction adds."""
        p = self.probabilities(z)
        return pl.DataFrame({RESULTS[0]: p, RESULTS[1]: (p >= self.threshold).astype(np.int8)})
