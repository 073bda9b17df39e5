"""What of a configuration counts as a hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from logreg.core.rules import lookup
from logreg.records.record import settings_of

# Settings that every run shows in TensorBoard's HParams tab, beside the keys that were overridden.
HYPERPARAMETERS = ("seed", "epochs", "lr", "accelerator", "penalty.l2", "data.batch_size")
GROUPS = ("data", "model", "optimizer", "scheduler")


def hyperparameters(
    config: Mapping[str, Any], overrides: Sequence[str], choices: Mapping[str, str | None]
) -> dict[str, Any]:
    """What the HParams tab shows of a run: the settings people sweep, and every key and group that was overridden.

    A value that is null is there as text, so that all runs of a sweep have the same keys.

    Args:
        config: with the short keys in force; it need not be valid, since a failed run has its hyperparameters too.
        choices: the groups' files, ``hydra.runtime.choices``.
    """
    values = {}
    for key in (*GROUPS, *HYPERPARAMETERS, *settings_of(list(overrides))):
        value = choices[key] if key in choices else lookup(config, key)
        values[key] = "null" if value is None else value
    if config.get("tags"):
        values["tags"] = ", ".join(map(str, config["tags"]))
    return values
