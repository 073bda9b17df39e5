"""Which jobs of a sweep are trained in one fit, and why the others are not.

It is worked out from the configurations. Jobs go together if they differ in nothing but `FREE`, the settings that each
job of a fit may have for itself, and if nothing they ask for is beyond `logreg.sweeps.fused.fit`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from logreg.core.settings import is_auto, lookup, wants_inference

# Settings that may differ between the jobs of one fit, and groups of which all settings may.
FREE = (
    "seed", "model.draws_before", "data.seed", "data.fold", "epochs", "trainer.max_epochs", "lr", "penalty.l1",
    "penalty.l2", "class_weight", "threshold", "costs", "calibration", "scheduler",
    "figures", "report", "name", "vectorized", "sweep",
)  # fmt: skip
# Of the optimizer everything but its class.
CLASS = "_target_"
# Settings of the Trainer that a fused fit heeds, or that need nothing done.
TRAINER = {
    "_target_", "max_epochs", "accelerator", "devices", "precision", "deterministic", "log_every_n_steps",
    "check_val_every_n_epoch", "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches",
    "num_sanity_val_steps", "enable_model_summary",
}  # fmt: skip
OPTIONAL = {"deterministic", "enable_model_summary"}
CALLBACKS = {
    "logreg.training.callbacks.Checkpoints": {"monitor", "mode", "every_seconds"},
    "logreg.training.callbacks.UpdateBar": set(),
    "logreg.report.figures.photos.PhotoGrids": {"every_n_epochs"},  # both are drawn by JobFiles
    "logreg.report.figures.boundary.BoundarySeries": set(),
    "lightning.pytorch.callbacks.EarlyStopping": {"monitor", "mode", "patience", "min_delta"},
}
LOGGERS = {"lightning.pytorch.loggers.CSVLogger", "logreg.report.tensorboard.events.TensorBoardLogger"}


@dataclass
class Group:
    """Jobs that are trained together, or with ``reason`` each by itself.

    Attributes:
        jobs: their positions in the sweep.
        differ: the keys in which they differ.
        reason: why they are not fused; None where they are.
    """

    jobs: list[int] = field(default_factory=list)
    differ: list[str] = field(default_factory=list)
    reason: str | None = None


def plan(configs: Sequence[Mapping[str, Any]]) -> list[Group]:
    """The groups of a sweep, in the order of their first jobs.

    Args:
        configs: resolved configurations with the short keys in force.
    """
    groups: dict[str, Group] = {}
    for job, config in enumerate(configs):
        reason = obstacle(config)
        groups.setdefault(f"{_key(config)} {reason}", Group(reason=reason)).jobs.append(job)
    for group in groups.values():
        members = [configs[job] for job in group.jobs]
        if group.reason is None and len(members) == 1:
            group.reason = "no other job is like it"
        group.differ = [key for key in FREE if len({json.dumps(lookup(c, key), default=str) for c in members}) > 1]
        optimizers = [{k: v for k, v in c["optimizer"].items() if k not in (CLASS, "lr")} for c in members]
        if len({json.dumps(o, sort_keys=True, default=str) for o in optimizers}) > 1:
            group.differ.append("optimizer")
    return list(groups.values())


def _key(config: Mapping[str, Any]) -> str:
    """What jobs of one fit have in common, as text."""
    common = json.loads(json.dumps(config, default=str))
    for key in FREE:
        *parents, last = key.split(".")
        node = common
        for parent in parents:
            node = node.get(parent, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            node.pop(last, None)
    common["optimizer"] = common["optimizer"].get(CLASS)
    for callback in (common.get("callbacks") or {}).values():
        if isinstance(callback, dict):
            callback.pop("every_seconds", None)
    return json.dumps(common, sort_keys=True)


def obstacle(config: Mapping[str, Any]) -> str | None:
    """Why a job like this cannot share a fit, if so; the model and the data are looked at when they are made."""
    if config.get("resume") is not None:
        return "it resumes another run"
    if wants_inference(config):
        return "it asks for standard errors"
    if config.get("baseline"):
        return "it asks for a baseline"
    if config.get("lesson") is not None:
        return "it ends in a lesson"
    if config.get("certify_every") is not None:
        return "it asks for certificates on the way"
    for key in config["trainer"].keys() - TRAINER:
        return f"trainer.{key} is set"
    if config["trainer"].get("devices") != 1 or config["trainer"].get("num_sanity_val_steps") != -1:
        return "it has several devices, or another check before training"
    if _may_be_mps(config["trainer"].get("accelerator")):  # where torch computes in float32 alone
        return f"its accelerator is {config['trainer']['accelerator']}"
    if not set(config["trainer"]) >= TRAINER - OPTIONAL or config["trainer"][CLASS] != "lightning.pytorch.Trainer":
        return "its Trainer is another one"
    if config["trainer"].get("gradient_clip_algorithm") not in (None, "norm", "value"):
        return "its way of clipping is not valid"
    if config["trainer"].get("deterministic") and config["trainer"].get("accelerator") != "cpu":
        return "trainer.deterministic is set"
    if config["trainer"].get("accumulate_grad_batches") != 1:
        return "gradients accumulate over batches"
    if config["trainer"].get("precision") not in ("32-true", "64-true"):
        return f"its precision is {config['trainer'].get('precision')}"
    nodes = [node for group in ("callbacks", "logger") for node in (config[group] or {}).values() if node]
    if not all(isinstance(node, Mapping) for node in nodes) or len({str(n.get(CLASS)) for n in nodes}) < len(nodes):
        return "it has two callbacks or loggers of one kind"
    for node in filter(None, (config["callbacks"] or {}).values()):
        if not set(node) - {CLASS} <= CALLBACKS.get(node.get(CLASS), {"nothing"}) or node.get(CLASS) not in CALLBACKS:
            return f"the callback {node.get(CLASS)} watches each run by itself"
    for node in filter(None, (config["logger"] or {}).values()):
        if node.get(CLASS) not in LOGGERS or any(node.get(key) for key in set(node) - {CLASS}):
            return f"the logger {node.get(CLASS)} follows each run by itself"
    if _is_solver(config["optimizer"]):
        return _solver_obstacle(config)
    return _optimizer_obstacle(config["optimizer"]) or _scheduler_obstacle(config["scheduler"])


def _may_be_mps(accelerator: Any) -> bool:
    if accelerator != "gpu":
        return accelerator in ("auto", "mps")
    import torch

    return not torch.cuda.is_available()


def _is_solver(node: Mapping[str, Any]) -> bool:
    return str(node.get(CLASS)).startswith("logreg.optim.") and not is_auto({"optimizer": node})


def _solver_obstacle(config: Mapping[str, Any]) -> str | None:
    if config["penalty"].get("firth"):
        return "Firth's penalty is worked out for one table and one fit"
    if any("EarlyStopping" in str(node.get(CLASS)) for node in (config["callbacks"] or {}).values() if node):
        return "its solver may stop early"
    return None


def _optimizer_obstacle(node: Mapping[str, Any]) -> str | None:
    from logreg.sweeps.fused.optimizers import unsupported

    cls = _class(node)
    if is_auto({"optimizer": node}):
        return "optimizer=auto chooses for each run"
    if cls is None:
        return "its optimizer is not one of torch's"
    settings = {name: value for name, value in node.items() if name != CLASS}
    return unsupported(cls, settings)


def _scheduler_obstacle(node: Mapping[str, Any]) -> str | None:
    from logreg.sweeps.fused.schedules import unsupported

    if not node:
        return None
    cls = _class(node)
    return "its scheduler is not one of torch's" if cls is None else unsupported(cls)


def _class(node: Mapping[str, Any]) -> Any:
    """The class that a node names, if it is one of torch's; nothing is called."""
    module, _, name = str(node.get(CLASS)).rpartition(".")
    if not module.startswith("torch.optim"):
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    return found if isinstance(found, type) else None
