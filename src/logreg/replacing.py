"""A file that is asked for by ``output=``, which appears under its name when it is complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from logreg.errors import UserError


@contextlib.contextmanager
def replacing(output: Path, part: Path) -> Iterator[Path]:
    """Write into ``part``, a file beside ``output``, which takes its name if all goes well and goes away otherwise.

    Raises:
        UserError: it cannot be written.
    """
    try:
        yield part
        os.replace(part, output)
    except OSError as error:
        raise UserError(f"output={output}: the file cannot be written ({error.strerror or error}).") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
