"""The metrics of many classifiers on the same rows, a few array operations for all of them together.

Each gets the numbers that `Evaluation` would give it alone, whatever the others are: nothing is computed across jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryCalibrationError,
    BinaryF1Score,
)

from logreg.evaluation.metrics import Evaluation
from logreg.evaluation.scores import BrierScore
from logreg.optim.losses import LOG_LOSS, Loss

# Jobs are taken together up to this many logits. So few stay in the processor's cache, and below 2**15 torch starts no
# threads, which on a busy machine take longer than the work and would split a job's rows (see `_sigmoid`).
SLICE = 2**15 - 1

# What these settings have to be, where a metric has them, for it to be computed here.
USUAL = {"ignore_index": None, "multidim_average": "global", "thresholds": None, "max_fpr": None, "zero_division": 0}


class BatchedEvaluation:
    """The metrics of `Evaluation` for many classifiers at once.

    Accuracy, F1, AUROC, average precision, calibration error and Brier score with their ``USUAL`` settings are computed
    in float64 for all jobs together; any other metric is fed job by job.

    Args:
        thresholds: of each job: a row is predicted to be of label 1 where its probability is at least this.
        metrics: by name, as `Evaluation` takes them; they are not changed.
        trained_on: the loss of all jobs.
    """

    def __init__(self, thresholds: Sequence[float], metrics: Mapping[str, Metric], trained_on: Loss = LOG_LOSS) -> None:
        self.trained_on = trained_on
        self.thresholds = [float(threshold) for threshold in thresholds]
        self.batched = {name: metric for name, metric in metrics.items() if _is_batched(metric)}
        self.others = {name: deepcopy(metric) for name, metric in metrics.items() if name not in self.batched}
        self.order = ("loss", *metrics, "log_loss")

    def __call__(
        self,
        logits: Float[Tensor, "jobs rows"],
        y: Float[Tensor, "... rows"],
        weight: Float[Tensor, "... rows"] | None = None,
    ) -> dict[str, Float[np.ndarray, " jobs"]]:
        """The values by name, in the order of `Evaluation`.

        A job with a nan among its logits has no log loss and no metric of probabilities (nan).

        Args:
            logits: in the networks' own precision, which decides the predictions.
            y: 0 or 1; (rows,) where all jobs share them, or (jobs, rows).
            weight: of the rows, likewise.

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
        """Fill in what is computed for a part of the jobs together."""
        logits, labels = logits[part], y[part].double().contiguous().numpy()
        z = logits.double()
        p = _sigmoid(z)
        # The thresholds as torch compares a number with a tensor: in the precision of the tensor.
        limits = torch.tensor(self.thresholds[part], dtype=torch.float64).to(logits.dtype)[:, None]
        predicted = ((p if logits.dtype == p.dtype else _sigmoid(logits)) >= limits).numpy()
        unweighted = weighted = _Jobs(p.numpy(), labels, predicted)
        if weight is not None:  # with the probabilities of `WeightedMetrics`
            w = weight[part].double().contiguous().numpy()
            weighted = _Jobs(1 / (1 + np.exp(-z.numpy())), labels, predicted, w)
        values["loss"][part] = values["log_loss"][part] = weighted.log_loss(z.numpy())
        if self.trained_on != LOG_LOSS:
            values["loss"][part] = weighted.brier()
        for name, metric in self.batched.items():
            if isinstance(metric, BinaryCalibrationError):  # with weights where `WeightedMetrics` knows of them
                jobs = weighted if metric.norm == "l1" else unweighted
                values[name][part] = jobs.calibration_error(int(metric.n_bins), metric.norm)
            else:
                values[name][part] = MEASURES[type(metric)](weighted)

    def _measure_others(self, values: dict[str, np.ndarray], logits: Tensor, y: Tensor, weight: Tensor | None) -> None:
        """Fill in the metrics that have to be fed job by job."""
        everything = Evaluation(0.5, self.others)
        of_predictions = everything.of(tuple(everything.of_predictions))
        for job, (threshold, z) in enumerate(zip(self.thresholds, logits, strict=True)):
            # torchmetrics takes probabilities that are not all within [0, 1] for logits: nan are not shown to it.
            evaluation = of_predictions if z.isnan().any() else everything
            evaluation.reset()
            evaluation.threshold = threshold
            evaluation.update(z, y[job].double(), None if weight is None else weight[job].double())
            for name, value in evaluation.compute().items():
                if name in self.others:
                    values[name][job] = value


def _is_batched(metric: Metric) -> bool:
    usual = all(getattr(metric, name, setting) == setting for name, setting in USUAL.items())
    return usual and (type(metric) in MEASURES or type(metric) is BinaryCalibrationError)


def _sigmoid(logits: Float[Tensor, "jobs rows"]) -> Float[Tensor, "jobs rows"]:
    """What `torch.sigmoid` gives for each job by itself, to the last bit.

    torch takes the end of a vector by another routine than the rest, so that the last bit of a probability, and with it
    what is tied and what reaches a threshold, may depend on the row's position. A gap between the jobs keeps each in a
    vector of its own.
    """
    return torch.sigmoid(F.pad(logits, (0, 1))[:, :-1])


class _Jobs:
    """What the metrics of some jobs are computed from.

    Args:
        p: probabilities.
        y: 0 or 1, in float64.
        predicted: whether the row is predicted to be of label 1.
        weight: without, each row counts once and the conventions are those of torchmetrics (0 for a metric that needs
            both classes and finds one); with, they are those of `WeightedMetrics` (nan).
    """

    def __init__(
        self,
        p: Float[np.ndarray, "jobs rows"],
        y: Float[np.ndarray, "jobs rows"],
        predicted: Bool[np.ndarray, "jobs rows"],
        weight: Float[np.ndarray, "jobs rows"] | None = None,
    ) -> None:
        self.p, self.y, self.predicted, self.weighted = p, y, predicted, weight is not None
        self.w = np.ones((1, p.shape[1])) if weight is None else weight
        self.total = self.w.sum(1)
        self.undefined = np.isnan(p).any(1)

    def log_loss(self, z: Float[np.ndarray, "jobs rows"]) -> Float[np.ndarray, " jobs"]:
        """The mean of ``log(1 + exp(-z))`` for label 1 and ``log(1 + exp(z))`` for label 0."""
        s = np.where(self.y > 0, -z, z)
        losses = np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))
        mean = (self.w * losses).sum(1) / self.total
        # An infinite logit has no log loss in torch's binary cross entropy, the right label or not.
        return mean if self.weighted else np.where(np.isinf(z).any(1), np.nan, mean)

    def accuracy(self) -> Float[np.ndarray, " jobs"]:
        return (self.w * (self.predicted == self.y)).sum(1) / self.total

    def f1(self) -> Float[np.ndarray, " jobs"]:
        hits, total = 2 * (self.w * self.predicted * self.y).sum(1), (self.w * (self.predicted + self.y)).sum(1)
        return np.where(total > 0, hits / total, 0.0)

    def brier(self) -> Float[np.ndarray, " jobs"]:
        return (self.w * (self.p - self.y) ** 2).sum(1) / self.total

    def auroc(self) -> Float[np.ndarray, " jobs"]:
        """Area by trapezoids."""
        true, _, true_steps, false_steps, starts, trues, falses = self._curve
        area = np.add.reduceat(false_steps * (true - true_steps / 2), starts)
        return self._where(trues * falses != 0, area / (trues * falses))

    def average_precision(self) -> Float[np.ndarray, " jobs"]:
        true, false, true_steps, _, starts, trues, _ = self._curve
        precision = np.nan_to_num(true / (true + false))
        return self._where(trues != 0, np.add.reduceat(precision * true_steps, starts) / trues)

    def calibration_error(self, bins: int, norm: str) -> Float[np.ndarray, " jobs"]:
        """The gaps between mean probability and share of label 1 in bins of equal width, l1, l2 or the largest.

        A probability on an edge belongs to the bin above. For 1 that is a bin of its own in torchmetrics, and the last
        one in `WeightedMetrics`; their edges differ in the last bit, too.
        """
        p, y, w = self._ranked
        edges = np.linspace(0, 1, bins + 1) if self.weighted else torch.linspace(0, 1, bins + 1, dtype=torch.float64)
        bin_of = np.searchsorted(np.asarray(edges), p, side="right") - 1
        if self.weighted:
            bin_of = np.clip(bin_of, 0, bins - 1)
        bin_of += (bins + 1) * np.arange(len(p))[:, None]

        def sums(of: np.ndarray) -> np.ndarray:
            return np.bincount(bin_of.ravel(), of.ravel(), len(p) * (bins + 1)).reshape(len(p), bins + 1)

        gaps = np.abs(sums(w * (p - y)))  # times the weight of the bin
        if norm == "l1":
            error = gaps.sum(1) / self.total
        else:
            weight = sums(np.broadcast_to(w, p.shape))
            gaps = np.where(weight > 0, gaps / weight, 0.0)
            error = gaps.max(1) if norm == "max" else np.sqrt((gaps**2 * weight).sum(1) / self.total)
        return np.where(self.undefined, np.nan, error)

    def _where(self, defined: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.where(self.undefined, np.nan, np.where(defined, values, np.nan if self.weighted else 0.0))

    @cached_property
    def _ranked(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Probabilities, labels and weights by descending probability."""
        order = np.argsort(-self.p, axis=1)
        w = np.take_along_axis(self.w, order, 1) if self.weighted else self.w
        return np.take_along_axis(self.p, order, 1), np.take_along_axis(self.y, order, 1), w

    @cached_property
    def _curve(self) -> tuple[np.ndarray, ...]:
        """True and false positives at every threshold, from the highest down, the jobs one after the other.

        Returns:
            (thresholds of all jobs,): true, false positives, and by how much each grew; (jobs,): where each job starts,
            its true and its false positives at the end.
        """
        p, y, w = self._ranked
        # The last row of every run of equal probabilities: a threshold cannot fall inside one.
        last = np.ones(p.shape, dtype=bool)
        np.not_equal(p[:, 1:], p[:, :-1], out=last[:, :-1])
        at = np.flatnonzero(last)
        true = np.cumsum(w * y, axis=1)
        false = np.broadcast_to(np.cumsum(w, axis=1), p.shape) - true
        starts = np.append(0, np.cumsum(last.sum(1))[:-1])
        trues, falses, true, false = true[:, -1], false[:, -1], true.ravel()[at], false.ravel()[at]
        true_steps, false_steps = np.diff(true, prepend=0.0), np.diff(false, prepend=0.0)
        true_steps[starts], false_steps[starts] = true[starts], false[starts]
        return true, false, true_steps, false_steps, starts, trues, falses


MEASURES: dict[type[Metric], Callable[[_Jobs], np.ndarray]] = {
    BinaryAccuracy: _Jobs.accuracy,
    BinaryF1Score: _Jobs.f1,
    BinaryAUROC: _Jobs.auroc,
    BinaryAveragePrecision: _Jobs.average_precision,
    BrierScore: _Jobs.brier,
}
