"""From a run's logits to what a prediction says."""

from __future__ import annotations

import numpy as np
import polars as pl

from logreg.runs import Run

RESULTS = ("probability", "prediction")


class Scorer:
    """A run's calibration and threshold."""

    def __init__(self, run: Run) -> None:
        self.run, self.threshold, self.calibration = run, run.model.threshold, run.model.calibration

    def probabilities(self, z: np.ndarray) -> np.ndarray:
        """Of label 1, calibrated where the run is, (rows,)."""
        if self.calibration is not None:
            return self.calibration.probabilities(z)
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-z))

    def results(self, z: np.ndarray) -> pl.DataFrame:
        """The two columns that a prediction adds."""
        p = self.probabilities(z)
        return pl.DataFrame({RESULTS[0]: p, RESULTS[1]: (p >= self.threshold).astype(np.int8)})
