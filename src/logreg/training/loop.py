"""Training without a config system: objects in, a record out.

from lightning.pytorch import Trainer
from logreg import BinaryClassifier, train
from logreg.data import ToyData
from logreg.models import SequentialRegression

classifier = BinaryClassifier(SequentialRegression(2))
record = train(ToyData("toy", standardize=False), classifier, Trainer(max_epochs=1001, logger=False))
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from logreg.core.errors import Diverged, Interrupted, UserError, plural
from logreg.core.provenance import versions
from logreg.data.adapter import AnyData, LoaderData, adapted
from logreg.data.blocks import PassPlan
from logreg.data.datamodule import BlockData
from logreg.data.rows import Batch, batch_parts
from logreg.data.splits import SPLITS
from logreg.evaluation.calibration import check_labels, fit_calibration
from logreg.evaluation.coefficients.optimality import MOST_SEARCHED
from logreg.evaluation.intervals import accuracy_intervals
from logreg.evaluation.thresholds import ThresholdRule
from logreg.records.checkpoints import find_checkpoint, read_checkpoint
from logreg.records.record import ChosenThreshold, Evaluated, RunRecord
from logreg.training.callbacks import Checkpoints
from logreg.training.certificate import certificate, firth_penalty
from logreg.training.checks import (
    TRAIN_METRICS,
    callbacks_of,
    check_counting,
    check_float64,
    check_held_out,
    check_parts,
    check_trainer,
    checked_checkpoint,
)
from logreg.training.classifier import BinaryClassifier

log = logging.getLogger(__name__)

SAME_SIGNAL_SECONDS = 1.0
TRANSLATED = ("gradient_clip_val", "accumulate_grad_batches", "check_val_every_n_epoch")
OF_CALIBRATION = ("log_loss", "brier", "calibration_error")  # are kept as they were before it


def train(
    data: LightningDataModule | LoaderData,
    classifier: BinaryClassifier,
    trainer: Trainer,
    resume: str | Path | None = None,
    record: RunRecord | None = None,
    rule: ThresholdRule | None = None,
    splits: Sequence[str] = SPLITS,
    most_searched: float = MOST_SEARCHED,
    calibration: str | None = None,
) -> RunRecord:
    """Fit the classifier, evaluate it, and say how it went.

    The Trainer's ``max_epochs`` counts passes over the training rows and ``check_val_every_n_epoch`` passes between two
    validations, whatever Lightning's own epochs are; ``gradient_clip_val`` and ``accumulate_grad_batches`` work as in
    automatic optimization. Afterwards the classifier holds the state that the metrics belong to: the best checkpoint
    where there are validation rows and a `Checkpoints` callback, else the last state.

    Args:
        data: a `BlockData`, or any DataModule with ``num_features`` whose loaders give ``(x, y)`` batches.
        resume: a checkpoint or a run directory to continue from.
        record: the record to fill in, if there is one already.
        rule: choose the classifier's threshold by it afterwards, on the validation rows.
        splits: whose rows the result is measured on.
        most_searched: rows times columns up to which a separation of the labels is looked for; infinity: whatever the
            penalty, too.
        calibration: ``sigmoid`` or ``isotonic``: calibrate the classifier's probabilities afterwards, on the validation
            rows. A network trained on `BlockData` computes in float64 from then on.

    Returns:
        The record, with status ``completed``, ``diverged`` or ``interrupted``.

    Raises:
        UserError: the objects do not fit together.
    """
    started = time.perf_counter()
    check_trainer(trainer)
    check_float64(trainer.strategy.root_device, trainer.precision, classifier)
    classifier.interrupt = False
    if not classifier.training:  # as an earlier `train` or `load_run` left it
        classifier.train()
    if classifier.calibration is not None:
        classifier.calibration = None
        classifier.network.float()
    data = adapted(data)
    data.prepare_data()
    data.setup("fit")
    checkpoint = find_checkpoint(str(resume)) if resume is not None else None
    dtype = torch.float64 if trainer.precision == "64-true" else torch.float32
    data.serve(dtype, trainer.accumulate_grad_batches)
    if trainer.precision == "64-true":
        classifier.network.double()  # Lightning converts it after it has read a checkpoint, which would be rounded then
    state = checked_checkpoint(checkpoint, classifier, data) if checkpoint is not None else None
    record = record or RunRecord()
    record.threshold, record.versions = classifier.threshold, versions()
    record.device, record.resumed_from = str(trainer.strategy.root_device), str(checkpoint) if checkpoint else None
    with _settings_kept(trainer):
        _take_over(trainer, classifier, data)
        if data.batches_of("val") is None:
            check_held_out(rule)
        if calibration is not None:
            check_labels(calibration, validation_labels(data.batches_of("val")))
        if data.blocks is not None:
            _plan(trainer, data.blocks, state)
        _fit(record, data, classifier, trainer, checkpoint)
    record.seconds = {"fit": time.perf_counter() - started}
    record.updates = trainer.global_step
    record.data = data.describe()
    record.epochs = trainer.current_epoch if data.blocks is None else data.blocks.position["passes"]
    if record.status != "diverged":
        data.setup("test")
        _evaluate(record, data, classifier, trainer, rule, splits, calibration)
    if record.status != "diverged":  # which the evaluation finds out of the very last update
        record.optimality = certificate(data, classifier, trainer, most_searched)
    return record


def _fit(record: RunRecord, data: AnyData, classifier: BinaryClassifier, trainer: Trainer, path: Path | None) -> None:
    record.status = "completed"
    try:
        with signals_stop(classifier):
            trainer.fit(classifier, datamodule=data.module, ckpt_path=path, weights_only=True if path else None)
    except Diverged as divergence:
        record.updates = divergence.updates
        record.end("diverged")
    except (Interrupted, SIGTERMException):
        record.end("interrupted")


def _evaluate(
    record: RunRecord,
    data: AnyData,
    classifier: BinaryClassifier,
    trainer: Trainer,
    rule: ThresholdRule | None,
    splits: Sequence[str],
    calibration: str | None,
) -> None:
    """Measure the state that the run hands over, on those of the splits that have rows."""
    checkpoints = next((c for c in callbacks_of(trainer) if isinstance(c, Checkpoints)), None)
    record.evaluated = Evaluated("last", trainer.global_step)
    if not math.isfinite(evaluate(classifier, data, ("train",))["train/loss"]):  # by the very last update
        record.end("diverged")
        return
    if checkpoints is not None and checkpoints.best_score is not None and checkpoints.best.is_file():
        best = read_checkpoint(checkpoints.best)
        classifier.load_state_dict(best["state_dict"])
        record.evaluated = Evaluated("best", best["global_step"])
    if calibration is not None:
        if data.blocks is not None:  # as whoever loads the run computes; see `calibrate`
            classifier.network.double()
            data.serve(torch.float64)
        record.calibration = calibrate(classifier, calibration, data.batches_of, splits)
    if rule is not None:
        classifier.threshold, value = rule.choose(*held_out(classifier, data.batches_of("val")))
        record.threshold_rule = ChosenThreshold(rule.name, value)
        record.threshold = classifier.threshold
    record.metrics = evaluate(classifier, data, splits)
    record.intervals = accuracy_intervals(record.metrics, data)


def calibrate(
    classifier: BinaryClassifier,
    method: str,
    batches_of: Callable[[str], Iterable[Batch] | None],
    splits: Sequence[str],
) -> dict[str, Any]:
    """Calibrate a classifier on its validation rows; returns what ``run.json`` says of it.

    An isotonic calibration can be as steep as two validation rows are close, so that rounding logits to float32 would
    show in the probabilities: it takes float64 for a run to give the same ones everywhere.

    Raises:
        UserError: the validation rows are none, or of one label only.
    """
    before = evaluate_splits(classifier, batches_of, [split for split in splits if split != "train"])
    z, y, weight = held_out(classifier, batches_of("val"), logits=True)
    classifier.calibration = fit_calibration(method, z, y, weight)
    uncalibrated = {name: value for name, value in before.items() if name.partition("/")[2] in OF_CALIBRATION}
    return {**classifier.calibration.as_record(), "rows": len(y), "uncalibrated": uncalibrated}


def validation_labels(batches: Iterable[Batch] | None) -> np.ndarray:
    """The labels of those rows that have a weight, (rows,)."""
    labels = [y if weight is None else y[weight > 0] for _, y, weight in map(batch_parts, batches or ())]
    return torch.cat(labels).numpy() if labels else np.empty(0)


@torch.no_grad()
def held_out(
    classifier: BinaryClassifier, batches: Iterable[Batch] | None, logits: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Probabilities, or logits before calibration, labels and weights of the validation rows, (rows,) each."""
    classifier.eval()
    found: list[list[torch.Tensor]] = [[], [], []]
    for batch in batches or ():
        x, y, weight = batch_parts(batch)
        z = classifier.logits(x.to(classifier.device))
        found[0].append((z if logits else classifier.evaluation.probabilities(z)).cpu())
        found[1].append(y)
        if weight is not None:
            found[2].append(weight)
    probabilities, labels, weights = (torch.cat(parts).double().numpy() if parts else None for parts in found)
    assert probabilities is not None
    assert labels is not None
    return probabilities, labels, weights


def evaluate(
    classifier: BinaryClassifier,
    data: LightningDataModule | LoaderData,
    splits: Iterable[str] = SPLITS,
    firth: float | None = None,
) -> dict[str, float]:
    """Metrics of every one of these splits that has rows, by name.

    ``train/loss`` is the objective, penalty included; ``val/loss`` and ``test/loss`` are the mean of the loss that was
    minimised, alone, and every ``log_loss`` is the mean log loss.

    Args:
        firth: weight of Firth's penalty, where the classifier was loaded and does not know it.
    """
    return evaluate_splits(classifier, adapted(data).batches_of, splits, firth)


def evaluate_splits(
    classifier: BinaryClassifier,
    batches_of: Callable[[str], Iterable[Batch] | None],
    splits: Iterable[str] = SPLITS,
    firth: float | None = None,
) -> dict[str, float]:
    """`evaluate`, given the batches of each split; None where there are none."""
    metrics: dict[str, float] = {}
    firth = classifier.firth if firth is None else firth
    for split in splits:
        batches = batches_of(split)
        if batches is None:
            continue
        values = classifier.evaluate(batches, TRAIN_METRICS if split == "train" else None)
        if split == "train":
            values["loss"] += float(classifier.penalty()) if classifier.penalised else 0.0
            values["loss"] += firth_penalty(classifier, batches, firth) if firth else 0.0
            values = {name: values[name] for name in TRAIN_METRICS if name in values}
        metrics |= {f"{split}/{name}": value for name, value in values.items()}
    return metrics


@contextmanager
def _settings_kept(trainer: Trainer) -> Iterator[None]:
    """Give a Trainer back as it was: its epochs, clipping and accumulation are translated while it fits."""
    kept = {name: getattr(trainer, name) for name in TRANSLATED}
    loop = trainer.fit_loop
    ends = loop.max_epochs, loop.epoch_loop.max_steps
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(trainer, name, value)
        loop.max_epochs, loop.epoch_loop.max_steps = ends


def _take_over(trainer: Trainer, classifier: BinaryClassifier, data: AnyData) -> None:
    """Translate the Trainer's settings into ours, since an epoch of Lightning's is not a pass over the rows here."""
    classifier.clip_value = trainer.gradient_clip_val or 0.0
    classifier.clip_algorithm = str(getattr(trainer.gradient_clip_algorithm, "value", None) or "norm")
    classifier.accumulate = trainer.accumulate_grad_batches
    trainer.gradient_clip_val, trainer.accumulate_grad_batches = None, 1
    check_parts(trainer, classifier, data, data.batches_of("val") is not None)


def _plan(trainer: Trainer, data: BlockData, state: Mapping[str, Any] | None) -> None:
    """Set the end of the run, in updates, and how many passes a Lightning epoch has.

    Raises:
        UserError: the checkpoint that is resumed has already come that far.
    """
    check_counting(trainer)
    position = state[type(data).__qualname__] if state else {"passes": 0, "batches": 0}
    made = state["global_step"] if state else 0
    passes = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else 1000
    accumulate = data.plan.accumulate
    updates_per_pass = -(-data.batches_per_pass // accumulate)
    left = (passes - position["passes"]) * updates_per_pass - position["batches"] // accumulate
    if trainer.max_steps >= 0:
        left = min(left, trainer.max_steps - made)
    if left <= 0:
        raise UserError(
            f"epochs={passes} counts from the start of the first run, and the checkpoint has already made "
            f"{plural(position['passes'], 'epoch')} ({plural(made, 'update')}); give a larger epochs."
        )
    if state:
        log.info("resuming at update %d, epoch %d; this run ends at update %d", made, position["passes"], made + left)
    passes_per_epoch = (trainer.check_val_every_n_epoch or 1) if len(data.rows["val"]) else passes
    data.follow(PassPlan(passes, passes_per_epoch, accumulate, left if trainer.max_steps >= 0 else None))
    trainer.fit_loop.max_epochs = -(-passes // passes_per_epoch)
    trainer.check_val_every_n_epoch = 1
    trainer.fit_loop.epoch_loop.max_steps = made + left


@contextmanager
def signals_stop(fit: Any) -> Iterator[None]:
    """While training, the first Ctrl-C or SIGTERM asks for a clean stop; the second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    first = math.inf

    def stop(number: int, frame: Any) -> None:
        nonlocal first
        # Some parents pass a signal on that the terminal has sent already: what follows at once is the same request.
        if time.monotonic() - first > SAME_SIGNAL_SECONDS:
            raise KeyboardInterrupt
        first = min(first, time.monotonic())
        fit.interrupt = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
