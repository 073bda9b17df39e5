"""A configuration as typed settings, and back."""

from __future__ import annotations

import json

import pytest

from logreg.cli.configuration import compose, parse, plain
from logreg.core.errors import UserError
from logreg.core.options.rows import SplitOptions
from logreg.core.options.tables import TablePaths
from logreg.core.settings import Settings, in_force


@pytest.mark.parametrize(
    "overrides", [[], ["data=table", "data.path=x", "data.target=y"], ["data=digits"], ["experiment=lessons/sigmoid"]]
)
def test_the_configuration_of_a_run_is_what_it_was_made_of(overrides: list[str]) -> None:
    config = plain(compose("train", overrides))
    assert json.dumps(parse(config).as_config()) == json.dumps(in_force(config))  # in the same order too


def test_the_long_keys_are_in_force() -> None:
    settings = parse(plain(compose("train", ["optimizer.lr=0.5", "trainer.max_epochs=7"])))
    assert (settings.lr, settings.epochs) == (0.5, 7)
    assert settings.as_config()["lr"] == 0.5


def test_a_key_that_a_version_did_not_have_has_the_default_of_conf() -> None:
    config = plain(compose("train"))
    for key in ("loss", "tags", "certify_every", "vectorized"):
        del config[key]
    del config["penalty"]["firth"]
    settings = Settings.of(config)
    assert settings == Settings.of(plain(compose("train")))


def test_keys_of_data_are_in_the_parts_of_the_class() -> None:
    settings = parse(plain(compose("train", ["data=table", "data.path=x"])))
    assert settings.data.paths == TablePaths("x")
    assert settings.data.split == SplitOptions()
    assert settings.data.folder is None


@pytest.mark.parametrize(
    ("group", "value", "sentence"),
    [
        ("data", "x", "data=x: a group takes the name of a file"),
        ("penalty", {}, "give penalty.l1=<number> or penalty.l2=<number>"),
        ("model", {"bias": 1}, "model: a _target_ that names a class is needed here"),
        ("callbacks", {"mine": {"patience": 1}}, "callbacks.mine: a _target_ that names a class"),
        ("lesson", "sigmoid", "lesson=sigmoid: a lesson is an experiment"),
    ],
)
def test_a_group_that_is_none_is_refused(group: str, value: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse(plain(compose("train")) | {group: value})


@pytest.mark.parametrize(("group", "key"), [("penalty", "l3"), ("costs", "l1"), ("sweep", "x"), ("path", "point")])
def test_a_key_that_no_rule_knows_is_refused(group: str, key: str) -> None:
    overrides = ["experiment=path", "data.fold=0"] if group == "path" else []
    config = plain(compose("train", overrides))
    parse(config)
    with pytest.raises(UserError, match=rf"{group}\.{key}: there is no such key.*; valid: "):
        parse(config | {group: config[group] | {key: 1}})
    assert Settings.of(config | {group: config[group] | {key: 1}})  # a run that was recorded can be read


@pytest.mark.parametrize("chosen", [3, {"name": "adam"}, {"name": "newton", "why": "few columns", "since": 1}])
def test_a_run_that_was_recorded_can_be_read_whatever_it_says_of_its_choice(chosen: object) -> None:
    choice = Settings.of(plain(compose("train")) | {"chosen": chosen}).chosen
    assert (choice and choice.name) == (chosen["name"] if isinstance(chosen, dict) and "why" in chosen else None)
