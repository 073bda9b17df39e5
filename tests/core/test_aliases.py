"""Configurations of earlier versions name classes that are there today."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from hydra.utils import get_class

from logreg.core.components import ALIASES, renamed

OLD_CONFIGURATIONS = sorted((Path(__file__).parents[1] / "data" / "runs_0.1").rglob("config.json"))


@pytest.mark.parametrize(("old", "new"), ALIASES.items())
def test_a_class_that_moved_has_its_name_still(old: str, new: str) -> None:
    module, _, name = old.rpartition(".")
    assert get_class(new).__name__ == name
    with pytest.raises((ImportError, AttributeError)):  # or the alias would hide a class
        getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", OLD_CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_every_class_of_an_old_run_can_be_imported(path: Path) -> None:
    def targets(node: object) -> list[str]:
        items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        own = [node["_target_"]] if isinstance(node, dict) and "_target_" in node else []
        return own + [target for item in items for target in targets(item)]

    config = json.loads(path.read_text())
    old, new = targets(config), targets(renamed(config))
    assert len(new) == len(old) > 3
    assert all(get_class(target).__name__ == before.rpartition(".")[2] for target, before in zip(new, old, strict=True))


def test_only_targets_are_renamed() -> None:
    old, new = next(iter(ALIASES.items()))
    node = {"_target_": old, "parts": [{"_target_": old}, old], "name": old, "_target_s": {"_target_": 1}}
    as_text = json.dumps(node).replace(f'"_target_": "{old}"', f'"_target_": "{new}"')
    assert renamed(node) == json.loads(as_text)
