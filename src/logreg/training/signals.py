"""Ctrl-C and SIGTERM while training."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SAME_SIGNAL_SECONDS = 1.0


@contextmanager
def signals_stop(stop: Callable[[], None]) -> Iterator[None]:
    """While training, the first Ctrl-C or SIGTERM asks for a clean stop; the second one stops at once.

    Args:
        stop: asks for it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    first = math.inf

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        # Some parents pass a signal on that the terminal has sent already: what follows at once is the same request.
        if time.monotonic() - first > SAME_SIGNAL_SECONDS:
            raise KeyboardInterrupt
        first = min(first, time.monotonic())
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
