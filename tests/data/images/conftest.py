"""A folder of photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.images.photos import class_folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "photos")
