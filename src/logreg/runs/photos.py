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
from logreg.runs.commands import EvaluateSettings
from logreg.runs.evaluate import NewRowsEvaluation, evaluate_logits
from logreg.runs.load import Run
from logreg.runs.predictions import STDOUT, Scorer, output_file, to_file, to_stdout


def _scored(run: Run, files: Sequence[Path], skip_bad: bool) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Numbers of photos, their pixels (photos, 3, size, size), and their logits (photos,) before calibration.

    Photos are read by `logreg.data.images.pixel_store.streamed`.
    """
    if not isinstance(run.preprocessor, ImagePreprocessor):
        raise UserError(f"run={run.directory}: this run was trained on a table, and a photo is no table.")
    step, dtype = max(1, ELEMENTS // run.preprocessor.width), next(run.model.parameters()).dtype
    for numbers, pixels in streamed(files, run.preprocessor.size, skip_bad):
        parts = (torch.from_numpy(pixels[i : i + step]) for i in range(0, len(pixels), step))
        with torch.no_grad():
            logits = [run.model.logits(run.preprocessor.normalised(part, dtype)) for part in parts]
        yield numbers, pixels, torch.cat(logits).double().numpy()


def predict_photos(run: Run, files: list[Path], output: str, skip_bad: bool = False) -> int:
    """Write ``path``, ``probability`` and ``prediction`` for every photo.

    Args:
        output: a ``.csv`` or ``.parquet`` file, which appears when it is complete, or ``-`` for CSV on standard output.

    Returns:
        The number of photos.

    Raises:
        UserError: a photo cannot be read, or the output cannot be written.
    """
    scorer = Scorer(run)
    frames = (
        scorer.results(z).insert_column(0, pl.Series("path", [str(files[i]) for i in numbers]))
        for numbers, _, z in _scored(run, files, skip_bad)
    )
    if output == STDOUT:
        return to_stdout(frames)
    with output_file(output, files, "one of the photos") as part:
        return to_file(frames, part, parquet=output.endswith(".parquet"))


def sentence(run: Run, photo: Path) -> str:
    """What the run says of one photo.

    Raises:
        UserError: it cannot be read.
    """
    ((_, _, z),) = _scored(run, [photo], skip_bad=False)
    p, labels, threshold = float(Scorer(run).probabilities(z)[0]), run.preprocessor.target.labels, run.model.threshold
    what = f"the probability of {labels[1]} is {p:.6f}"
    return f"{photo}: {what}, so at threshold {threshold:g} it is {labels[int(p >= threshold)]}"


def evaluate_photos(run: Run, path: str, asked: EvaluateSettings, checkpoint: str) -> NewRowsEvaluation:
    """Predict every photo of a folder with a folder for each class, and say how good the predictions are.

    Raises:
        UserError: the folder has other classes, or a photo cannot be read.
    """
    files, y = labelled_photos(path, run.preprocessor.target.labels)
    numbers: list[int] = []
    logits, digest = [], hashlib.sha256()
    for of_batch, pixels, z in _scored(run, files, asked.data.skip_bad):
        numbers += of_batch
        digest.update(pixels.tobytes())
        logits.append(z)
    labels = y[numbers].astype(np.int64)
    digest.update(labels.tobytes())
    data = {"path": path, "fingerprint": f"sha256:{digest.hexdigest()[:32]}", "weight": None}
    return evaluate_logits(run, np.concatenate(logits), labels, None, asked, checkpoint, data)
