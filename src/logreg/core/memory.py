"""How much memory there is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def free_memory(device: torch.device, proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Bytes that are free on a device or can be freed; on the CPU elsewhere than on Linux those that there are.

    Args:
        proc, cgroups: where the system says what it has, and what it lets a process have.
    """
    if device.type == "cuda":
        # What torch holds without using it is free to torch, and to nobody else.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return max(0, min([_free_on_machine(proc), *_left_by_cgroups(proc, cgroups)]))


def _free_on_machine(proc: Path) -> int:
    with contextlib.suppress(OSError, StopIteration):
        lines = (proc / "meminfo").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _left_by_cgroups(proc: Path, cgroups: Path) -> Iterator[int]:
    """What the limits of containers and of batch systems leave: of version 2, and of version 1 where there is that."""
    groups: list[list[str]] = []
    with contextlib.suppress(OSError):
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
        groups = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    for _, controllers, path in groups:
        if not controllers:
            yield from _left_below(cgroups, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            yield from _left_below(cgroups / "memory", path, *names)


def _left_below(root: Path, path: str, limit: str, used: str, cache: str) -> Iterator[int]:
    """What is left in a group and in those around it; inside a container the group is the root itself."""
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(root):
            break
        with contextlib.suppress(OSError, ValueError):  # "max" is no limit
            most = int((folder / limit).read_text(encoding="utf-8"))
            left = most - int((folder / used).read_text(encoding="utf-8"))
            yield left + _cached(folder / "memory.stat", cache)


def _cached(statistics: Path, name: str) -> int:
    """Bytes of files that are kept in memory and count as used, but make room where it is needed."""
    with contextlib.suppress(OSError, StopIteration):
        lines = statistics.read_text(encoding="utf-8").splitlines()
        return int(next(line.split()[1] for line in lines if line.split()[0] == name))
    return 0
