"""The configuration as plain values, and what of it counts as a hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from logreg.cli import plain
from logreg.core import settings
from logreg.core.errors import UserError
from logreg.records.record import RunRecord, settings_of

# Settings that every run shows in TensorBoard's HParams tab, beside the keys that were overridden.
HYPERPARAMETERS = ("seed", "epochs", "lr", "accelerator", "penalty.l2", "data.batch_size")
GROUPS = ("data", "model", "optimizer", "scheduler")


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values.

    Raises:
        UserError: an interpolation leads nowhere, or a value is missing.
    """
    return with_groups(plain(cfg))


def with_groups(config: dict[str, Any]) -> dict[str, Any]:
    """The same with every group there, also those that were left out.

    Raises:
        UserError: a group is no group.
    """
    config = dict(config)
    for group in ("data", "model", "optimizer", "trainer"):
        if not isinstance(config.get(group), dict):
            raise UserError(f"{group}={config.get(group)}: a group takes the name of a file in conf/{group}.")
    if not isinstance(config.get("penalty"), dict) or "l2" not in config["penalty"]:
        raise UserError(f"penalty={config.get('penalty')}: give penalty.l1=<number> or penalty.l2=<number>.")
    config["penalty"] = {"l1": 0.0} | config["penalty"]
    for group in ("scheduler", "metrics", "callbacks", "logger"):
        config[group] = config.get(group) or {}  # left out with ~group
    return config


def in_force(config: dict[str, Any]) -> dict[str, Any]:
    """The same with the short keys saying what is in force, also where the long ones were given."""
    long = {"lr": "optimizer.lr", "accelerator": "trainer.accelerator", "epochs": "trainer.max_epochs"}
    return config | {key: settings.lookup(config, name, config.get(key)) for key, name in long.items()}


def hyperparameters(config: Mapping[str, Any], record: RunRecord, choices: Mapping[str, Any]) -> dict[str, Any]:
    """What the HParams tab shows of a run: the settings people sweep, and every key and group that was overridden.

    A value that is null is there as text, so that all runs of a sweep have the same keys.
    """
    values: dict[str, Any] = {}
    for key in (*GROUPS, *HYPERPARAMETERS, *settings_of(record.overrides)):
        value = choices[key] if key in choices else settings.lookup(config, key)
        values[key] = "null" if value is None else value
    return values
