"""Predictions for photos: a row out for each photo, in order, however many there are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from logreg.core.errors import UserError
from logreg.data.images.discover import labelled_photos
from logreg.data.images.pixel_store import streamed
from logreg.data.images.preprocessor import ELEMENTS, ImagePreprocessor
from logreg.runs.evaluate import EvaluateOptions, NewRowsEvaluation, evaluate_logits
from logreg.runs.load import Run
from logreg.runs.predictions import STDOUT, Scorer, output_file, to_file, to_stdout

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
        logits = [
            self.run.model.logits(self.preprocessor.normalised(torch.from_numpy(pixels[i : i + step]), dtype))
            for i in range(0, len(pixels), step)
        ]
        return torch.cat(logits).double().numpy()

    def streamed(self, files: Sequence[Path], skip_bad: bool, key: str) -> Iterator[tuple[list[int], np.ndarray]]:
        """Numbers of photos and their pixels; see `logreg.data.images.pixel_store.streamed`."""
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


def evaluate_photos(
    run: Run, path: str, options: EvaluateOptions, checkpoint: str, skip_bad: bool = False
) -> NewRowsEvaluation:
    """Predict every photo of a folder with a folder for each class, and say how good the predictions are.

    Raises:
        UserError: the folder has other classes, or a photo cannot be read.
    """
    scorer = PhotoScorer(run)
    files, y = labelled_photos(path, scorer.preprocessor.target.labels)
    numbers: list[int] = []
    logits, digest = [], hashlib.sha256()
    for some, pixels in scorer.streamed(files, skip_bad, "data.path"):
        numbers += some
        digest.update(pixels.tobytes())
        logits.append(scorer.logits(pixels))
    labels = y[numbers].astype(np.int64)
    digest.update(labels.tobytes())
    data = {"path": path, "fingerprint": f"sha256:{digest.hexdigest()[:32]}", "weight": None}
    return evaluate_logits(run, np.concatenate(logits), labels, None, options, checkpoint, data)
