"""The preprocessing of a run, whatever its data is, read from the run's file."""

from __future__ import annotations

import json

from logreg.data.images.kind import KIND
from logreg.data.images.preprocessor import ImagePreprocessor
from logreg.data.tables.preprocessor import Preprocessor

AnyPreprocessor = Preprocessor | ImagePreprocessor


def preprocessor_from_json(text: str) -> AnyPreprocessor:
    """What `Preprocessor.to_json` or `ImagePreprocessor.to_json` wrote."""
    content = json.loads(text)
    return ImagePreprocessor.from_content(content) if content.get("kind") == KIND else Preprocessor.from_json(text)
