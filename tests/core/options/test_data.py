"""The group ``data`` in typed parts, and the DataModule that is made of them."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
import yaml

import logreg.data
from logreg.cli.configuration import compose, parse, plain
from logreg.core.build import build_data
from logreg.core.errors import UserError
from logreg.core.options.data import SOURCES, DataSettings
from logreg.core.options.photos import DIGITS, AugmentOptions
from logreg.core.options.rows import ALL_FOR_TRAINING, SplitOptions
from logreg.core.options.tables import ReadOptions, TablePaths
from logreg.core.rules import rules_of
from logreg.core.settings import CONF, Settings
from logreg.data import DigitsData, TableData
from tests.commands import ROOT


class Subclass(TableData):
    """A table of a user's."""


def test_a_short_and_a_long_path_name_the_same_class() -> None:
    short, long = (
        DataSettings.of({"_target_": target, "size": 16}) for target in ("logreg.data.DigitsData", DIGITS_DATA)
    )
    assert short == long
    assert (short.serving, short.photos.size) == (DIGITS, 16)


DIGITS_DATA = f"{DigitsData.__module__}.{DigitsData.__qualname__}"


def test_a_part_of_which_nothing_is_said_has_the_defaults_of_its_class() -> None:
    assert DataSettings.of({"_target_": DIGITS_DATA}).split == SplitOptions(ALL_FOR_TRAINING)
    assert DataSettings.of({"_target_": "logreg.data.TableData"}).split == SplitOptions()
    assert DataSettings.of({"_target_": "logreg.data.TableData"}).paths is None


def test_a_subclass_takes_the_parts_of_its_base() -> None:
    node = {"_target_": f"{__name__}.Subclass", "path": "x.csv", "delimiter": ";", "fold": 1, "folds": 3}
    data = build_data(DataSettings.of(node), ["tests"])
    assert isinstance(data, Subclass)
    assert (data.paths.path, data.reading.delimiter, data.folds) == ("x.csv", ";", 3)


class Keywords(TableData):
    """One that hands on what it is given."""

    def __init__(self, own: int = 0, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.own = own


TABLE = {"path": "x.csv", "weight": "w", "group": "g", "missing": ["-"], "target": "y"}


@pytest.mark.parametrize("name", ["Subclass", "Keywords"])
def test_a_subclass_has_the_settings_of_its_base_by_the_same_rules(name: str) -> None:
    config = plain(compose("train", ["data=table", "data.path=x.csv", "covariance=cluster", "penalty.l2=0"]))
    config["data"] |= TABLE | {"_target_": f"{__name__}.{name}"}
    assert Settings.of(config).data.roles.weight == "w"  # also where its package is not trusted, as to predict
    assert Settings.of(config).data.reading.missing == ("-",)
    data = parse(config, ["tests"]).data
    assert (data.paths, data.roles.group, data.takes[0]) == (TablePaths("x.csv"), "g", "paths")
    assert build_data(data, ["tests"]).roles.weight == "w"
    for key, value in (("leak_auroc", 0.1), ("split", {"train": 0.5})):
        with pytest.raises(UserError, match=rf"^data\.{key}"):
            parse(config | {"data": config["data"] | {key: value}}, ["tests"])


def test_further_keys_are_those_of_the_subclass() -> None:
    node = {"_target_": f"{__name__}.Keywords", **TABLE, "own": 3}
    assert build_data(DataSettings.of(node), ["tests"]).own == 3
    with pytest.raises(UserError, match=r"^data: Keywords refused its settings: .*'fromat'"):
        build_data(DataSettings.of(node | {"fromat": "csv"}), ["tests"])


def test_keys_of_a_table_may_mean_something_else_to_another_class() -> None:
    data = DataSettings.of({"_target_": "mine.Photos", "format": "jpeg", "weight": 0.5})
    assert (data.reading, data.roles.weight, data.takes) == (ReadOptions(), None, ())


@pytest.mark.parametrize("target", ["TableData", "tables.table.TableData", "builtin.ToyData", "DigitsData"])
@pytest.mark.parametrize("key", ["reading", "text", "fromat"])
def test_what_no_part_has_is_no_key(target: str, key: str) -> None:
    with pytest.raises(UserError, match=rf"^data\.{key}: \w+ takes no such argument.*valid: .*seed, batch_size,"):
        DataSettings.of({"_target_": f"logreg.data.{target}", key: "csv"}).check()


# What conf/data says besides the defaults of the classes, which Python code has.
DIFFER = {
    "toy": {"name": "toy", "standardize": False, "split": {"train": 1.0, "val": 0.0, "test": 0.0}},
    "breast_cancer": {"name": "breast_cancer", "batch_size": 32, "split": {"train": 0.6, "val": 0.2, "test": 0.2}},
    "digits": {"split": {"train": 0.6, "val": 0.2, "test": 0.2}},
    "images": {"augment": {"flip": True, "crop": 0.125, "jitter": 0.2}},
    "table": {"batch_size": 256},
}


@pytest.mark.parametrize("file", sorted((CONF / "data").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_file_of_conf_has_every_key_of_its_class_with_its_default(file) -> None:
    node = yaml.safe_load(file.read_text())["data"]
    given = {key: value for key, value in node.items() if key != "seed"}
    bare = {key: given[key] for key in ("_target_", "path") if key in given}
    data, bare = DataSettings.of(given), DataSettings.of(bare)
    parts = SOURCES[data.target]
    kinds = [part if isinstance(part, type) else type(part) for part in parts.values()]
    assert {"_target_", *(field for kind in kinds for field in rules_of(kind))} == node.keys()
    for name in parts:
        for key, value in vars(getattr(data, name)).items():
            if key not in ("seed", *DIFFER[file.stem]):
                assert value == getattr(getattr(bare, name), key), key
    assert {key: node[key] for key in DIFFER[file.stem]} == DIFFER[file.stem]


def test_every_part_is_exported_and_says_what_each_of_its_fields_means() -> None:
    classes = {part if isinstance(part, type) else type(part) for parts in SOURCES.values() for part in parts.values()}
    pages = [(ROOT / folder / "reference/python.md").read_text() for folder in ("docs", "docs/ko")]
    for part in (*classes, AugmentOptions):
        assert getattr(logreg.data, part.__name__) is part
        documented = re.findall(r"^ {8}(\w[\w, ]*):", str(part.__doc__), re.MULTILINE)
        assert {name for names in documented for name in names.split(", ")} == {field.name for field in fields(part)}
        assert all(f"::: logreg.data.{part.__name__}\n" in page for page in pages)
