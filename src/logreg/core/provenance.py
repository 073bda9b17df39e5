"""The software that a run was made with."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

REPORTED_VERSIONS = ("torch", "lightning", "hydra-core", "torchmetrics", "numpy", "pillow")


@functools.cache
def versions() -> dict[str, str]:
    own = {"python": platform.python_version(), "logreg": version("lightning-logreg")}
    return own | {name: version(name) for name in REPORTED_VERSIONS}


@functools.cache
def git_state() -> dict[str, Any] | None:
    """Commit and whether the tree differs from it, of the checkout this package runs from; None outside one."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
