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
from logreg.evaluation.coefficients.optimality import MOST_SEARCHED_IN_SWEEP, separation_of
from logreg.evaluation.coefficients.separation import Separation
from logreg.evaluation.thresholds import ThresholdRule
from logreg.optim.problem import LogisticProblem
from logreg.records.record import Certificate, RunRecord
from logreg.sweeps.fused.fit import Fit
from logreg.sweeps.fused.metrics import BatchedEvaluation
from logreg.sweeps.fused.optimizers import column
from logreg.training.classifier import BinaryClassifier
from logreg.training.measure import certificate_of, conclude


@dataclass
class Results:
    """Final values of every job of a fit."""

    fit: Fit
    records: Sequence[RunRecord]  # of each job; without metrics for one that did not complete
    parameters: list[Tensor]  # (jobs, *shape) each, those that the metrics belong to
    uses_best: np.ndarray  # (jobs,), whether that is the state that validated best

    @cached_property
    def _classifier(self) -> BinaryClassifier:
        settings = self.fit.settings
        network = copy.deepcopy(self.fit.jobs[0].network)
        classifier = BinaryClassifier(network, loss=settings.loss.name, metrics=settings.metrics)
        return classifier.to(settings.device, settings.dtype)

    def classifier_of(self, job: int) -> BinaryClassifier:
        """A job's classifier in the state that its metrics belong to; the next call makes it that of another job."""
        record = self.records[job]
        calibration = from_record(record.calibration)
        classifier, dtype = self._classifier, self.fit.settings.dtype if calibration is None else torch.float64
        if next(classifier.parameters()).dtype != dtype:  # moving a module costs as much as filling it
            classifier.to(dtype)
        state = self.fit.networks.state_dict_of(job, self.parameters)
        classifier.network.load_state_dict(state, strict=False)  # a fused state has no buffers
        classifier.penalise(self.fit.jobs[job].l1, self.fit.jobs[job].l2)
        classifier.decide(record.threshold, calibration)
        return classifier


@torch.no_grad()
def measure(
    fit: Fit,
    rules: Sequence[ThresholdRule | None],  # by which each job's threshold is chosen
    records: Sequence[RunRecord] | None = None,  # of the jobs, to fill in; new ones by default
    splits: Sequence[str] = SPLITS,
    methods: Sequence[str | None] | None = None,  # of calibration, of each job
    most_searched: float = MOST_SEARCHED_IN_SWEEP,  # rows times columns of a table that is searched for a separation
) -> Results:
    """Measure the state that each job hands over on the splits that have rows, to the last bit as a run alone does.

    A job whose very last update was one too many is marked as diverged.
    """
    ended = np.array([status in ("completed", "interrupted") for status in fit.status]) & (fit.final_updates >= 0)
    for job in np.flatnonzero(ended & ~np.isfinite(_last_losses(fit))).tolist():
        fit.status[job], ended[job] = "diverged", False
    uses_best = fit.best.saved & ended
    records = [RunRecord() for _ in fit.jobs] if records is None else records
    for record, threshold in zip(records, fit.evaluation.thresholds, strict=True):
        record.threshold = threshold
    mask = torch.as_tensor(uses_best, device=fit.settings.device)
    pairs = zip(fit.best.parameters, fit.last.parameters, strict=True)
    parameters = [torch.where(column(mask, last), best, last) for best, last in pairs]
    results = Results(fit, records, parameters, uses_best)
    tables = [_TableSplits(table, most_searched, fit.settings.optimizer) for table in fit.tables]
    of_a_table = len(fit.jobs) // len(fit.tables)
    for job in np.flatnonzero(ended).tolist():
        table, method = tables[job // of_a_table], methods[job] if methods is not None else None
        dtype = torch.float64 if method is not None else fit.settings.dtype
        classifier, record = results.classifier_of(job), records[job]
        if method is not None:
            classifier.to(dtype)
        conclude(record, classifier, table.batches(dtype), splits, rules[job], method)
        record.optimality = table.certificate_of(classifier)
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
        self._batches: dict[torch.dtype, dict[str, list[Batch]]] = {}

    def certificate_of(self, classifier: BinaryClassifier) -> Certificate | None:
        """As `logreg.training.loop` finds it for a run alone."""
        names = self._names if self._most_searched else ()
        return certificate_of(classifier, self._rows, self._separation, self._optimizer, names)

    def _separation(self, problem: LogisticProblem) -> Separation | None:
        """Of the labels, which depends on the rows alone, looked for once."""
        if problem.penalised not in self._separations:
            self._separations[problem.penalised] = separation_of(problem, self._names, self._most_searched)
        return self._separations[problem.penalised]

    def batches(self, dtype: torch.dtype) -> Callable[[str], list[Batch] | None]:
        """Those of a split, None where it has no rows; in float64 for the classifiers that are calibrated."""
        if dtype not in self._batches:
            with self._table.serving(dtype):
                splits = [split for split in SPLITS if len(self._table.rows[split])]
                self._batches[dtype] = {split: list(self._table.batches(split)) for split in splits}
        return self._batches[dtype].get
