"""A PyTorch program of a run on photos, saved by ``torch.export``; see `logreg.runs.export.photos` for what goes in and
out.

The program carries preprocessing.json and the threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from logreg.records.record import PREPROCESSING
from logreg.runs.export.photos import quiet, traced
from logreg.runs.export.to_torch import THRESHOLD
from logreg.runs.load import Run


def write(run: Run, photos: object, path: Path) -> None:
    """Write the program of a run.

    Raises:
        UserError: torch.export cannot trace the network.
    """
    program = traced(run, "torch")
    extra = {PREPROCESSING: run.preprocessor.to_json(), THRESHOLD: repr(run.model.threshold)}
    with quiet(), path.open("wb") as file:  # by its name, torch would ask for one that ends in .pt2
        torch.export.save(program, file, extra_files=extra)


def load(run: Run, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    with quiet(), path.open("rb") as file:
        program = torch.export.load(file).module()

    @torch.no_grad()
    def predict(photos: np.ndarray) -> np.ndarray:
        return program(torch.from_numpy(photos))[0].numpy()

    return predict


def snippet(run: Run, path: str) -> str:
    return (
        "import numpy, torch\n"
        "from PIL import Image, ImageOps\n"
        'image = numpy.array(ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB"))[None]  # 8 bits\n'
        f"probability, prediction = torch.export.load({path!r}).module()(torch.from_numpy(image))"
    )
