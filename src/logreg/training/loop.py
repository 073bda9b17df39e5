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
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim.lr_scheduler import ReduceLROnPlateau

from logreg.core._compat import end_at, fitting
from logreg.core.errors import Diverged, Interrupted, UserError, plural
from logreg.core.provenance import versions
from logreg.data.adapter import AnyData, LoaderData, adapted
from logreg.data.blocks import PassPlan
from logreg.data.datamodule import BlockData
from logreg.data.splits import SPLITS
from logreg.evaluation.coefficients.optimality import MOST_SEARCHED
from logreg.evaluation.reliability import accuracy_intervals
from logreg.evaluation.thresholds import ThresholdRule
from logreg.records.checkpoints import find_checkpoint, read_checkpoint
from logreg.records.record import Evaluated, RunRecord
from logreg.training import checks
from logreg.training.callbacks import Checkpoints
from logreg.training.classifier import BinaryClassifier
from logreg.training.measure import certificate, check_calibration, conclude, evaluate
from logreg.training.signals import signals_stop
from logreg.training.updates import FULL_PRECISIONS, UpdateOptions

log = logging.getLogger(__name__)

# An epoch of Lightning's is not a pass over the rows here, nor a step an update: a Trainer gets these settings back.
TRANSLATED = ("gradient_clip_val", "accumulate_grad_batches", "check_val_every_n_epoch", "limit_val_batches")
LIGHTNINGS_EPOCHS = 1000  # that a Trainer without max_epochs makes


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
        most_searched: rows times columns up to which a separation of the labels is looked for; infinity: always.
        calibration: ``sigmoid`` or ``isotonic``: calibrate the classifier's probabilities afterwards, on the validation
            rows. A network trained on `BlockData` computes in float64 from then on.

    Returns:
        The record, with status ``completed``, ``diverged`` or ``interrupted``.

    Raises:
        UserError: the objects do not fit together.
    """
    started, record = time.perf_counter(), record or RunRecord()
    # 1. The data and the classifier as a fit begins with them, in the Trainer's precision.
    checks.check_trainer(trainer)
    checks.check_float64(trainer.strategy.root_device, trainer.precision, classifier)
    options, dtype = UpdateOptions.of(trainer), FULL_PRECISIONS.get(trainer.precision, torch.float32)
    classifier.prepare_fit(options, dtype)
    data = adapted(data)
    data.prepare_data()
    data.setup("fit")
    data.serve(dtype, options.accumulate)
    # 2. Where to begin, and whether all of it fits together.
    checkpoint = find_checkpoint(str(resume)) if resume is not None else None
    state = checks.checked_checkpoint(checkpoint, classifier, data) if checkpoint is not None else None
    has_val = data.batches_of("val") is not None
    checks.check_parts(checks.callbacks_of(trainer), classifier, options, data, has_val)
    if not has_val:
        checks.check_held_out(rule, plateau=isinstance(classifier.fresh_optimizer()[1], ReduceLROnPlateau))
    check_calibration(calibration, data.batches_of)
    # 3. The fit.
    _fit(record, data, classifier, trainer, checkpoint, state, has_val)
    record.seconds = {"fit": time.perf_counter() - started}
    # 4. How good the result is. The evaluation finds out whether the very last update diverged.
    if record.status != "diverged":
        _measure(record, data, classifier, trainer, rule, splits, calibration, most_searched)
    return record


def _fit(
    record: RunRecord,
    data: AnyData,
    classifier: BinaryClassifier,
    trainer: Trainer,
    checkpoint: Path | None,
    state: Mapping[str, Any] | None,
    has_val: bool,
) -> None:
    """Fit from where the checkpoint, whose content is ``state``, has come to; the record says how far it came."""
    record.threshold, record.versions = classifier.threshold, versions()
    record.device, record.resumed_from = str(trainer.strategy.root_device), str(checkpoint) if checkpoint else None
    record.status, weights_only = "completed", None if checkpoint is None else True
    try:
        with fitting(trainer, *TRANSLATED), signals_stop(classifier.stop):
            trainer.gradient_clip_val, trainer.accumulate_grad_batches = None, 1  # `UpdateOptions` has them
            if not has_val:  # rather than let Lightning find it out, and warn
                trainer.limit_val_batches = 0
            if data.blocks is not None:
                _plan_passes(trainer, data.blocks, state)
            trainer.fit(classifier, datamodule=data.module, ckpt_path=checkpoint, weights_only=weights_only)
    except Diverged as divergence:
        record.updates = divergence.updates
        record.end("diverged")
    except (Interrupted, SIGTERMException):
        record.end("interrupted")
    record.updates, record.data = trainer.global_step, data.describe()
    record.epochs = trainer.current_epoch if data.blocks is None else data.blocks.position["passes"]


def _measure(
    record: RunRecord,
    data: AnyData,
    classifier: BinaryClassifier,
    trainer: Trainer,
    rule: ThresholdRule | None,
    splits: Sequence[str],
    calibration: str | None,
    most_searched: float,
) -> None:
    """Measure the state that the run hands over, on those of the splits that have rows."""
    data.setup("test")
    checkpoints = next((c for c in checks.callbacks_of(trainer) if isinstance(c, Checkpoints)), None)
    record.evaluated = Evaluated("last", trainer.global_step)
    if not math.isfinite(evaluate(classifier, data.batches_of, ("train",))["train/loss"]):  # by the very last update
        record.end("diverged")
        return
    if checkpoints is not None and checkpoints.best_score is not None and checkpoints.best.is_file():
        best = read_checkpoint(checkpoints.best)
        classifier.load_state_dict(best["state_dict"])
        record.evaluated = Evaluated("best", best["global_step"])
    if calibration is not None and data.blocks is not None:  # as whoever loads the run computes; see `conclude`
        classifier.network.double()
        data.serve(torch.float64)
    conclude(record, classifier, data.batches_of, splits, rule, calibration)
    record.intervals = accuracy_intervals(record.metrics, data)
    record.optimality = certificate(data, classifier, trainer, most_searched)


def _plan_passes(trainer: Trainer, data: BlockData, state: Mapping[str, Any] | None) -> None:
    """Set the end of the run, in updates, and how many passes a Lightning epoch has, from a checkpoint's state on."""
    checks.check_counting(trainer)
    position = state[type(data).__qualname__] if state else {"passes": 0, "batches": 0}
    updates = state["global_step"] if state else 0
    passes = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else LIGHTNINGS_EPOCHS
    accumulate = data.plan.accumulate
    updates_per_pass = -(-data.batches_per_pass // accumulate)
    left = (passes - position["passes"]) * updates_per_pass - position["batches"] // accumulate
    if trainer.max_steps >= 0:
        left = min(left, trainer.max_steps - updates)
    if left <= 0:
        raise UserError(
            f"epochs={passes} counts from the start of the first run, and the checkpoint has already made "
            f"{plural(position['passes'], 'epoch')} ({plural(updates, 'update')}); give a larger epochs."
        )
    end = updates + left
    if state:
        log.info("resuming at update %d, epoch %d; this run ends at update %d", updates, position["passes"], end)
    passes_per_epoch = (trainer.check_val_every_n_epoch or 1) if len(data.rows["val"]) else passes
    data.follow(PassPlan(passes, passes_per_epoch, accumulate, left if trainer.max_steps >= 0 else None))
    trainer.check_val_every_n_epoch = 1
    end_at(trainer, epochs=-(-passes // passes_per_epoch), updates=end)
