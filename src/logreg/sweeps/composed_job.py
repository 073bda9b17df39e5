"""What a job of a sweep is, once it is composed; nothing here knows Hydra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ComposedJob:
    """One job of a sweep. Parts of ``config`` that no plain override reaches are shared with others, as ``choices``."""

    number: int
    overrides: list[str]  # as they are in hydra.overrides.task
    directory: Path  # absolute; where Hydra would run the job
    config: dict[str, Any]  # as plain values
    choices: dict[str, Any]  # hydra.runtime.choices; empty where Hydra cannot compose the job
    error: Exception | None = None  # what Hydra, OmegaConf or logreg.cli.plain raised; config is then empty
    _files: Callable[[], dict[str, str]] = field(default=dict, repr=False, compare=False)

    def hydra_files(self) -> dict[str, str]:
        """``config.yaml``, ``overrides.yaml`` and ``hydra.yaml`` as Hydra writes them; empty where it would not."""
        return self._files()
