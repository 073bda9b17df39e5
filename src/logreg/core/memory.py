"""How much memory is free."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def free_memory(device: torch.device, proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Bytes that are free on a device or can be freed; outside Linux, all memory of the machine.

    Args:
        proc, cgroups: where Linux says what the machine has, and what a process may have.
    """
    if device.type == "cuda":
        # The blocks that torch's allocator keeps cached are free to torch, and to nobody else.
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    of_machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, StopIteration):
        of_machine = 1024 * _entry(proc / "meminfo", "MemAvailable:")
    return max(0, min([of_machine, *_free_in_cgroups(proc, cgroups)]))


def _free_in_cgroups(proc: Path, cgroups: Path) -> Iterator[int]:
    """Bytes that the limits of containers and batch systems leave, of cgroups version 2 and of version 1."""
    groups: list[list[str]] = []
    with contextlib.suppress(OSError):
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
        groups = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    for _, controllers, path in groups:
        if not controllers:
            yield from _free_below(cgroups, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            yield from _free_below(cgroups / "memory", path, *names)


def _free_below(root: Path, path: str, limit: str, used: str, cache: str) -> Iterator[int]:
    """Bytes that are free in a group and in those around it; inside a container the group is the root itself."""
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(root):
            break
        with contextlib.suppress(OSError, ValueError):  # "max" is no limit
            allowed = int((folder / limit).read_text(encoding="utf-8"))
            in_use = int((folder / used).read_text(encoding="utf-8"))
            cached = 0  # files: they count as used, and the kernel frees them where memory is needed
            with contextlib.suppress(OSError, StopIteration):
                cached = _entry(folder / "memory.stat", cache)
            yield allowed - in_use + cached


def _entry(file: Path, name: str) -> int:
    """The number in the line of a file that begins with a name."""
    lines = map(str.split, file.read_text(encoding="utf-8").splitlines())
    return int(next(line[1] for line in lines if line[0] == name))
