"""Which jobs of a sweep are trained in one fit, and why the others are not.

It is worked out from their settings. Jobs go together if they differ in nothing but `FREE`, the settings that each job
of a fit may have for itself, and if nothing they ask for is beyond `logreg.sweeps.fused.fit`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import reduce
from operator import getitem

from logreg.cli.assemble import CHECKPOINTS
from logreg.core.components import Component
from logreg.core.optimizers import traits_of
from logreg.core.rules import lookup
from logreg.core.settings import Settings, TrainerSettings

# Settings that may differ between the jobs of one fit; of the optimizer everything but its class may, too.
FREE = (
    "seed", "model.draws_before", "data.seed", "data.fold", "epochs", "trainer.max_epochs", "lr", "penalty.l1",
    "penalty.l2", "class_weight", "threshold", "costs", "calibration", "scheduler",
    "figures", "report", "name", "tags", "vectorized", "sweep",
)  # fmt: skip
# Settings of the Trainer that a fused fit heeds, or that need nothing done.
TRAINER = "lightning.pytorch.Trainer"
HEEDED = {each.name for each in fields(TrainerSettings)} - {"component"}
OPTIONAL = {"deterministic", "enable_model_summary"}
BOUNDARY_SERIES = "logreg.report.figures.boundary.BoundarySeries"
PHOTO_GRIDS = "logreg.report.figures.photos.PhotoGrids"
EARLY_STOPPING = "lightning.pytorch.callbacks.EarlyStopping"
CALLBACKS = {
    CHECKPOINTS: {"monitor", "mode", "every_seconds"},
    "logreg.training.callbacks.UpdateBar": set(),
    PHOTO_GRIDS: {"every_n_epochs"},  # both are drawn by JobFiles
    BOUNDARY_SERIES: set(),
    EARLY_STOPPING: {"monitor", "mode", "patience", "min_delta"},
}
CSV = "lightning.pytorch.loggers.CSVLogger"
TENSORBOARD = "logreg.report.tensorboard.events.TensorBoardLogger"
LOGGERS = {CSV, TENSORBOARD}


@dataclass(frozen=True)
class Group:
    """Jobs that are trained together, or with ``reason`` each by itself.

    Attributes:
        jobs: their positions in the sweep.
        differ: the keys in which they differ.
        reason: why they are not fused; None where they are.
    """

    jobs: list[int]
    differ: list[str]
    reason: str | None


def plan(settings_of_jobs: Sequence[Settings]) -> list[Group]:
    """The groups of a sweep, in the order of their first jobs."""
    groups: dict[tuple[str, str | None], list[int]] = {}
    for job, settings in enumerate(settings_of_jobs):
        groups.setdefault((_in_common(settings), obstacle(settings)), []).append(job)
    return [_group(jobs, reason, [settings_of_jobs[job] for job in jobs]) for (_, reason), jobs in groups.items()]


def _group(jobs: list[int], reason: str | None, members: Sequence[Settings]) -> Group:
    configs = [settings.as_config() for settings in members]
    differ = [key for key in FREE if _differ([lookup(config, key) for config in configs])]
    if _differ([settings.optimizer.without("lr").arguments for settings in members]):
        differ.append("optimizer")
    return Group(jobs, differ, "no other job is like it" if reason is None and len(jobs) == 1 else reason)


def _differ(values: Sequence[object]) -> bool:
    return len({json.dumps(value, sort_keys=True, default=_as_json) for value in values}) > 1


def _in_common(settings: Settings) -> str:
    """What jobs of one fit have in common, as text: their settings with those that are free taken out."""
    plain = json.loads(json.dumps(settings, default=_as_json))  # whose keys are texts, so that they can be sorted
    for key in (
        *FREE,
        "trainer.component.max_epochs",
        *(f"callbacks.{name}.every_seconds" for name in plain["callbacks"]),
    ):
        *parents, name = key.split(".")
        reduce(getitem, parents, plain).pop(name, None)
    plain["optimizer"] = settings.optimizer.target
    return json.dumps(plain, sort_keys=True)


def _as_json(value: object) -> object:
    if isinstance(value, Component):
        return value.as_node()
    if is_dataclass(value):
        return {name: item for name, item in vars(value).items() if name != "source"}
    return str(value)


def obstacle(settings: Settings) -> str | None:
    """Why a job like this cannot share a fit, if so; the model and the data are looked at when they are made."""
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
        or _trainer_obstacle(settings.trainer)
        or _follower_obstacle(settings.callbacks, settings.logger)
        or _optimizer_obstacle(settings)
    )


def _trainer_obstacle(trainer: TrainerSettings) -> str | None:
    given = trainer.component.arguments
    for key in given.keys() - HEEDED:
        return f"trainer.{key} is set"
    if trainer.devices != 1 or trainer.num_sanity_val_steps != -1:
        return "it has several devices, or another check before training"
    if _may_be_mps(trainer.accelerator):  # where torch computes in float32 alone
        return f"its accelerator is {trainer.accelerator}"
    if not given.keys() >= HEEDED - OPTIONAL or trainer.component.target != TRAINER:
        return "its Trainer is another one"
    if trainer.gradient_clip_algorithm not in (None, "norm", "value"):
        return "its way of clipping is not valid"
    if trainer.deterministic and trainer.accelerator != "cpu":
        return "trainer.deterministic is set"
    if trainer.accumulate_grad_batches != 1:
        return "gradients accumulate over batches"
    if trainer.precision not in ("32-true", "64-true"):
        return f"its precision is {trainer.precision}"
    return None


def _may_be_mps(accelerator: str | None) -> bool:
    if accelerator != "gpu":
        return accelerator in ("auto", "mps")
    import torch

    return not torch.cuda.is_available()


def _follower_obstacle(callbacks: Mapping[str, Component], loggers: Mapping[str, Component]) -> str | None:
    targets = [each.target for each in (*callbacks.values(), *loggers.values())]
    if len(set(targets)) < len(targets):
        return "it has two callbacks or loggers of one kind"
    for callback in callbacks.values():
        if callback.target not in CALLBACKS or not callback.arguments.keys() <= CALLBACKS[callback.target]:
            return f"the callback {callback.target} watches each run by itself"
    for logger in loggers.values():
        if logger.target not in LOGGERS or any(logger.arguments.values()):
            return f"the logger {logger.target} follows each run by itself"
    return None


def _optimizer_obstacle(settings: Settings) -> str | None:
    if settings.chooses_optimizer:
        return "optimizer=auto chooses for each run"
    if traits_of(settings.optimizer.target).solves:
        if settings.penalty.firth:
            return "Firth's penalty is worked out for one table and one fit"
        stops = any(callback.target == EARLY_STOPPING for callback in settings.callbacks.values())
        return "its solver may stop early" if stops else None

    from logreg.sweeps.fused import optimizers, schedules

    optimizer = _class_of_torch(settings.optimizer)
    if optimizer is None:
        return "its optimizer is not one of torch's"
    reason = optimizers.unsupported(optimizer, settings.optimizer.arguments)
    if reason is not None or settings.scheduler is None:
        return reason
    scheduler = _class_of_torch(settings.scheduler)
    return "its scheduler is not one of torch's" if scheduler is None else schedules.unsupported(scheduler)


def _class_of_torch(component: Component) -> type | None:
    """The class of a component, if it is one of torch's; nothing is called."""
    module, _, name = component.target.rpartition(".")
    if not module.startswith("torch.optim"):
        return None
    try:
        named = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    return named if isinstance(named, type) else None
