"""Photos decoded by all processors while they are used, a few at a time and in order."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from tqdm import tqdm

from logreg.core.errors import UserError, plural
from logreg.data.images.decoding import read_pixels

log = logging.getLogger(__name__)

TOGETHER = 16  # photos of a task
FEW = 128  # photos for which it takes longer to start processes than to decode them in threads
MOST_NAMED = 5

# What joblib says where it is stopped at the first file that cannot be read.
warnings.filterwarnings("ignore", message=r"\d+ tasks (have been successfully executed|which were still being)")

Result = TypeVar("Result")
Bad = tuple[int, str]  # number of a photo, and why it cannot be read


def in_parallel(
    task: Callable[..., Result], files: Sequence[Path], *settings: int | str
) -> Generator[tuple[range, Result]]:
    """What ``task(paths, *settings, first number)`` returns for a few files at a time, in their order.

    Args:
        task: is sent to other processes, where there are many files.

    Raises:
        UserError: one of the processes was killed.
    """
    total = len(files)
    firsts = [range(i, min(total, i + TOGETHER)) for i in range(0, total, TOGETHER)]
    tasks = (delayed(task)([str(files[i]) for i in numbers], *settings, numbers.start) for numbers in firsts)
    backend = "threading" if total <= FEW else "loky"
    bar = tqdm(total=total, unit=" photos", desc="decoding", disable=not sys.stderr.isatty(), leave=False)
    with bar, Parallel(n_jobs=-1, backend=backend, return_as="generator") as parallel:
        results = parallel(tasks)
        try:
            for numbers, result in zip(firsts, results, strict=True):
                bar.update(len(numbers))
                yield numbers, result
        except BrokenProcessPool as error:
            raise UserError("data: a process that decodes photos was killed, perhaps as memory is short.") from error
        finally:
            results.close()
            if backend == "loky":  # whose processes would stay, beside the training
                get_reusable_executor().shutdown()


def streamed(files: Sequence[Path], size: int, skip_bad: bool, key: str) -> Iterator[tuple[list[int], np.ndarray]]:
    """Numbers of files, and their pixels (photos, 3, size, size) uint8.

    Args:
        skip_bad: go on without those that cannot be read.

    Raises:
        UserError: a file cannot be read as a photo, or none can.
    """
    bad: list[Bad] = []
    with closing(in_parallel(read_pixels, files, size)) as decoded:
        for numbers, (pixels, unreadable) in decoded:
            bad += unreadable
            if bad and not skip_bad:
                raise refusal(files, bad[0], key)
            reasons = dict(unreadable)
            good = [i for i in numbers if i not in reasons]
            if good:
                yield good, pixels[[i - numbers.start for i in good]]
    warn_of_bad(files, bad, key)
    if len(bad) == len(files):
        raise UserError(f"{key}: none of the {len(files)} files can be read as a photo.")


def refusal(files: Sequence[Path], bad: Bad, key: str) -> UserError:
    """What is wrong with a file."""
    number, reason = bad
    others = "; data.skip_bad=true leaves such files out" if len(files) > 1 else ""
    return UserError(f"{key}: {files[number]} {reason}{others}.")


def warn_of_bad(files: Sequence[Path], bad: Sequence[Bad], key: str) -> None:
    """Say which files are left out."""
    if not bad:
        return
    named = "; ".join(f"{files[number]} {reason}" for number, reason in bad[:MOST_NAMED])
    more = f"; and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
    verb = "is" if len(bad) == 1 else "are"
    log.warning(
        "warning: %s: %s of %d cannot be read and %s left out: %s%s",
        key,
        plural(len(bad), "file"),
        len(files),
        verb,
        named,
        more,
    )
