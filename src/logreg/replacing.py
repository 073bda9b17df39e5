"""A file that is asked for by ``output=``, which appears under its name when it is complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from logreg.errors import UserError


@contextlib.contextmanager
def replacing(output: Path, part: Path | None = None) -> Iterator[Path]:
    """A file beside ``output`` to write into, which takes its name if all goes well and goes away otherwise.

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
