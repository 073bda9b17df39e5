"""`export_run`: write a run in another format, load it again, compare it with the run, and only then keep the file."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.filesize import decimal

from logreg.core.errors import UserError, nearest, plural
from logreg.core.files import replacing
from logreg.data.features import is_of_photos
from logreg.records.checkpoints import applied_checkpoint
from logreg.records.record import PREPROCESSING, shown

Batch = TypeVar("Batch")
Probabilities = Callable[[Batch], np.ndarray]


@dataclass(frozen=True)
class Format:
    """A format to export to.

    Attributes:
        module: what writes it. ``write(run, rows, path)`` writes the run into a file; rows are those of its table, or
            its photos. ``load(run, path)`` returns the function from a batch of rows to probabilities that the file
            holds. ``snippet(run, path)`` is some lines of Python that use it.
        packages: what it needs that the project itself does not.
        tolerance: the largest difference of a probability from that of the run.
        linear: whether the network must be ``sigmoid(x @ w + b)``.
    """

    module: str
    packages: tuple[str, ...]
    tolerance: float
    linear: bool


FORMATS = {
    "sklearn": Format("logreg.runs.export.to_sklearn", ("skops", "pandas"), 1e-6, linear=True),
    "onnx": Format("logreg.runs.export.to_onnx", ("onnx", "onnxruntime"), 1e-5, linear=True),
    "torch": Format("logreg.runs.export.to_torch", (), 1e-6, linear=False),
}
PHOTO_FORMATS = {
    "onnx": Format("logreg.runs.export.to_onnx", ("onnx", "onnxruntime", "onnxscript"), 1e-5, linear=False),
    "torch": FORMATS["torch"],
}


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        rows: that were compared, of ``total`` in the table.
        difference: the largest between a probability of the export and of the run.
        snippet: how to load it.
        what: a row is.
    """

    path: Path
    format: str
    size: int
    rows: int
    total: int
    difference: float
    snippet: str
    what: str

    def __str__(self) -> str:
        total = plural(self.total, self.what)
        rows = total if self.rows == self.total else f"{self.rows:,} of {total}"
        lines = "".join(f"    {line}\n" for line in self.snippet.splitlines())
        return (
            f"wrote {shown(self.path)} ({self.format}, {decimal(self.size)})\n"
            f"loaded again and compared on {rows}: probabilities differ by {self.difference:.1e} at most\n\n{lines}"
        )


def check_request(run: object, format: object, output: object) -> None:
    """Refuse values that are wrong, as far as that can be seen without importing anything heavy.

    Raises:
        UserError: names the key and what is valid.
    """
    if run is None:
        raise UserError("run: give a run directory, as in run=outputs/runs/<name>/<run>.")
    if format not in FORMATS:
        given = "format" if format is None else f"format={format}"
        raise UserError(f"{given}: one of {', '.join(FORMATS)} is needed{nearest(str(format), FORMATS)}.")
    if output is None:
        raise UserError("output: give the file to write, as in output=model.onnx.")
    path = Path(str(output))
    if path.is_dir() or not path.name:
        raise UserError(f"output={output}: this is a folder; give a file in it.")
    if not path.parent.is_dir():
        raise UserError(f"output={output}: there is no folder {path.parent}; create it, or give another one.")
    of_photos = is_of_photos(Path(str(run)) / PREPROCESSING)
    if of_photos and format not in PHOTO_FORMATS:
        raise UserError(
            f"format={format}: a scikit-learn pipeline holds tables, and this run was trained on photos; format=onnx "
            "and format=torch hold photos."
        )
    packages = (PHOTO_FORMATS if of_photos else FORMATS)[str(format)].packages
    if any(importlib.util.find_spec(name) is None for name in packages):
        *others, last = packages
        named = f"s {', '.join(others)} and {last}" if others else f" {last}"
        raise UserError(
            f"format={format}{' of photos' if of_photos else ''} needs the package{named}: "
            "pip install 'lightning-logreg[export]'"
        )


def export_run(
    run_directory: str | Path,
    format: str,
    output: str | Path,
    data_path: str | None = None,
    trusted: Sequence[str] = (),
    checkpoint: str | None = None,
) -> Export:
    """Write a run as one file.

    The file is loaded again and compared with the run on the rows of the run's table, or on its photos, before it takes
    its name. At most 100,000 rows or 200 photos, evenly spread, are compared.

    Args:
        format: ``sklearn``, ``onnx`` or ``torch``.
        output: the file; one that is there is replaced.
        data_path: a table with the run's columns to compare on, or a photo or a folder of photos, instead of the
            run's own.
        trusted: packages besides the project's own whose classes the run's configuration may name.
        checkpoint: ``best`` or ``last``; by default the one that the recorded metrics belong to.

    Raises:
        UserError: a value is not valid, the format cannot hold this run, the rows cannot be read, or the export differs
            from the run by more than the format's tolerance. Nothing is left behind.
    """
    check_request(run_directory, format, output)
    checkpoint = applied_checkpoint(Path(run_directory), checkpoint)

    from logreg.data.images.preprocessor import ImagePreprocessor
    from logreg.optim.objective import linear_coefficients
    from logreg.runs.export.rows import photos_of, rows_of
    from logreg.runs.load import load_run

    run = load_run(run_directory, checkpoint, trusted)
    of_photos = isinstance(run.preprocessor, ImagePreprocessor)
    chosen = (PHOTO_FORMATS if of_photos else FORMATS)[format]
    if chosen.linear and linear_coefficients(run.model.network) is None:
        name = type(run.model.network).__name__
        raise UserError(f"format={format}: {name} is not a linear model, which is all it can hold; format=torch can.")
    rows = photos_of(run, data_path, trusted) if of_photos else rows_of(run, data_path, trusted)
    path = Path(output)
    if path.exists() and Path(table := data_path or run.settings.data.path).is_file() and path.samefile(table):
        raise UserError(f"output={path}: this is the data itself; give another file.")
    is_of_run = Path(run_directory).resolve() in path.resolve().parents
    if is_of_run and path.exists() and path.suffix in ("", ".json", ".csv", ".ckpt", ".log", ".png", ".yaml"):
        raise UserError(f"output={path}: this file belongs to the run; give another one.")
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")  # libraries may look at the ending
    writer = importlib.import_module(chosen.module)
    # The closed form of a linear model is exported in double precision, whatever the precision it was trained in: the
    # rounding of the run itself is then no part of the comparison.
    reference = replace(run, model=copy.deepcopy(run.model).double()) if chosen.linear else run
    with replacing(path, part):
        writer.write(run, rows, part)
        difference = largest_difference(reference.predict_proba, writer.load(run, part), rows)
        if not difference <= chosen.tolerance:
            much = f"by {difference:.2g}, more than {chosen.tolerance:g}; nothing was written"
            raise UserError(f"format={format}: the probabilities of the export differ from those of the run {much}.")
    size, snippet = path.stat().st_size, writer.snippet(run, str(path))
    return Export(path, format, size, rows.count, rows.total, difference, snippet, rows.what)


def largest_difference(expected: Probabilities, actual: Probabilities, rows: Iterable[Batch]) -> float:
    """The largest absolute difference of two functions from batches of rows to probabilities, (rows,).

    NaN if one of them returns NaN, infinite if they disagree about the number of rows.
    """
    largest = 0.0
    for batch in rows:
        p, q = np.asarray(expected(batch), dtype=np.float64), np.asarray(actual(batch), dtype=np.float64)
        if p.shape != q.shape:
            return float("inf")
        largest = float(np.maximum(largest, np.abs(p - q).max(initial=0.0)))  # NaN stays
    return largest
