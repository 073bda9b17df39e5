"""Centre and scale columns by the statistics of the training rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Standardizer:
    """``(x - mean) / scale``, column by column, in float64.

    Attributes:
        mean: (features,).
        scale: (features,), the standard deviation with ddof 0; 1 for a constant column.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray) -> Standardizer:
        scale = x.std(axis=0, dtype=np.float64)
        return cls(x.mean(axis=0, dtype=np.float64), np.where(scale > 0, scale, 1.0))

    @classmethod
    def identity(cls, features: int) -> Standardizer:
        return cls(np.zeros(features), np.ones(features))

    def transform(self, x: np.ndarray) -> np.ndarray:
        if not self.mean.any() and (self.scale == 1).all():
            return x  # nothing to do, so no copy in float64
        return (np.asarray(x, dtype=np.float64) - self.mean) / self.scale

    def to_json(self, features: list[str]) -> str:
        columns = [
            {"feature": name, "mean": mean, "scale": scale}
            for name, mean, scale in zip(features, self.mean.tolist(), self.scale.tolist(), strict=True)
        ]
        return json.dumps({"columns": columns}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> tuple[Standardizer, list[str]]:
        """The standardizer written by `to_json` and the names of its columns."""
        columns = json.loads(path.read_text(encoding="utf-8"))["columns"]
        mean = np.array([column["mean"] for column in columns])
        scale = np.array([column["scale"] for column in columns])
        return cls(mean, scale), [column["feature"] for column in columns]
