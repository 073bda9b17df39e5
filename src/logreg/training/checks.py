"""What is refused before training: each check raises a `UserError` that names the key and says what would be valid."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch.optim import LBFGS

from logreg.core.consistency import not_scheduled, not_smooth
from logreg.core.errors import UserError, nearest
from logreg.core.settings import PRECISIONS
from logreg.data.adapter import AnyData
from logreg.data.datamodule import BlockData
from logreg.data.splits import SPLITS
from logreg.evaluation.thresholds import ThresholdRule
from logreg.optim.losses import LOG_LOSS
from logreg.optim.newton import Newton
from logreg.optim.objective import linear_coefficients
from logreg.optim.proximal_newton import ProximalNewton
from logreg.optim.solver import Solver
from logreg.records.checkpoints import read_checkpoint
from logreg.records.record import read_record
from logreg.training.callbacks import Checkpoints
from logreg.training.classifier import BinaryClassifier
from logreg.training.updates import UpdateOptions

TRAIN_METRICS = ("loss", "log_loss", "accuracy")  # all metrics of a large training table would take long


def check_trainer(trainer: Trainer) -> None:
    """Refuse what would need several processes, or updates of another kind."""
    if trainer.world_size > 1:
        raise UserError("trainer.devices: training on several devices at once is not supported; use trainer.devices=1.")
    if trainer.precision not in PRECISIONS:
        raise UserError(
            f"trainer.precision={trainer.precision} would need the loss to be scaled or the weights to be rounded; "
            f"valid: {', '.join(PRECISIONS)}."
        )


def check_float64(device: torch.device, precision: str, classifier: BinaryClassifier) -> None:
    """Refuse what is computed in float64 on a device that has float32 alone."""
    if device.type != "mps":
        return
    optimizer, _ = classifier.fresh_optimizer()
    if isinstance(optimizer, Solver):
        what = f"optimizer={optimizer.name}"
    elif classifier.certify_every:
        what = f"certify_every={classifier.certify_every}"
    elif precision == "64-true":
        what = "trainer.precision=64-true"
    else:
        return
    raise UserError(f"{what} computes in float64, which an MPS device does not have; use accelerator=cpu.")


def check_counting(trainer: Trainer) -> None:
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
    """
    if rule is not None:
        raise UserError(f"threshold={rule.name} is chosen on validation rows, and there are none; set data.split.")
    if plateau:
        raise UserError("scheduler=plateau watches the validation loss, and there are no validation rows.")


def check_parts(
    callbacks: Sequence[Callback], classifier: BinaryClassifier, options: UpdateOptions, data: AnyData, has_val: bool
) -> None:
    """Refuse parts of a run that do not fit together."""
    _check_optimizer(classifier, options, data)
    table, on_log_loss = data.blocks, classifier.loss == LOG_LOSS
    linear = linear_coefficients(classifier.network) is not None
    if classifier.certify_every and not (table is not None and linear and on_log_loss):
        raise UserError(
            "certify_every is for linear models on the log loss, and data that is served in blocks; leave it out here."
        )
    if options.accumulate > 1 and table is None:
        raise UserError("trainer.accumulate_grad_batches works with data that is served in blocks; use 1 here.")
    if table is not None and table.own_weights("train") is not None:
        for label, weight in zip(table.preprocessor.target.labels, table.label_totals(), strict=True):
            if not weight > 0:
                raise UserError(
                    f"data.weight: all training rows of label {label} have weight 0; both labels are needed."
                )
    for callback in callbacks:
        if isinstance(callback, Checkpoints | EarlyStopping):  # by what it may choose a state
            monitor = str(callback.monitor)
            split = monitor.partition("/")[0]
            if split == "train" and has_val:
                raise UserError(f"monitor={monitor}: with validation rows the best state is chosen by them; use val/….")
            if split == "val" and not has_val:
                raise no_rows(monitor)
            if split == "test":
                raise UserError(f"monitor={monitor}: no state is chosen by test rows; use val/…, or callbacks=none.")
        if isinstance(callback, EarlyStopping) and not has_val:
            raise UserError("callbacks=early_stopping decides after each validation, and there are no validation rows.")


def _check_optimizer(classifier: BinaryClassifier, options: UpdateOptions, data: AnyData) -> None:
    optimizer, scheduler = classifier.fresh_optimizer()
    objective, table = classifier.objective, data.blocks
    if objective.firth and not isinstance(optimizer, Newton):
        raise UserError("penalty=firth needs optimizer=newton, which knows its gradient; leave the other one out.")
    if not isinstance(optimizer, LBFGS | Solver):
        return
    name = optimizer.name if isinstance(optimizer, Solver) else "torch_lbfgs"
    full_batch = table is not None and table.batches_per_pass == 1
    if not full_batch or options.accumulate != 1 or options.clip_value:
        raise UserError(
            f"optimizer={name} needs the full batch and its own gradients: "
            "data.batch_size=null, trainer.accumulate_grad_batches=1 and no gradient clipping."
        )
    if isinstance(optimizer, Solver):
        if linear_coefficients(classifier.network) is None:
            raise UserError(f"optimizer={name} solves linear models; for this one use adam, sgd or torch_lbfgs.")
        if objective.loss != LOG_LOSS:
            raise UserError(f"loss={objective.loss.name}: optimizer={name} solves for the log loss; use adam or sgd.")
        if table is not None and table.augmentation is not None:
            raise UserError(
                f"data.augment: optimizer={name} solves for rows that stay as they are; set data.augment=null."
            )
        if scheduler is not None:
            raise not_scheduled(name)
    if objective.l1 and not isinstance(optimizer, ProximalNewton):
        raise not_smooth(name)


def checked_checkpoint(path: Path, classifier: BinaryClassifier, data: AnyData) -> dict[str, Any]:
    """The content of a checkpoint; one that another model, optimizer or table wrote is refused."""
    checkpoint = read_checkpoint(path)
    states, overrides = (checkpoint["state_dict"], classifier.state_dict()), list[str]()
    for name in sorted(set(states[0]) | set(states[1])):
        shapes = [tuple(state[name].shape) if name in state else "absent" for state in states]
        if shapes[0] == shapes[1]:
            continue
        with suppress(UserError):  # there may be no record of its run
            run = read_record(path.parent.parent).overrides
            overrides = [shlex.quote(o) for o in run if not o.startswith(("resume=", "hydra."))]
        started = f", as that run was started with {' '.join(overrides)}" if overrides else ""
        raise UserError(
            f"resume={path}: the checkpoint is of another model: {name} is {shapes[0]} there and {shapes[1]} here; "
            f"use the same model and data{started}."
        )
    loss = checkpoint["logreg"].get("loss", LOG_LOSS.name)  # which those of an earlier version do not have
    if loss != classifier.loss.name:
        raise UserError(
            f"resume={path}: the checkpoint was trained with loss={loss}, this run has loss={classifier.loss.name}; "
            "use the same."
        )
    fresh, scheduler = classifier.fresh_optimizer()
    optimizer = type(fresh).__name__
    if checkpoint["logreg"]["optimizer"] != optimizer:
        raise UserError(
            f"resume={path}: the checkpoint holds the state of {checkpoint['logreg']['optimizer']}, "
            f"this run has {optimizer}; use the same optimizer."
        )
    has_scheduler = bool(checkpoint.get("lr_schedulers"))
    if has_scheduler != (scheduler is not None):
        theirs, ours = ("a", "none") if has_scheduler else ("no", "one")
        raise UserError(f"resume={path}: the checkpoint has {theirs} scheduler and this run has {ours}; use the same.")
    table = data.needs_blocks(
        "resume: only data that is served in blocks can say where it stopped; derive from BlockData."
    )
    table.check_state(checkpoint.get(type(table).__qualname__))
    return checkpoint


def callbacks_of(trainer: Trainer) -> list[Callback]:
    return list(getattr(trainer, "callbacks"))  # noqa: B009 - assigned outside Trainer's class, unseen by type checkers
