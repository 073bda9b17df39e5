"""How much memory is free, by what the system says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from logreg.core.memory import free_memory

CPU, GIB = torch.device("cpu"), 2**30


def system(folder: Path, groups: str, **files: str) -> tuple[Path, Path]:
    """A machine of 8 GiB that are free, with these files of control groups; two underscores in a name are a slash."""
    proc, cgroups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 9999 kB\nMemAvailable: {8 * 2**20} kB\n")
    (proc / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = cgroups / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, cgroups


LIMIT_1, USED_1 = "memory.limit_in_bytes", "memory.usage_in_bytes"


@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"memory.max": f"{4 * GIB}\n", "memory.current": f"{1 * GIB}\n"}, 3),
        ("0::/\n", {"memory.max": "max\n", "memory.current": f"{1 * GIB}\n"}, 8),
        ("0::/\n", {"memory.max": f"{GIB}", "memory.current": f"{2 * GIB}"}, 0),
        (
            "0::/job/step\n",  # the limit is that of the group around
            {"job__memory.max": f"{4 * GIB}", "job__memory.current": f"{2 * GIB}", "job__step__memory.max": "max"},
            2,
        ),
        (
            "0::/\n",  # files that are kept in memory make room
            {
                "memory.max": f"{4 * GIB}", "memory.current": f"{3 * GIB}",
                "memory.stat": f"anon {GIB}\nfile {2 * GIB}\ninactive_file {GIB}\n",
            },
            2,
        ),
        (
            "5:cpu,cpuacct:/\n3:memory:/docker/abc\n",  # which is not seen from inside
            {f"memory__{LIMIT_1}": f"{6 * GIB}", f"memory__{USED_1}": f"{1 * GIB}"},
            5,
        ),
        ("3:memory:/\n", {f"memory__{LIMIT_1}": str(2**63 - 4096), f"memory__{USED_1}": f"{1 * GIB}"}, 8),
    ],
)  # fmt: skip
def test_the_limits_of_a_container_count(tmp_path: Path, groups: str, files: dict[str, str], free: int) -> None:
    assert free_memory(CPU, *system(tmp_path, groups, **files)) == free * GIB


def test_a_system_that_says_nothing_has_what_there_is(tmp_path: Path) -> None:
    assert free_memory(CPU, tmp_path, tmp_path) > 0
    assert free_memory(CPU) > 0


def test_what_torch_keeps_of_a_gpu_and_does_not_use_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 * GIB)
    assert free_memory(torch.device("cuda:0")) == 7 * GIB
