"""What a fused fit cannot do, from a job's settings; the model and the data are looked at when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import TypeGuard

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger

from logreg.cli import trusted_packages
from logreg.core.components import Component, locate
from logreg.core.errors import UserError
from logreg.core.settings import Settings, TrainerSettings
from logreg.optim.lbfgs import PreconditionedLBFGS
from logreg.optim.newton import Newton
from logreg.optim.newton_cg import NewtonCG
from logreg.optim.proximal_newton import ProximalNewton
from logreg.report.figures.boundary import BoundarySeries
from logreg.report.figures.photos import PhotoGrids
from logreg.report.tensorboard.events import TensorBoardLogger
from logreg.sweeps.fused import optimizers, schedules
from logreg.training.callbacks import Checkpoints, UpdateBar
from logreg.training.updates import FULL_PRECISIONS

# Settings of the Trainer that a fused fit heeds, or that need nothing done.
HEEDED = {each.name for each in fields(TrainerSettings)} - {"component"}
OPTIONAL = {"deterministic", "enable_model_summary"}
CALLBACKS: dict[object, set[str]] = {
    Checkpoints: {"monitor", "mode", "every_seconds"},
    UpdateBar: set(),
    PhotoGrids: {"every_n_epochs"},  # both are drawn by JobFiles
    BoundarySeries: set(),
    EarlyStopping: {"monitor", "mode", "patience", "min_delta"},
}
LOGGERS = (CSVLogger, TensorBoardLogger)
SOLVERS = (Newton, NewtonCG, PreconditionedLBFGS, ProximalNewton)


def class_of(component: Component) -> object:
    """Its class; None where there is none, of which a run alone says why."""
    return _located(component.target, tuple(trusted_packages()))


@cache
def _located(target: str, trusted: tuple[str, ...]) -> object:
    try:
        return locate(target, "_target_", trusted)
    except UserError:
        return None


def obstacle(settings: Settings) -> str | None:
    """Why a job like this cannot share a fit, if so."""
    asked = {
        "it resumes another run": settings.resume is not None,
        "it asks for standard errors": settings.wants_inference,
        "it asks for a baseline": settings.baseline,
        "it ends in a lesson": settings.lesson is not None,
        "it asks for certificates on the way": settings.certify_every is not None,
    }
    reason = next((reason for reason, is_asked in asked.items() if is_asked), None)
    return (
        reason
        or _of_trainer(settings.trainer)
        or _of_followers(settings.callbacks, settings.logger)
        or _of_optimizer(settings)
    )


def _of_trainer(trainer: TrainerSettings) -> str | None:
    given = trainer.component.arguments
    for key in given.keys() - HEEDED:
        return f"trainer.{key} is set"
    if trainer.devices != 1 or trainer.num_sanity_val_steps != -1:
        return "it has several devices, or another check before training"
    if _may_be_mps(trainer.accelerator):  # where torch computes in float32 alone
        return f"its accelerator is {trainer.accelerator}"
    if not given.keys() >= HEEDED - OPTIONAL or class_of(trainer.component) is not Trainer:
        return "its Trainer is another one"
    if trainer.deterministic and trainer.accelerator != "cpu":
        return "trainer.deterministic is set"
    if trainer.accumulate_grad_batches != 1:
        return "gradients accumulate over batches"
    if trainer.precision not in FULL_PRECISIONS:
        return f"its precision is {trainer.precision}"
    return None


def _may_be_mps(accelerator: str | None) -> bool:
    return accelerator in ("auto", "mps") or (accelerator == "gpu" and not torch.cuda.is_available())


def _of_followers(callbacks: Mapping[str, Component], loggers: Mapping[str, Component]) -> str | None:
    classes = [class_of(each) for each in (*callbacks.values(), *loggers.values())]
    if len(set(classes)) < len(classes):
        return "it has two callbacks or loggers of one kind"
    for callback in callbacks.values():
        heeded = CALLBACKS.get(class_of(callback))
        if heeded is None or not callback.arguments.keys() <= heeded:
            return f"the callback {callback.target} watches each run by itself"
    for logger in loggers.values():
        if class_of(logger) not in LOGGERS or any(logger.arguments.values()):
            return f"the logger {logger.target} follows each run by itself"
    return None


def _of_optimizer(settings: Settings) -> str | None:
    if settings.chooses_optimizer:
        return "optimizer=auto chooses for each run"
    optimizer = class_of(settings.optimizer)
    if optimizer in SOLVERS:
        if settings.penalty.firth:
            return "Firth's penalty is worked out for one table and one fit"
        stops = any(class_of(callback) is EarlyStopping for callback in settings.callbacks.values())
        return "its solver may stop early" if stops else None
    if not _is_of_torch(optimizer):
        return "its optimizer is not one of torch's"
    reason = optimizers.unsupported(optimizer, settings.optimizer.arguments)
    if reason is not None or settings.scheduler is None:
        return reason
    scheduler = class_of(settings.scheduler)
    return schedules.unsupported(scheduler) if _is_of_torch(scheduler) else "its scheduler is not one of torch's"


def _is_of_torch(cls: object) -> TypeGuard[type]:
    return isinstance(cls, type) and cls.__module__.startswith("torch.optim.")
