"""A PyTorch program of a run on photos, saved by ``torch.export``; see `logreg.runs.export.photos` for what goes in and
out.

The program carries preprocessing.json and the threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from logreg.runs.export.photos import quiet, traced
from logreg.runs.export.to_torch import load_program, save_program
from logreg.runs.load import Run


def write(run: Run, photos: object, path: Path) -> None:
    """Write the program of a run.

    Raises:
        UserError: torch.export cannot trace the network.
    """
    program = traced(run, "torch")
    with quiet():
        save_program(program, run, path)


def load(run: Run, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    with quiet():
        program = load_program(path)

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
