"""Predictions for photos: a row out for each photo, in order, however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from logreg.data.images.preprocessing import ELEMENTS, ImagePreprocessor
from logreg.data.images.streaming import streamed
from logreg.errors import UserError
from logreg.prediction_files import STDOUT, output_file, to_file, to_stdout
from logreg.runs import Run
from logreg.scoring import Scorer

PATH = "path"


class PhotoScorer(Scorer):
    """A run's model and preprocessing, applied to photos."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        if not isinstance(run.preprocessor, ImagePreprocessor):
            raise UserError(f"run={run.directory}: this run was trained on a table, and a photo is no table.")
        self.preprocessor = run.preprocessor

    @torch.no_grad()
    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """(photos,) float64, before calibration, of pixels (photos, 3, size, size)."""
        dtype = next(self.run.model.parameters()).dtype
        step = max(1, ELEMENTS // self.preprocessor.width)
        found = [
            self.run.model.logits(self.preprocessor.normalised(torch.from_numpy(pixels[i : i + step]), dtype))
            for i in range(0, len(pixels), step)
        ]
        return torch.cat(found).double().numpy()

    def streamed(self, files: Sequence[Path], skip_bad: bool, key: str) -> Iterator[tuple[list[int], np.ndarray]]:
        """Numbers of photos and their pixels; see `logreg.data.images.streaming.streamed`."""
        return streamed(files, self.preprocessor.size, skip_bad, key)


def predict_photos(run: Run, files: list[Path], output: str, skip_bad: bool = False, key: str = "data.path") -> int:
    """Write ``path``, ``probability`` and ``prediction`` for every photo.

    Args:
        output: a ``.csv`` or ``.parquet`` file, which appears when it is complete, or ``-`` for CSV on standard output.

    Returns:
        The number of photos.

    Raises:
        UserError: a photo cannot be read, or the output cannot be written.
    """
    scorer = PhotoScorer(run)

    def frames() -> Iterator[pl.DataFrame]:
        for numbers, pixels in scorer.streamed(files, skip_bad, key):
            paths = pl.DataFrame({PATH: [str(files[i]) for i in numbers]})
            yield pl.concat([paths, scorer.results(scorer.logits(pixels))], how="horizontal")

    if output == STDOUT:
        return to_stdout(frames())
    with output_file(output, files, "one of the photos") as part:
        return to_file(frames(), part, parquet=output.endswith(".parquet"))


def sentence(run: Run, photo: Path, key: str = "data.path") -> str:
    """What the run says of one photo.

    Raises:
        UserError: it cannot be read.
    """
    scorer = PhotoScorer(run)
    ((_, pixels),) = scorer.streamed([photo], skip_bad=False, key=key)
    p = float(scorer.probabilities(scorer.logits(pixels))[0])
    labels = scorer.preprocessor.target.labels
    return (
        f"{photo}: the probability of {labels[1]} is {p:.6f}, so at threshold {scorer.threshold:g} it is "
        f"{labels[int(p >= scorer.threshold)]}"
    )
