"""What is generated is up to date, and the schema accepts the files of ``conf/`` and finds a wrong key anywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import reference
import yaml
from schema import CONF, FILES, definition_of, schema


@functools.cache
def validator(definition: str) -> Callable[[Any], None]:
    return fastjsonschema.compile({**schema(), "allOf": [{"$ref": f"#/definitions/{definition}"}]})


def mappings(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from mappings(item)


def test_the_files_are_those_that_are_generated() -> None:
    stale = [path for path, text in reference.generated().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "make reference writes them again"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONF)))
def test_a_file_of_conf_is_valid_and_a_wrong_key_in_any_of_its_mappings_is_not(file: Path) -> None:
    check, text = validator(definition_of(file)), file.read_text(encoding="utf-8")
    assert f"schema.json#/definitions/{definition_of(file)}\n" in text
    content = yaml.safe_load(text) or {}
    check(content)
    for mapping in mappings(content):
        mapping["no_such_key"] = 0
        with pytest.raises(fastjsonschema.JsonSchemaValueException):
            check(content)
        del mapping["no_such_key"]


@pytest.mark.parametrize(
    ("content", "definition"),
    [
        ({"lrr": 0.1}, "settings"),
        ({"seed": -1}, "settings"),
        ({"penalty": {"l3": 0}}, "settings"),
        ({"data": {"batchsize": 3}}, "settings"),
        ({"data": {"batch_size": 0}}, "settings"),
        ({"data": {"_target_": "logreg.data.ToyData", "target": "y"}}, "settings"),
        ({"data": {"split": {"train": 2}}}, "settings"),
        ({"data": {"augment": {"crop": 1}}}, "settings"),
        ({"optimizer": {"lr": "fast"}}, "settings"),
        ({"optimizer": {"_target_": "torch.optim.SGD", "betas": [0.9, 0.99]}}, "settings"),
        ({"hydra": {"sweeper": {"params": {"optimizer.learning_rate": "1,2"}}}}, "settings"),
        ({"trainer": {"precision": "16"}}, "settings"),
        ({"checkpoints": {"every_seconds": 0}}, "callbacks"),
        ({"_target_": "torch.optim.lr_scheduler.ExponentialLR", "step_size": 3}, "scheduler"),
        ({"bootstrap": 0}, "evaluate"),
        ({"format": "onxx"}, "export"),
        ({"data": {"keep": "id"}}, "predict"),
    ],
)
def test_what_is_wrong_is_found(content: dict[str, Any], definition: str) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        validator(definition)(content)


@pytest.mark.parametrize(
    ("content", "definition"),
    [
        ({"_target_": "torch.optim.lr_scheduler.LinearLR", "start_factor": 0.1}, "scheduler"),
        ({"specificity": {"_target_": "torchmetrics.classification.BinarySpecificity"}, "f1": None}, "metrics"),
        ({"data": {"augment": {"crop": "${data.augment.jitter}"}, "split": {"train": 1}}}, "settings"),
        ({"accelerator": "cuda", "trainer": {"precision": 64}}, "settings"),
    ],
)
def test_what_is_right_is_accepted(content: dict[str, Any], definition: str) -> None:
    """Classes that conf/ does not name, interpolations, spellings that no table lists."""
    validator(definition)(content)


def test_a_key_without_a_meaning_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "comments", lambda: {"lr": "the learning rate"})
    assert reference.meaning("lr") == "the learning rate"
    with pytest.raises(ValueError, match="epochs of train has no meaning"):
        reference.meaning("epochs")


def test_the_schema_knows_every_key_of_a_configuration() -> None:
    keys = set(yaml.safe_load((CONF / "train.yaml").read_text(encoding="utf-8")))
    assert keys <= set(schema()["definitions"]["settings"]["properties"])
    assert len(FILES) > 55
