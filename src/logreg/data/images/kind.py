"""Whether a run is one on photos, told without importing anything heavy."""

from __future__ import annotations

import json
from pathlib import Path

KIND = "images"  # what preprocessing.json says of itself


def is_of_photos(preprocessing: Path) -> bool:
    """Whether a run's ``preprocessing.json`` is of photos; False where there is none."""
    try:
        return json.loads(preprocessing.read_text(encoding="utf-8")).get("kind") == KIND
    except (OSError, ValueError, AttributeError):
        return False
