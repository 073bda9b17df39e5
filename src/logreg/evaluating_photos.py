"""How good a run is on photos that it has never seen, in folders that are called as its classes."""

from __future__ import annotations

import hashlib

import numpy as np

from logreg.data.images.folders import labelled_photos
from logreg.evaluating import EvaluateOptions, NewRowsEvaluation, Scored, evaluate_scored
from logreg.predicting_photos import PhotoScorer
from logreg.runs import Run


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
    scored = Scored(path, f"sha256:{digest.hexdigest()[:32]}", np.concatenate(logits), labels)
    return evaluate_scored(run, scored, options, checkpoint)
