"""Photos in memory and in a file are served alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from logreg.data.images import data as image_data
from logreg.data.images.data import MappedPhotos, PhotosInMemory
from logreg.data.rows import LargeBatch
from tests.data.images.photos import images


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mapped_photos_and_photos_in_memory_are_equal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    memory, mapped = images(folder), images(folder)
    memory.dtype = mapped.dtype = dtype
    memory.class_weight = mapped.class_weight = {"cats": 1.0, "dogs": 3.0}
    in_memory = memory.served("train")
    assert isinstance(in_memory, PhotosInMemory)
    monkeypatch.setattr(image_data, "IN_MEMORY_BYTES", 0)
    of_file = mapped.served("train")
    assert isinstance(of_file, MappedPhotos)
    positions = torch.tensor([3, 0, 7, 7])
    for a, b in [(in_memory.take(positions), of_file.take(positions)), (in_memory.span(2, 9), of_file.span(2, 9))]:
        assert len(a) == len(b) == 3
        assert all(torch.equal(one, other) and one.dtype == dtype for one, other in zip(a, b, strict=True))
    assert of_file.span(0, 2, torch.float64)[0].dtype == torch.float64
    monkeypatch.setattr(MappedPhotos, "elements", 3 * 64 * 5)
    monkeypatch.setattr(PhotosInMemory, "elements", 3 * 64 * 5)
    for rows in (in_memory, of_file):
        whole = rows.everything()
        assert isinstance(whole, LargeBatch)
        assert torch.equal(torch.cat([part[0] for part in whole.parts()]), in_memory.x)
