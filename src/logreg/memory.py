"""How much memory there is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device or can be freed; on the CPU elsewhere than on Linux those that there are."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
