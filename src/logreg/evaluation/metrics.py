"""How good the predictions of a model are: its metrics, gathered batch by batch.

Rows that count once each go to torchmetrics, whose digits, some of them float32's, stand in the records of all runs so
far: `logreg.runs.evaluate` holds new values against them to 1e-12. Rows with weights, of which torchmetrics knows
nothing, go to `logreg.evaluation.engine`.

A prediction is positive where ``p >= threshold``. torchmetrics compares with ``>``, which differs exactly where it
hurts: at the zero-initialised model, whose every probability is 0.5. So it is handed predictions, not probabilities,
wherever a threshold is involved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.special import expit
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryCalibrationError,
    BinaryF1Score,
)

from logreg.core.errors import UserError
from logreg.evaluation.calibration import Calibration
from logreg.evaluation.engine import OfModels, ScoredRows
from logreg.evaluation.reliability import reliability
from logreg.evaluation.scores import BrierScore, MeanLoss
from logreg.optim.losses import LOG_LOSS, Loss

OfRows = Float[Tensor, " rows"]


def default_metrics() -> dict[str, Metric]:
    """What a classifier measures by default; the same as ``conf/metrics/default.yaml``."""
    return {
        "accuracy": BinaryAccuracy(validate_args=False),
        "f1": BinaryF1Score(validate_args=False),
        "auroc": BinaryAUROC(validate_args=False),
        "average_precision": BinaryAveragePrecision(validate_args=False),
        "calibration_error": BinaryCalibrationError(validate_args=False),
        "brier": BrierScore(),
    }


# The settings of torchmetrics that the engine has, by name. With weights fewer of them count: torchmetrics has none, so
# that an exact curve in place of one on a grid is nearer to what was asked for than a curve without weights.
SETTINGS = {"ignore_index": None, "multidim_average": "global", "thresholds": None, "max_fpr": None, "zero_division": 0}
SETTINGS_WITH_WEIGHTS = {"max_fpr": None, "norm": "l1"}


def _calibration_error(rows: ScoredRows, metric: Metric) -> OfModels:
    assert isinstance(metric, BinaryCalibrationError)
    return rows.calibration_error(int(metric.n_bins), metric.norm)


COMPUTED: dict[type[Metric], Callable[[ScoredRows, Metric], OfModels]] = {
    BinaryAccuracy: lambda rows, _: rows.accuracy(),
    BinaryF1Score: lambda rows, _: rows.f1(),
    BinaryAUROC: lambda rows, _: rows.auroc(),
    BinaryAveragePrecision: lambda rows, _: rows.average_precision(),
    BinaryCalibrationError: _calibration_error,
    BrierScore: lambda rows, _: rows.brier(),
}


def computes(metric: Metric, weighted: bool = False) -> bool:
    """Whether the engine computes a metric with its settings; any other is left to torchmetrics."""
    known = SETTINGS_WITH_WEIGHTS if weighted else SETTINGS
    return type(metric) in COMPUTED and all(getattr(metric, name, value) == value for name, value in known.items())


def measured(rows: ScoredRows, metrics: Mapping[str, Metric]) -> dict[str, OfModels]:
    """The means of the losses of the rows, and those metrics that the engine computes, by name."""
    known = {name: metric for name, metric in metrics.items() if computes(metric, rows.weighted)}
    with np.errstate(divide="ignore", invalid="ignore"):  # where one label has all the weight, or no row has any
        values = {name: rows.mean(losses) for name, losses in rows.losses.items()}
        return values | {name: COMPUTED[type(metric)](rows, metric) for name, metric in known.items()}


def of_predictions(metric: Metric) -> bool:
    """Whether a metric has a threshold of its own, and is fed with predictions therefore."""
    return hasattr(metric, "threshold")


def bins_of(metrics: Iterable[Metric]) -> int:
    """The bins of the calibration error among the metrics, or of the one that is there by default."""
    chosen = (metric for metric in metrics if isinstance(metric, BinaryCalibrationError))
    return int(next(chosen, BinaryCalibrationError()).n_bins)


class Evaluation:
    """The metrics of a split, gathered batch by batch in float64 on the CPU.

    ``loss`` is the mean of the loss that the model was trained on, without any penalty: the name that checkpoints and
    early stopping watch. ``log_loss`` and all other metrics are of calibrated probabilities where there is a
    calibration; without, and of a model trained on the log loss, ``loss`` and ``log_loss`` are the same number.

    Args:
        threshold: a row is predicted to be of label 1 where its probability is at least this.
        metrics: by name; one with a ``threshold`` of its own is fed with predictions, any other with probabilities.
        trained_on: the loss.
    """

    def __init__(
        self, threshold: float, metrics: Mapping[str, Metric] | None = None, trained_on: Loss = LOG_LOSS
    ) -> None:
        self.trained_on = trained_on
        self.decide(threshold, None)
        metrics = default_metrics() if metrics is None else metrics
        self.metrics = dict(sorted(metrics.items(), key=lambda named: not of_predictions(named[1])))  # these first
        self.loss, self.log_loss = MeanLoss(trained_on), MeanLoss(LOG_LOSS)
        self.order = ("loss", *metrics, "log_loss")
        self._brier = {name: m for name, m in metrics.items() if isinstance(m, BrierScore)}
        self._rows: list[tuple[Tensor, ...]] = []
        self._parts: dict[tuple[str, ...], Evaluation] = {}

    def of(self, names: Sequence[str]) -> Evaluation:
        """An evaluation of some of the metrics; the same one every time, as a metric takes a millisecond to make."""
        key = tuple(names)
        if key not in self._parts:
            chosen = {name: self.metrics[name] for name in self.order if name in names and name in self.metrics}
            self._parts[key] = Evaluation(self.threshold, chosen, trained_on=self.trained_on)
        self._parts[key].decide(self.threshold, self.calibration)
        return self._parts[key]

    def decide(self, threshold: float, calibration: Calibration | None) -> None:
        """Predict by this threshold, of probabilities by this calibration instead of the sigmoid, from now on."""
        self.threshold, self.calibration = threshold, calibration

    @property
    def has_log_loss_of_its_own(self) -> bool:
        """Whether ``log_loss`` is another number than ``loss``."""
        return self.calibration is not None or self.trained_on != LOG_LOSS

    def probabilities(self, logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Of label 1; calibrated ones in float64 on the CPU, others in the precision of the logits."""
        if self.calibration is None:
            return torch.sigmoid(logits)
        return torch.from_numpy(self.calibration.probabilities(logits.detach().cpu().double().numpy()))

    def predictions(self, logits: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Whether each row is predicted to be of label 1."""
        return self.probabilities(logits) >= self.threshold

    def reset(self) -> None:
        self._rows = []
        for metric in (self.loss, self.log_loss, *self.metrics.values()):
            metric.reset()

    def update(self, logits: OfRows, y: OfRows, weight: OfRows | None = None) -> None:
        z, labels = logits.cpu().double(), y.cpu()
        self.loss.update(z, labels.double())
        if self.has_log_loss_of_its_own:
            calibrated = z if self.calibration is None else torch.from_numpy(self.calibration.logits(z.numpy()))
            self.log_loss.update(calibrated, labels.double())
        # Predictions in the network's own precision, as everywhere else; probabilities in one that breaks ties.
        predictions, probabilities = self.predictions(logits.cpu()).int(), self.probabilities(z)
        truth = labels.int()
        if weight is not None or self._brier:  # else not, as the rows may be more than memory holds
            self._rows.append((z, truth, predictions, *([] if weight is None else [weight.cpu().double()])))
        for metric in self.metrics.values():
            metric.update(predictions if of_predictions(metric) else probabilities, truth)

    def compute(self, final: bool = False) -> dict[str, float]:
        """The values by name, and an empty slate for the next pass.

        Args:
            final: with the decomposition of the Brier score after it, ``brier_reliability`` and so on.
        """
        loss, rows = float(self.loss.compute()), int(self.loss.rows)
        values = {"loss": loss, "log_loss": float(self.log_loss.compute()) if self.has_log_loss_of_its_own else loss}
        for name, metric in self.metrics.items():
            result = metric.compute()
            if not isinstance(result, Tensor) or result.numel() != 1:
                raise UserError(f"metrics.{name}: {type(metric).__name__} does not give one number, as is needed here.")
            value = float(result)
            # The float64 nearest to a fraction that torchmetrics gives in float32: 5/6 and not 0.8333333134.
            values[name] = round(value * rows) / rows if isinstance(metric, BinaryAccuracy) else value
        if self._rows and len(self._rows[0]) > len(("z", "y", "predicted")):  # there are weights
            # Metrics that do not know of weights keep their value, in which every row counts once.
            weighted = measured(self.scored_rows(*self._gathered()), self.metrics)
            values |= {name: float(value[0]) for name, value in weighted.items()}
        values = {name: values[name] for name in self.order}
        for name, metric in self._brier.items() if final else ():
            z, y, _, *weight = self._gathered()
            bins = reliability(self.probabilities(torch.from_numpy(z)).numpy(), y, metric.n_bins, *weight)
            values |= {f"{name}_{part}": value for part, value in bins.decomposition.items()}
        self.reset()
        return values

    def scored_rows(
        self, z: np.ndarray, y: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None
    ) -> ScoredRows:
        """Rows, (rows,) each with float64 logits ``z``, as the engine takes them, with ``loss`` and ``log_loss``."""
        # Not torch's sigmoid, whose last bit depends on where in memory a number lies: equal logits stay ties here.
        p, calibrated = expit(z), z
        if self.calibration is not None:
            p, calibrated = self.calibration.probabilities(z), self.calibration.logits(z)
        losses = {"loss": self.trained_on.of_arrays(z, y), "log_loss": LOG_LOSS.of_arrays(calibrated, y)}
        return ScoredRows(p, y, predicted, weight, losses)

    def _gathered(self) -> list[np.ndarray]:
        """Logits, labels, predictions and, where there are any, weights of all rows, (rows,) each."""
        return [torch.cat(parts).numpy() for parts in zip(*self._rows, strict=True)]


def accuracies(batches: Sequence[Sequence[Tensor]], threshold: float) -> list[float]:
    """The accuracy of each of several batches: exact fractions where rows have no weights.

    Args:
        batches: of logits, labels and, where there are any, weights, (rows,) each.
    """
    if not batches:
        return []
    logits, labels, *weights = zip(*batches, strict=True)
    right, sizes = (torch.sigmoid(torch.cat(logits)) >= threshold) == (torch.cat(labels) > 0.5), list(map(len, logits))
    if weights:
        return [float(w @ hits.to(w.dtype) / w.sum()) for w, hits in zip(*weights, right.split(sizes), strict=True)]
    return _means(right.double(), sizes)


def batch_losses(batches: Sequence[Sequence[Tensor]], loss: Loss = LOG_LOSS) -> list[float]:
    """The mean of ``weight * loss`` of each of several batches, as `accuracies` takes them."""
    if not batches:
        return []
    logits, labels, *weights = (torch.cat(parts) for parts in zip(*batches, strict=True))
    losses = loss.of_rows(logits, labels)
    return _means(losses.mul_(*weights) if weights else losses, [len(batch[0]) for batch in batches])


def _means(values: Float[Tensor, " rows"], sizes: Sequence[int]) -> list[float]:
    """The mean of each batch, all in one call where they have one size: a call costs more than the sum of a batch."""
    if len(set(sizes)) == 1:
        return values.view(len(sizes), -1).mean(1).tolist()
    return torch.stack([part.mean() for part in values.split(list(sizes))]).tolist()
