"""Early stopping of many jobs, as Lightning's `EarlyStopping` decides for each of them."""

from __future__ import annotations

import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason as Reason


class Stopping:
    """Which jobs stop after a validation: Lightning's patience, least improvement and check for finite values.

    A callback takes a millisecond for each job; this takes a few array operations for all.

    Args:
        callback: its settings serve all jobs.
    """

    def __init__(self, callback: EarlyStopping, jobs: int) -> None:
        self.callback = callback
        self.sign = 1.0 if callback.mode == "min" else -1.0
        self.best = np.full(jobs, np.inf)  # of the metric times the sign, so that less is better
        self.wait = np.zeros(jobs, dtype=np.int64)
        self.stopped_epoch = np.zeros(jobs, dtype=np.int64)
        self.reason = dict.fromkeys(range(jobs), Reason.NOT_STOPPED)

    def decide(self, values: np.ndarray, active: np.ndarray, epoch: int) -> np.ndarray:
        """Whether each job stops now, (jobs,).

        Args:
            values: of the monitored metric, (jobs,).
            active: the jobs that are still in training.
            epoch: Lightning's, counted from 0.
        """
        score = self.sign * values
        with np.errstate(invalid="ignore"):
            better = active & (score + values.dtype.type(abs(self.callback.min_delta)) < self.best)
        self.best[better], self.wait[better] = score[better], 0
        worse = active & ~better
        self.wait[worse] += 1
        exhausted = worse & (self.wait >= self.callback.patience)
        infinite = active & ~np.isfinite(values) if self.callback.check_finite else np.zeros_like(active)
        stop = exhausted | infinite
        self.stopped_epoch[stop] = epoch
        for reason, jobs in ((Reason.PATIENCE_EXHAUSTED, exhausted), (Reason.NON_FINITE_METRIC, infinite)):
            self.reason |= dict.fromkeys(np.flatnonzero(jobs).tolist(), reason)
        return stop

    def state_of(self, job: int) -> dict[str, object]:
        """What the callback of this job alone would keep in a checkpoint."""
        return {
            "wait_count": int(self.wait[job]),
            "stopped_epoch": int(self.stopped_epoch[job]),
            "best_score": torch.tensor(self.sign * self.best[job], dtype=torch.float32),
            "patience": self.callback.patience,
            "stopping_reason": self.reason[job].value,
            "stopping_reason_message": None,
        }
