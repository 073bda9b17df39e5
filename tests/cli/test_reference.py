"""What is generated is up to date, and the schema accepts the files of ``conf/`` and finds a wrong key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import yaml

from logreg.cli.reference import ROOT, definition_of, generated, schema
from logreg.core.settings import CONF

FILES = [file for file in sorted(CONF.rglob("*.yaml")) if definition_of(file) is not None]


def check(content: Any, definition: str) -> None:
    fastjsonschema.validate({**schema(), "allOf": [{"$ref": f"#/definitions/{definition}"}]}, content)


def test_the_files_are_those_that_are_generated() -> None:
    stale = [path.relative_to(ROOT) for path, text in generated().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "make reference writes them anew"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONF)))
def test_the_files_of_conf_are_valid(file: Path) -> None:
    definition = definition_of(file)
    assert definition is not None
    assert f"schema.json#/definitions/{definition}" in file.read_text(encoding="utf-8")
    check(yaml.safe_load(file.read_text(encoding="utf-8")) or {}, definition)


@pytest.mark.parametrize(
    ("content", "definition"),
    [
        ({"lrr": 0.1}, "settings"),
        ({"seed": -1}, "settings"),
        ({"penalty": {"l3": 0}}, "settings"),
        ({"data": {"batchsize": 3}}, "settings"),
        ({"data": {"batch_size": 0}}, "settings"),
        ({"optimizer": {"lr": "fast"}}, "settings"),
        ({"trainer": {"precision": "16"}}, "settings"),
        ({"checkpoints": {"every_seconds": 0}}, "callbacks"),
    ],
)
def test_what_is_wrong_is_found(content: dict[str, Any], definition: str) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        check(content, definition)


def test_the_schema_knows_every_key_of_a_configuration() -> None:
    keys = set(yaml.safe_load((CONF / "train.yaml").read_text(encoding="utf-8")))
    assert keys <= set(schema()["definitions"]["settings"]["properties"])
    assert len(FILES) > 50
