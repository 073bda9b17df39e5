"""What came out of a fused fit: the final metrics of every job, as `logreg.training.loop` measures those of one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from logreg.data.datamodule import BlockData
from logreg.data.rows import Batch
from logreg.data.splits import SPLITS
from logreg.evaluation.calibration import from_record
from logreg.evaluation.coefficients.optimality import MOST_SEARCHED_IN_SWEEP, Optimality, separation_of
from logreg.evaluation.coefficients.separation import Separation
from logreg.evaluation.thresholds import ThresholdRule
from logreg.optim.problem import LogisticProblem
from logreg.records.record import ChosenThreshold
from logreg.sweeps.fused.fit import Fit
from logreg.sweeps.fused.metrics import BatchedEvaluation
from logreg.sweeps.fused.optimizers import column
from logreg.training.certificate import optimality_of
from logreg.training.classifier import BinaryClassifier
from logreg.training.measure import calibrate, evaluate, held_out


@dataclass
class Results:
    """Final values of every job of a fit.

    Attributes:
        metrics: by name, in the order of a record; empty for a job that did not complete.
        thresholds: at which rows are predicted to be of label 1.
        rules: how a threshold was chosen, for jobs whose threshold is not given.
        calibrations: how a record describes that of a job that has one.
        parameters: (jobs, *shape) each, those that the metrics belong to.
        uses_best: (jobs,), whether that is the state that validated best.
        optimality: how far each job is from the best coefficients; None for one that is not linear or not completed.
    """

    fit: Fit
    metrics: list[dict[str, float]]
    thresholds: list[float]
    rules: list[ChosenThreshold | None]
    calibrations: list[dict[str, object] | None]
    parameters: list[Tensor]
    uses_best: np.ndarray
    optimality: list[Optimality | None]

    @cached_property
    def _classifier(self) -> BinaryClassifier:
        settings = self.fit.settings
        network = copy.deepcopy(self.fit.jobs[0].network)
        classifier = BinaryClassifier(network, loss=settings.loss.name, metrics=settings.metrics)
        return classifier.to(settings.device, settings.dtype)

    def classifier_of(self, job: int) -> BinaryClassifier:
        """A job's classifier in the state that its metrics belong to; the next call makes it that of another job."""
        calibration = from_record(self.calibrations[job])
        classifier = self._classifier.to(self.fit.settings.dtype if calibration is None else torch.float64)
        state = self.fit.networks.state_dict_of(job, self.parameters)
        classifier.network.load_state_dict(state, strict=False)  # a fused state has no buffers
        classifier.penalise(self.fit.jobs[job].l1, self.fit.jobs[job].l2)
        classifier.decide(self.thresholds[job], calibration)
        return classifier


@torch.no_grad()
def measure(
    fit: Fit,
    rules: Sequence[ThresholdRule | None],
    splits: Sequence[str] = SPLITS,
    methods: Sequence[str | None] | None = None,
    most_searched: float = MOST_SEARCHED_IN_SWEEP,
) -> Results:
    """Measure the state that each job hands over on the splits that have rows, to the last bit as a run alone does.

    A job whose very last update was one too many is marked as diverged.

    Args:
        rules: by which each job's threshold is chosen.
        methods: of calibration, of each job.
        most_searched: rows times columns up to which a separation of the labels is looked for.
    """
    ended = np.array([status in ("completed", "interrupted") for status in fit.status]) & (fit.final_updates >= 0)
    for job in np.flatnonzero(ended & ~np.isfinite(_last_losses(fit))).tolist():
        fit.status[job], ended[job] = "diverged", False
    uses_best = fit.best.saved & ended
    count, thresholds = len(fit.jobs), list(fit.evaluation.thresholds)
    metrics: list[dict[str, float]] = [{} for _ in range(count)]
    mask = torch.as_tensor(uses_best, device=fit.settings.device)
    pairs = zip(fit.best.parameters, fit.last.parameters, strict=True)
    parameters = [torch.where(column(mask, last), best, last) for best, last in pairs]
    results = Results(fit, metrics, thresholds, [None] * count, [None] * count, parameters, uses_best, [None] * count)
    tables = [_TableSplits(table, most_searched, fit.settings.optimizer) for table in fit.tables]
    of_a_table = len(fit.jobs) // len(fit.tables)
    for job in np.flatnonzero(ended).tolist():
        table = tables[job // of_a_table]
        classifier, batches = results.classifier_of(job), table.batches
        if methods is not None and (method := methods[job]) is not None:
            classifier, batches = classifier.double(), table.batches_in_double
            results.calibrations[job] = calibrate(classifier, method, batches, splits)
        if (rule := rules[job]) is not None:
            results.thresholds[job], value = rule.choose(*held_out(classifier, batches("val")))
            classifier.decide(results.thresholds[job], classifier.calibration)
            results.rules[job] = ChosenThreshold(rule.name, value)
        results.optimality[job] = table.optimality_of(classifier)
        results.metrics[job] = evaluate(classifier, batches, splits)
    return results


def _last_losses(fit: Fit) -> np.ndarray:
    """The objective of the last state of each job over all training rows, (jobs,)."""
    for parameter, last in zip(fit.networks.parameters, fit.last.parameters, strict=True):
        parameter.copy_(last)
    x, y, weight = fit.batches.everything()
    weights = None if weight is None else fit.of_jobs(weight)
    evaluation = BatchedEvaluation(fit.evaluation.thresholds, {}, fit.settings.loss)
    losses = evaluation(fit.networks.logits(x), fit.of_jobs(y), weights)["loss"]
    return losses + fit.networks.penalty().cpu().double().numpy() if fit.networks.has_penalty else losses


class _TableSplits:
    """The splits of a table, made once for all of its jobs."""

    def __init__(self, table: BlockData, most_searched: float, optimizer: type[Optimizer]) -> None:
        self._table, self._most_searched, self._optimizer = table, most_searched, optimizer
        self._rows, self._names = table.served("train"), table.preprocessor.feature_names
        self._separations: dict[bool, Separation | None] = {}  # with a penalty and without
        self._splits = [split for split in SPLITS if len(table.rows[split])]

    def optimality_of(self, classifier: BinaryClassifier) -> Optimality | None:
        """As `logreg.training.loop` finds it for a run alone."""
        names = self._names if self._most_searched else ()
        return optimality_of(classifier, self._rows, self._separation, self._optimizer, names)

    def _separation(self, problem: LogisticProblem) -> Separation | None:
        """Of the labels, which depends on the rows alone, looked for once."""
        if problem.penalised not in self._separations:
            self._separations[problem.penalised] = separation_of(problem, self._names, self._most_searched)
        return self._separations[problem.penalised]

    @cached_property
    def batches(self) -> Callable[[str], list[Batch] | None]:
        """Those of a split; None where it has no rows."""
        return {split: list(self._table.batches(split)) for split in self._splits}.get

    @cached_property
    def batches_in_double(self) -> Callable[[str], list[Batch] | None]:
        """As `batches`, for classifiers in float64: those that are calibrated."""
        with self._table.serving(torch.float64):
            return {split: list(self._table.batches(split)) for split in self._splits}.get
