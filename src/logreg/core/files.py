"""Files that appear under their names when they are complete."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from logreg.core.errors import UserError


def write_atomically(path: Path, text: str) -> None:
    with open_atomically(path) as file:
        file.write(text)


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """A CSV file, which appears under its name when it is complete."""
    with open_atomically(path) as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[TextIO]:
    """A text file to write, which appears under its name when it is complete."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = part.open("w", encoding="utf-8", newline="")
    except FileNotFoundError:  # nearly always the folder is there
        path.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("w", encoding="utf-8", newline="")
    try:
        with file:
            yield file
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing(output: Path, part: Path | None = None) -> Iterator[Path]:
    """A file beside what a user asked for by ``output=``, which takes its name if all goes well and else goes away.

    Args:
        part: that file; by default a hidden one that names this process.

    Raises:
        UserError: it cannot be written.
    """
    part = output.with_name(f".{output.name}.{os.getpid()}.part") if part is None else part
    try:
        yield part
        os.replace(part, output)
    except OSError as error:
        raise UserError(f"output={output}: the file cannot be written ({error.strerror or error}).") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
