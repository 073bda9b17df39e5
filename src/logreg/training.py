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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from logreg.calibration import check_labels, fit_calibration
from logreg.callbacks import Checkpoints
from logreg.classifier import BinaryClassifier
from logreg.data.block_data import BlockData
from logreg.data.blocks import Batches
from logreg.data.rows import MAX_ELEMENTS, Batch, Rows, batch_parts, collected_rows
from logreg.data.splits import SPLITS
from logreg.diagnostics.flatness import remark
from logreg.diagnostics.optimality import MOST_SEARCHED, Optimality, certify, separation_of
from logreg.diagnostics.separation import Separation
from logreg.errors import Diverged, Interrupted, UserError, nearest, plural
from logreg.objective import linear_coefficients
from logreg.optim.newton import Newton
from logreg.optim.problem import LogisticProblem, theta_of
from logreg.optim.proximal_newton import ProximalNewton
from logreg.optim.solver import Solver
from logreg.runs import RunRecord, find_checkpoint, read_checkpoint, versions
from logreg.settings import not_scheduled, not_smooth
from logreg.thresholds import ThresholdRule

log = logging.getLogger(__name__)

SAME_SIGNAL_SECONDS = 1.0
TRANSLATED = ("gradient_clip_val", "accumulate_grad_batches", "check_val_every_n_epoch")
PRECISIONS = ("32-true", "64-true", "bf16-mixed")
OF_CALIBRATION = ("log_loss", "brier", "calibration_error")  # are kept as they were before it
TRAIN_METRICS = ("loss", "log_loss", "accuracy")  # all metrics of a large training table would take long


def train(
    data: LightningDataModule,
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
        data: an `BlockData`, or any DataModule with ``num_features`` whose loaders give ``(x, y)`` batches.
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
    _check_trainer(trainer)
    check_float64(trainer.strategy.root_device, trainer.precision, classifier)
    classifier.interrupt = False
    if not classifier.training:  # as an earlier `train` or `load_run` left it
        classifier.train()
    if classifier.calibration is not None:
        classifier.calibration = None
        classifier.network.float()
    data.prepare_data()
    data.setup("fit")
    checkpoint = find_checkpoint(str(resume)) if resume is not None else None
    if isinstance(data, BlockData):
        data.dtype = torch.float64 if trainer.precision == "64-true" else torch.float32
        data.accumulate = trainer.accumulate_grad_batches
    if trainer.precision == "64-true":
        classifier.network.double()  # Lightning converts it after it has read a checkpoint, which would be rounded then
    state = _checked_checkpoint(checkpoint, classifier, data) if checkpoint is not None else None
    record = record or RunRecord()
    record.threshold, record.versions = classifier.threshold, versions()
    record.device, record.resumed_from = str(trainer.strategy.root_device), str(checkpoint) if checkpoint else None
    with _settings_kept(trainer):
        _take_over(trainer, classifier, data)
        if _batches(data, "val") is None:
            check_held_out(rule)
        if calibration is not None:
            check_labels(calibration, validation_labels(_batches(data, "val")))
        if isinstance(data, BlockData):
            _plan(trainer, data, state)
        _fit(record, data, classifier, trainer, checkpoint)
    record.seconds = {"fit": time.perf_counter() - started}
    record.updates = trainer.global_step
    if isinstance(data, BlockData):
        record.data, record.epochs = data.describe(), data.position["passes"]
    else:
        record.epochs = trainer.current_epoch
    if record.status != "diverged":
        data.setup("test")
        _evaluate(record, data, classifier, trainer, rule, splits, calibration)
    if record.status != "diverged":  # which the evaluation finds out of the very last update
        record.optimality = _certificate(data, classifier, trainer, most_searched)
    return record


def _fit(
    record: RunRecord, data: LightningDataModule, classifier: BinaryClassifier, trainer: Trainer, path: Path | None
) -> None:
    record.status = "completed"
    try:
        with signals_stop(classifier):
            trainer.fit(classifier, datamodule=data, ckpt_path=path, weights_only=True if path else None)
    except Diverged as divergence:
        record.status, record.error = "diverged", f"{divergence}."
    except (Interrupted, SIGTERMException):
        record.status, record.error = "interrupted", "stopped by a signal; it can be resumed."


def _evaluate(
    record: RunRecord,
    data: LightningDataModule,
    classifier: BinaryClassifier,
    trainer: Trainer,
    rule: ThresholdRule | None,
    splits: Sequence[str],
    calibration: str | None,
) -> None:
    """Measure the state that the run hands over, on those of the splits that have rows."""
    checkpoints = next((c for c in callbacks_of(trainer) if isinstance(c, Checkpoints)), None)
    record.evaluated = {"checkpoint": "last", "updates": trainer.global_step}
    if not math.isfinite(evaluate(classifier, data, ("train",))["train/loss"]):  # by the very last update
        record.status, record.error = "diverged", f"{Diverged(record.updates)}."
        return
    if checkpoints is not None and checkpoints.best_score is not None and checkpoints.best.is_file():
        best = read_checkpoint(checkpoints.best)
        classifier.load_state_dict(best["state_dict"])
        record.evaluated = {"checkpoint": "best", "updates": best["global_step"]}
    if calibration is not None:
        if isinstance(data, BlockData):  # as whoever loads the run computes; see `calibrate`
            classifier.network.double()
            data.dtype = torch.float64
        record.calibration = calibrate(classifier, calibration, lambda split: _batches(data, split), splits)
    if rule is not None:
        classifier.threshold, value = rule.choose(*held_out(classifier, _batches(data, "val")))
        record.threshold_rule = {"rule": rule.name, "value": value, "rows": "val"}
        record.threshold = classifier.threshold
    record.metrics = evaluate(classifier, data, splits)


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
    classifier: BinaryClassifier, data: LightningDataModule, splits: Iterable[str] = SPLITS
) -> dict[str, float]:
    """Metrics of every one of these splits that has rows, by name.

    ``train/loss`` is the objective, penalty included; every other loss is the mean log loss alone.
    """
    return evaluate_splits(classifier, lambda split: _batches(data, split), splits)


def evaluate_splits(
    classifier: BinaryClassifier, batches_of: Callable[[str], Iterable[Batch] | None], splits: Iterable[str] = SPLITS
) -> dict[str, float]:
    """`evaluate`, given the batches of each split; None where there are none."""
    metrics: dict[str, float] = {}
    for split in splits:
        batches = batches_of(split)
        if batches is None:
            continue
        values = classifier.evaluate(batches, TRAIN_METRICS if split == "train" else None)
        if split == "train":
            values["loss"] += float(classifier.penalty()) if classifier.penalised else 0.0
            values["loss"] += firth_penalty(classifier, batches) if classifier.firth else 0.0
            values = {name: values[name] for name in TRAIN_METRICS if name in values}
        metrics |= {f"{split}/{name}": value for name, value in values.items()}
    return metrics


def firth_penalty(classifier: BinaryClassifier, batches: Iterable[Batch]) -> float:
    """What Firth's penalty adds to the log loss of the training rows."""
    pair = linear_coefficients(classifier.network)
    assert pair is not None
    assert isinstance(batches, Batches)
    return classifier.problem(batches.rows).penalty(theta_of(*pair).cpu())


def _certificate(
    data: LightningDataModule, classifier: BinaryClassifier, trainer: Trainer, most_searched: float
) -> dict[str, Any] | None:
    """What the record says of the distance from the optimum; None of a model that is not linear."""
    pair = linear_coefficients(classifier.network)
    if pair is None:
        return None
    if isinstance(data, BlockData):
        rows, names = data.served("train"), data.preprocessor.feature_names
    else:
        collected = collected_rows(_batches(data, "train") or ())
        if collected is None:
            what = f"{type(data).__name__} serves its rows batch by batch"
            return {"sentence": f"not certified: {what}, more than {MAX_ELEMENTS:,} numbers; derive it from BlockData"}
        rows, names = collected, [f"column_{i + 1}" for i in range(pair[0].numel())]
    optimizer = type(trainer.optimizers[0]) if trainer.optimizers else Optimizer  # a signal may come early
    told = names if most_searched else ()
    found = optimality_of(classifier, rows, lambda p: separation_of(p, names, most_searched), optimizer, told)
    return None if found is None else found.as_record()


def optimality_of(
    classifier: BinaryClassifier,
    rows: Rows,
    separation: Callable[[LogisticProblem], Separation | None],
    optimizer: type[Optimizer],
    names: Sequence[str] = (),
) -> Optimality | None:
    """How far a linear classifier is from the best coefficients for its training rows; None of another one.

    Args:
        separation: looks for one of the labels.
        optimizer: what they were trained by.
        names: of the features, for what is said where none was looked for; none where nobody wants to know.
    """
    pair = linear_coefficients(classifier.network)
    if pair is None:
        return None
    problem = classifier.problem(rows)
    theta, separated = theta_of(*pair).cpu(), separation(problem)
    solver = optimizer.name if issubclass(optimizer, Solver) else ""
    found = certify(problem, theta, separated, solver)
    if separated is not None or found.penalised or not names:
        return found
    return replace(found, remark=remark(problem, theta, found.gap if found.converged else None, names))


def _batches(data: LightningDataModule, split: str) -> Iterable[Batch] | None:
    if isinstance(data, BlockData):
        return data.batches(split) if len(data.rows[split]) else None
    name = f"{split}_dataloader"
    if getattr(type(data), name) is getattr(LightningDataModule, name):
        return None
    loader = getattr(data, name)()
    try:
        return loader if len(loader) else None
    except TypeError:  # an iterable without a length
        return loader


def callbacks_of(trainer: Any) -> list[Callback]:
    return list(getattr(trainer, "callbacks"))  # noqa: B009 - assigned outside Trainer's class, unseen by type checkers


def _check_trainer(trainer: Trainer) -> None:
    if trainer.world_size > 1:
        raise UserError("trainer.devices: training on several devices at once is not supported; use trainer.devices=1.")
    if trainer.precision not in PRECISIONS:
        raise UserError(
            f"trainer.precision={trainer.precision} would need the loss to be scaled or the weights to be rounded; "
            f"valid: {', '.join(PRECISIONS)}."
        )


def check_float64(device: torch.device, precision: Any, classifier: BinaryClassifier) -> None:
    """Refuse what is computed in float64 on a device that has float32 alone.

    Raises:
        UserError: names it.
    """
    if device.type != "mps":
        return
    trial: Any = classifier.configure_optimizers()
    optimizer = trial[0][0] if isinstance(trial, tuple) else trial
    if isinstance(optimizer, Solver):
        what = f"optimizer={optimizer.name}"
    elif classifier.certify_every:
        what = f"certify_every={classifier.certify_every}"
    elif precision == "64-true":
        what = "trainer.precision=64-true"
    else:
        return
    raise UserError(f"{what} computes in float64, which an MPS device does not have; use accelerator=cpu.")


def _check_counting(trainer: Trainer) -> None:
    """Refuse the settings that count Lightning's training steps: one of them is a block of updates here."""
    if getattr(trainer, "fast_dev_run", False):
        raise UserError("trainer.fast_dev_run switches off what a run writes; use debug=fast.")
    for name, default in (("limit_train_batches", 1.0), ("overfit_batches", 0.0), ("val_check_interval", 1.0)):
        value = getattr(trainer, name)
        if value != default:
            raise UserError(
                f"trainer.{name}={value} would count blocks of updates; use epochs, trainer.max_steps (in updates) or "
                "trainer.check_val_every_n_epoch."
            )


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


def _take_over(trainer: Trainer, classifier: BinaryClassifier, data: LightningDataModule) -> None:
    """Translate the Trainer's settings into ours, since an epoch of Lightning's is not a pass over the rows here."""
    classifier.clip_value = trainer.gradient_clip_val or 0.0
    classifier.clip_algorithm = str(getattr(trainer.gradient_clip_algorithm, "value", None) or "norm")
    classifier.accumulate = trainer.accumulate_grad_batches
    trainer.gradient_clip_val, trainer.accumulate_grad_batches = None, 1
    has_val = _batches(data, "val") is not None
    check_parts(trainer, classifier, data, has_val)


def _plan(trainer: Trainer, data: BlockData, state: Mapping[str, Any] | None) -> None:
    """Set the end of the run, in updates, and how many passes a Lightning epoch has.

    Raises:
        UserError: the checkpoint that is resumed has already come that far.
    """
    _check_counting(trainer)
    position = state[type(data).__qualname__] if state else {"passes": 0, "batches": 0}
    made = state["global_step"] if state else 0
    passes = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else 1000
    updates_per_pass = -(-data.batches_per_pass // data.accumulate)
    left = (passes - position["passes"]) * updates_per_pass - position["batches"] // data.accumulate
    if trainer.max_steps >= 0:
        left = data.updates_left = min(left, trainer.max_steps - made)
    if left <= 0:
        raise UserError(
            f"epochs={passes} counts from the start of the first run, and the checkpoint has already made "
            f"{plural(position['passes'], 'epoch')} ({plural(made, 'update')}); give a larger epochs."
        )
    if state:
        log.info("resuming at update %d, epoch %d; this run ends at update %d", made, position["passes"], made + left)
    data.passes_in_total = passes
    data.passes_per_epoch = (trainer.check_val_every_n_epoch or 1) if len(data.rows["val"]) else passes
    trainer.fit_loop.max_epochs = -(-passes // data.passes_per_epoch)
    trainer.check_val_every_n_epoch = 1
    trainer.fit_loop.epoch_loop.max_steps = made + left


def check_monitor(monitor: str, classifier: BinaryClassifier, data: BlockData) -> None:
    """Refuse a metric that no split of the data has."""
    names = {split: TRAIN_METRICS if split == "train" else classifier.evaluation.order for split in SPLITS}
    known = [f"{split}/{name}" for split in SPLITS if len(data.rows[split]) for name in names[split]]
    split = monitor.partition("/")[0]
    if split in ("val", "test") and not len(data.rows[split]):
        raise no_rows(monitor)
    if monitor not in known:
        raise UserError(
            f"monitor={monitor}: there is no such metric{nearest(monitor, known)}; valid: {', '.join(known)}."
        )


def no_rows(monitor: str) -> UserError:
    """What is wrong with a metric of a split that has no rows."""
    rows = {"val": "validation", "test": "test"}[monitor.partition("/")[0]]
    return UserError(f"monitor={monitor}: there are no {rows} rows; set monitor=train/loss or data.split.")


def check_held_out(rule: ThresholdRule | None, plateau: bool = False) -> None:
    """Refuse what is decided by validation rows, where there are none.

    Args:
        rule: of the threshold.
        plateau: whether the scheduler follows the validation loss.

    Raises:
        UserError: names it.
    """
    if rule is not None:
        raise UserError(f"threshold={rule.name} is chosen on validation rows, and there are none; set data.split.")
    if plateau:
        raise UserError("scheduler=plateau watches the validation loss, and there are no validation rows.")


def check_parts(trainer: Any, classifier: BinaryClassifier, data: LightningDataModule, has_val: bool) -> None:
    trial = classifier.configure_optimizers()
    optimizer, scheduler = (trial[0][0], trial[1][0]) if isinstance(trial, tuple) else (trial, None)
    batches = data.batches_per_pass if isinstance(data, BlockData) else None
    name = optimizer.name if isinstance(optimizer, Solver) else "torch_lbfgs"  # of those that need one
    if isinstance(optimizer, LBFGS | Solver) and (batches != 1 or classifier.accumulate != 1 or classifier.clip_value):
        raise UserError(
            f"optimizer={name} needs the full batch and its own gradients: "
            "data.batch_size=null, trainer.accumulate_grad_batches=1 and no gradient clipping."
        )
    if isinstance(optimizer, Solver) and linear_coefficients(classifier.network) is None:
        raise UserError(f"optimizer={name} solves linear models; for this one use adam, sgd or torch_lbfgs.")
    if isinstance(optimizer, Solver) and scheduler is not None:
        raise not_scheduled(name)
    if isinstance(optimizer, LBFGS | Solver) and classifier.l1 and not isinstance(optimizer, ProximalNewton):
        raise not_smooth(name)
    if classifier.firth and not isinstance(optimizer, Newton):
        raise UserError("penalty=firth needs optimizer=newton, which knows its gradient; leave the other one out.")
    if classifier.certify_every and (batches is None or linear_coefficients(classifier.network) is None):
        raise UserError("certify_every is for linear models, and for data that is served in blocks; leave it out here.")
    if classifier.accumulate > 1 and batches is None:
        raise UserError("trainer.accumulate_grad_batches works with data that is served in blocks; use 1 here.")
    if not has_val:
        check_held_out(None, isinstance(scheduler, ReduceLROnPlateau))
    for callback in callbacks_of(trainer):
        monitor = getattr(callback, "monitor", None)
        if isinstance(callback, Checkpoints | EarlyStopping) and has_val and str(monitor).startswith("train/"):
            raise UserError(f"monitor={monitor}: with validation rows the best state is chosen by them; use val/….")
        if isinstance(callback, Checkpoints | EarlyStopping) and not has_val and str(monitor).startswith("val/"):
            raise no_rows(str(monitor))
        if isinstance(callback, Checkpoints | EarlyStopping) and str(monitor).startswith("test/"):
            raise UserError(f"monitor={monitor}: no state is chosen by test rows; use val/…, or callbacks=none.")
        if isinstance(callback, EarlyStopping) and not has_val:
            raise UserError("callbacks=early_stopping decides after each validation, and there are no validation rows.")


def _checked_checkpoint(path: Path, classifier: BinaryClassifier, data: LightningDataModule) -> dict[str, Any]:
    """The content of a checkpoint; one that another model, optimizer or table wrote is refused."""
    checkpoint = read_checkpoint(path)
    theirs, ours = checkpoint["state_dict"], classifier.state_dict()
    for name in sorted(set(theirs) | set(ours)):
        shapes = [tuple(state[name].shape) if name in state else "absent" for state in (theirs, ours)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"resume={path}: the checkpoint is of another model: {name} is {shapes[0]} there and {shapes[1]} here; "
                "use the same model and data."
            )
    trial: Any = classifier.configure_optimizers()
    optimizer = type(trial[0][0] if isinstance(trial, tuple) else trial).__name__
    if checkpoint["logreg"]["optimizer"] != optimizer:
        raise UserError(
            f"resume={path}: the checkpoint holds the state of {checkpoint['logreg']['optimizer']}, "
            f"this run has {optimizer}; use the same optimizer."
        )
    has_scheduler = bool(checkpoint.get("lr_schedulers"))
    if has_scheduler != isinstance(trial, tuple):
        there, here = ("a", "none") if has_scheduler else ("no", "one")
        raise UserError(f"resume={path}: the checkpoint has {there} scheduler and this run has {here}; use the same.")
    if not isinstance(data, BlockData):
        raise UserError("resume: only data that is served in blocks can say where it stopped; derive from BlockData.")
    data.check_state(checkpoint.get(type(data).__qualname__))
    return checkpoint


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
