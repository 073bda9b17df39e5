"""The preprocessing of a run, whatever its data is, read from the run's file."""

from __future__ import annotations

import json
from pathlib import Path

from logreg.data.images.preprocessing import KIND, ImagePreprocessor
from logreg.data.preprocessing import Preprocessor

AnyPreprocessor = Preprocessor | ImagePreprocessor


def preprocessor_from_json(text: str) -> AnyPreprocessor:
    """What `Preprocessor.to_json` or `ImagePreprocessor.to_json` wrote."""
    content = json.loads(text)
    return ImagePreprocessor.from_content(content) if content.get("kind") == KIND else Preprocessor.from_json(text)


def is_of_photos(path: Path) -> bool:
    """Whether a run's ``preprocessing.json`` is of photos; False where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("kind") == KIND
    except (OSError, ValueError, AttributeError):
        return False
