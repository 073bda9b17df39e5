"""The metrics of many classifiers on the same rows, a few array operations for all of them together.

Each gets the numbers that `Evaluation` would give it alone, whatever the others are: nothing is computed across jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.special import expit
from torch import Tensor
from torchmetrics import Metric

from logreg.evaluation.engine import ScoredRows
from logreg.evaluation.metrics import Evaluation, computes, measured, of_predictions
from logreg.optim.losses import LOG_LOSS, Loss

# Jobs are taken together up to this many logits: they stay in the processor's cache, and below 2**15 torch starts no
# threads, which on a busy machine take longer than the work and would split a job's rows (see `_sigmoid`).
SLICE = 2**15 - 1


class BatchedEvaluation:
    """The metrics of `Evaluation` for many classifiers at once.

    What `logreg.evaluation.engine` computes is computed for all jobs together, in float64; any other metric is fed job
    by job.

    Args:
        thresholds: of each job: a row is predicted to be of label 1 where its probability is at least this.
        metrics: by name, as `Evaluation` takes them; they are not changed.
        trained_on: the loss of all jobs.
    """

    def __init__(self, thresholds: Sequence[float], metrics: Mapping[str, Metric], trained_on: Loss = LOG_LOSS) -> None:
        self.trained_on = trained_on
        self.thresholds = [float(threshold) for threshold in thresholds]
        self.batched = {name: metric for name, metric in metrics.items() if computes(metric)}
        self.without_weights = {n: metric for n, metric in self.batched.items() if not computes(metric, weighted=True)}
        self.others = {name: deepcopy(metric) for name, metric in metrics.items() if name not in self.batched}
        self.order = ("loss", *metrics, "log_loss")

    def __call__(
        self, logits: Float[Tensor, "jobs rows"], y: Tensor, weight: Tensor | None = None
    ) -> dict[str, Float[np.ndarray, " jobs"]]:
        """The values by name, in the order of `Evaluation`.

        A job with a nan among its logits has no log loss and no metric of probabilities (nan).

        Args:
            logits: in the networks' own precision, which decides the predictions.
            y: 0 or 1; (rows,) where all jobs share them, or (jobs, rows).
            weight: of the rows, of the same shape.

        Raises:
            ValueError: there are not as many jobs as thresholds.
            UserError: a metric does not give one number.
        """
        if len(logits) != len(self.thresholds):
            raise ValueError(f"logits of {len(logits)} jobs, but {len(self.thresholds)} thresholds")
        logits, y = logits.detach().cpu().contiguous(), y.cpu().expand(logits.shape)
        weight = None if weight is None else weight.cpu().expand(logits.shape)
        values = {name: np.full(len(logits), np.nan) for name in self.order}
        step = max(1, SLICE // (logits.shape[1] + 1))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for first in range(0, len(logits), step):
                self._measure(values, slice(first, first + step), logits, y, weight)
        if self.others:
            self._measure_others(values, logits, y, weight)
        return values

    def _measure(
        self, values: dict[str, np.ndarray], part: slice, logits: Tensor, y: Tensor, weight: Tensor | None
    ) -> None:
        logits, labels = logits[part], y[part].double().contiguous().numpy()
        z = logits.double().numpy()
        # The thresholds as torch compares a number with a tensor: in the precision of the tensor.
        limits = torch.tensor(self.thresholds[part], dtype=torch.float64).to(logits.dtype)[:, None]
        predicted = (_sigmoid(logits) >= limits).numpy()
        losses = {"log_loss": LOG_LOSS.of_arrays(z, labels)}
        if self.trained_on != LOG_LOSS:
            losses["loss"] = self.trained_on.of_arrays(z, labels)
        if weight is None:
            # An infinite logit has no log loss in torch's binary cross entropy, whichever the label.
            losses["log_loss"][np.isinf(z).any(1)] = np.nan
            rows = ScoredRows(_sigmoid(logits.double()).numpy(), labels, predicted, None, losses)
        else:  # as an `Evaluation` takes them where rows have weights
            rows = ScoredRows(expit(z), labels, predicted, weight[part].double().contiguous().numpy(), losses)
            if self.without_weights:  # in which every row counts once
                for name, value in measured(rows.reweighted(None), self.without_weights).items():
                    values[name][part] = value
        of_jobs = measured(rows, self.batched)
        for name, value in ({"loss": of_jobs["log_loss"]} | of_jobs).items():
            values[name][part] = value

    def _measure_others(self, values: dict[str, np.ndarray], logits: Tensor, y: Tensor, weight: Tensor | None) -> None:
        everything = Evaluation(0.5, self.others)
        predicted = everything.of([name for name, metric in self.others.items() if of_predictions(metric)])
        for job, (threshold, z) in enumerate(zip(self.thresholds, logits, strict=True)):
            # torchmetrics takes probabilities that are not all within [0, 1] for logits: nan are not shown to it.
            evaluation = predicted if z.isnan().any() else everything
            evaluation.reset()
            evaluation.decide(threshold, None)
            evaluation.update(z, y[job].double(), None if weight is None else weight[job].double())
            for name, value in evaluation.compute().items():
                if name in self.others:
                    values[name][job] = value


def _sigmoid(logits: Float[Tensor, "jobs rows"]) -> Float[Tensor, "jobs rows"]:
    """What `torch.sigmoid` gives for each job by itself, to the last bit.

    torch takes the end of a vector by another routine than the rest, so that the last bit of a probability, and with it
    what is tied and what reaches a threshold, may depend on the row's position. A gap between the jobs keeps each in a
    vector of its own.
    """
    return torch.sigmoid(F.pad(logits, (0, 1))[:, :-1])
