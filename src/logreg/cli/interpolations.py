"""What the configuration computes by itself: names of directories, and grids."""

from __future__ import annotations

import re
import secrets

from omegaconf import OmegaConf

from logreg.core.optimizer_traits import requirements_of
from logreg.core.settings import check_values

LONGEST_DIRECTORY_NAME = 100

_unique = secrets.token_hex(3)


def job_directory(number: int, overrides: str) -> str:
    """``<job number>_<overrides>``, on one level and not too long for a file name."""
    name = re.sub(r"[^\w.,=+-]+", "-", f"{number}_{overrides}")
    encoded = name.encode()[:LONGEST_DIRECTORY_NAME].decode(errors="ignore")
    return encoded.rstrip("_,-=")


def logarithmic_grid(smallest: float, largest: float, points: int) -> str:
    """Numbers at equal ratios, as a sweep takes them."""
    check_values({"path": {"smallest": smallest, "largest": largest, "points": points}})
    if points == 1:
        return f"{largest:.6g}"
    ratio = largest / smallest
    return ",".join(f"{smallest * ratio ** (i / (points - 1)):.6g}" for i in range(points))


OmegaConf.register_new_resolver("logarithmic_grid", logarithmic_grid, replace=True)
# Of the group of this name, which file an optimizer needs.
OmegaConf.register_new_resolver("requirements", requirements_of, replace=True)
OmegaConf.register_new_resolver("unique", lambda: _unique, replace=True)
OmegaConf.register_new_resolver("job_directory", job_directory, replace=True)
# What Optuna calls it.
OmegaConf.register_new_resolver("direction", lambda mode: {"max": "maximize"}.get(mode, "minimize"), replace=True)
