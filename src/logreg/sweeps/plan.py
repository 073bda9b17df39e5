"""Which jobs of a sweep are trained in one fit, and why the others are not.

It is worked out from their settings. Jobs go together if they differ in nothing but `FREE`, the settings that each job
of a fit may have for itself, and if nothing they ask for is beyond `logreg.sweeps.fused.fit`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from functools import reduce
from operator import getitem

from logreg.core.components import Component
from logreg.core.rules import lookup
from logreg.core.settings import Settings

# Settings that may differ between the jobs of one fit; of the optimizer everything but its class may, too.
FREE = (
    "seed", "model.draws_before", "data.seed", "data.fold", "epochs", "trainer.max_epochs", "lr", "penalty.l1",
    "penalty.l2", "class_weight", "threshold", "costs", "calibration", "scheduler",
    "figures", "report", "name", "tags", "vectorized", "sweep",
)  # fmt: skip


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
    from logreg.sweeps.fused.obstacle import obstacle

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
