"""The JSON schema of ``conf/``, by which editors complete and check its files, and what these say of their keys.

It comes from the rules of the settings and the signatures of the classes that the files name; `reference` writes it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra.core.config_store import ConfigStore
from hydra.utils import get_class
from omegaconf import OmegaConf

from logreg.cli.configuration import compose
from logreg.cli.explain import group_names
from logreg.core.components import TARGET
from logreg.core.options import data
from logreg.core.rules import Rule, Schema, rules_of
from logreg.core.settings import CONF, PARTS, RULES, Settings
from logreg.runs.commands import COMMANDS, rules_of_command
from logreg.runs.reading import NewRows

ROOT = CONF.parent
Node = dict[str, Any]  # of a JSON schema, or of a configuration
# Those of conf/hydra are dictionaries for Python's logging.
FILES = [file for file in sorted(CONF.rglob("*.yaml")) if "hydra" not in file.relative_to(CONF).parts]
TRAIN_RULES = RULES | data.rules()
GLOBAL = "# @package _global_"


# --- what the files of conf/ say --------------------------------------------------------------------------------------


def is_global(file: Path) -> bool:
    """Whether a file has keys of the whole configuration, not of its group alone."""
    return file.parent == CONF or file.read_text(encoding="utf-8").startswith(GLOBAL)


def in_configuration(file: Path) -> Node:
    """What a file contributes to the configuration."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return content if is_global(file) else {file.relative_to(CONF).parts[0]: content}


@functools.cache
def comments_of(file: Path) -> dict[str, str]:
    """What a file says of each key: the comment on its line, and its other lines in the same column below that."""
    text = file.read_text(encoding="utf-8")
    lines, comments = [*text.splitlines(), ""], dict[str, str]()

    def visit(node: yaml.Node, prefix: str) -> None:
        if isinstance(node, yaml.SequenceNode) and prefix == "defaults.":  # of a group, its line there
            for item in node.value:
                visit(item, "")
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            is_block = isinstance(value, yaml.CollectionNode) and not value.flow_style
            end = (key if is_block else value).end_mark
            if "#" in lines[end.line][end.column :]:
                column = lines[end.line].index("#", end.column)
                parts, number = [lines[end.line][column + 1 :].strip()], end.line + 1
                while lines[number].startswith("#", column) and not lines[number][:column].strip():
                    parts.append(lines[number][column + 1 :].strip())
                    number += 1
                comments[f"{prefix}{key.value}"] = " ".join(parts)
            visit(value, f"{prefix}{key.value}.")

    visit(yaml.compose(text), "" if is_global(file) else f"{file.relative_to(CONF).parts[0]}.")
    return comments


@functools.cache
def comments() -> dict[str, str]:
    """What is said of the keys of ``train.py`` by the files that give their defaults; of data, first of tables."""
    first = ("train", "data/table", "data/images", "trainer/default", "optimizer/sgd", "experiment/path")
    others = [file for file in FILES if file.parent.name in ("data", "optimizer", "callbacks")]
    meanings: dict[str, str] = {}
    for file in (*(CONF / f"{name}.yaml" for name in first), *others):
        meanings |= {key: comment for key, comment in comments_of(file).items() if key not in meanings}
    return meanings


@functools.cache
def places() -> dict[str, dict[str, list[Path]]]:
    """The classes that ``conf/`` names: by class, the dotted keys that it stands at, and the files that say so."""
    named: dict[str, dict[str, list[Path]]] = {}

    def visit(node: object, key: str, file: Path) -> None:
        for name, value in node.items() if isinstance(node, Mapping) else ():
            if name == TARGET:
                named.setdefault(value, {}).setdefault(key, []).append(file)
            elif name != "hydra":
                visit(value, f"{key}.{name}".lstrip("."), file)

    for file in FILES:
        visit(in_configuration(file), "", file)
    return named


# --- the schema -------------------------------------------------------------------------------------------------------

# What a value may be in a file of conf/ besides what its rule allows: an interpolation, or a value that is to be given.
LATER: Schema = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}
LATER_HERE = {"$ref": "#/definitions/later"}
DEFAULTS: Schema = {"type": "array", "items": {"type": ["string", "object"], "maxProperties": 1}}
FURTHER: Node = {"defaults": DEFAULTS, "hydra": {"$ref": "#/definitions/hydra"}, "trusted_packages": {"type": "array"}}
FROM_PROGRAM = ("params", "optimizer")  # what optimizers and schedulers are made for
OF_OTHERS = ("callbacks", "env", "hydra_logging", "job_logging", "launcher")  # parts of Hydra that plugins decide


@functools.cache
def schema() -> Node:
    """The JSON schema of the files of ``conf/``: a definition for each class, group and command."""
    groups = {group: component(group) for group in ("data", "model", "optimizer", "scheduler", "trainer", "lesson")}
    for group in ("metrics", "callbacks", "logger"):
        entry = component(group) | {"type": ["object", "null"]}
        groups[group] = {"type": "object", "properties": {"defaults": DEFAULTS}, "additionalProperties": entry}
    for name, part in PARTS.items():
        if name not in groups:
            groups[name] = keys_of({f"{name}.{key}": rule for key, rule in rules_of(part).items()}, comments())
    lesson = {"anyOf": [{"$ref": "#/definitions/lesson"}, {"type": "null"}]}
    groups["sweep"]["properties"]["lesson"] = lesson
    settings = keys_of(rules_of(Settings), comments())
    references = {name: {"$ref": f"#/definitions/{name}"} for name in groups}
    settings["properties"] |= FURTHER | variables(settings["properties"].keys() | groups.keys()) | references
    settings["properties"]["lesson"] = lesson
    commands = {name: command_keys(name) for name in COMMANDS}
    reading = {name: commands["predict"]["properties"]["data"]["properties"][name] for name in rules_of(NewRows)}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "description": "Generated: make reference.",
        "definitions": {
            "later": LATER,
            **{target: class_keys(target) for target in places()},
            **groups,
            **commands,
            "reading": _object({"data": _object(reading)}),
            "hydra": hydra_keys([*TRAIN_RULES, *_below_classes(), *group_names()]),
            "settings": settings,
        },
    }


def definition_of(file: Path) -> str:
    """Which definition a file of ``conf/`` is held against."""
    group = file.relative_to(CONF).parts[0]
    if file.parent == CONF:
        return "settings" if file.stem == "train" else file.stem
    return "settings" if is_global(file) and group != "reading" else group


def with_schema_line(file: Path) -> str:
    """The text of a file of ``conf/`` with the line that leads editors to its definition."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    lines = [line for line in lines if not line.startswith("# yaml-language-server:")]
    path = "../" * (len(file.relative_to(CONF).parts) - 1) + "schema.json"
    line = f"# yaml-language-server: $schema={path}#/definitions/{definition_of(file)}\n"
    lines.insert(1 if lines[0].startswith(GLOBAL) else 0, line)  # Hydra looks for the package in the first lines
    return "".join(lines)


def _object(properties: Node) -> Node:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def keys_of(rules: Mapping[str, Rule | None], meanings: Mapping[str, str]) -> Node:
    """A mapping with the last parts of these keys and no others."""
    return _object({key.rpartition(".")[2]: value_of(rule, meanings.get(key)) for key, rule in rules.items()})


def value_of(rule: Rule | None, meaning: str | None) -> Node:
    """The value of a key, with what is said of it for the editor to show."""
    value = {} if rule is None else {"anyOf": [_with_interpolations(rule.schema), LATER_HERE]}
    meaning = meaning or (rule.words.rstrip(",") if rule is not None else None)
    return value | ({"description": meaning} if meaning else {})


def _with_interpolations(schema: Schema) -> Node:
    """The same, with interpolations as values of the keys of a mapping too."""
    inner: Any = schema
    if "anyOf" in inner:
        return inner | {"anyOf": [_with_interpolations(each) for each in inner["anyOf"]]}
    known = {key: {"anyOf": [value, LATER_HERE]} for key, value in inner.get("properties", {}).items()}
    return inner | ({"properties": known} if known else {})


def arguments_of(cls: type) -> list[str]:
    """What a configuration may give a class, those that its bases take for it too; of data, the keys of its parts."""
    parts = data.SOURCES.get(f"{cls.__module__}.{cls.__qualname__}", {}).values()
    names = [name for part in parts for name in rules_of(part if isinstance(part, type) else type(part))]
    for base in () if names else cls.__mro__:
        parameters = inspect.signature(base).parameters.values()
        names += [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
        if all(each.kind is not each.VAR_KEYWORD for each in parameters):
            break
    return [name for name in dict.fromkeys(names) if name not in FROM_PROGRAM]


@functools.cache
def class_keys(target: str) -> Node:
    """The arguments of a class, with their rules and what the files that name it say of them."""
    known = {TARGET: {"type": "string"}, "_args_": {"type": "array"}, "defaults": DEFAULTS}
    for name in arguments_of(get_class(target)):
        keys = [f"{key}.{name}" for key in places()[target]]
        own = [comments_of(file).get(key) for key in keys for file in places()[target][key.rpartition(".")[0]]]
        meaning = next(filter(None, [*own, *map(comments().get, keys)]), None)
        known[name] = value_of(next(filter(None, map(TRAIN_RULES.get, keys)), None), meaning)
    return _object(known)


def _group_of(key: str) -> str:
    return "lesson" if key.endswith("lesson") else key.partition(".")[0]


def component(group: str) -> Node:
    """A node that names a class has the keys of that class; one in a preset, that names none, of any of its group."""
    classes = [target for target, keys in places().items() if group in map(_group_of, keys)]
    union: dict[str, list[Node]] = {}
    for target in classes:
        for name, value in class_keys(target)["properties"].items():
            if value not in union.setdefault(name, []):
                union[name].append(value)
    of_any = _object({name: values[0] if len(values) == 1 else {"anyOf": values} for name, values in union.items()})
    cases: list[tuple[Node, Node]] = [({"not": {"required": [TARGET]}}, of_any)]
    for target in classes:
        named = {"required": [TARGET], "properties": {TARGET: {"const": target}}}
        cases.append((named, {"$ref": f"#/definitions/{target}"}))
    return {"type": "object", "allOf": [{"if": {"type": "object", **case}, "then": then} for case, then in cases]}


def _below_classes() -> Iterator[str]:
    for target, keys in places().items():
        yield from (f"{key}.{name}" for key in keys for name in class_keys(target)["properties"])


def command_keys(name: str) -> Node:
    """The keys of ``conf/<name>.yaml``, whose rows have theirs below ``data``."""
    rules, meanings = rules_of_command(COMMANDS[name]), comments() | comments_of(CONF / f"{name}.yaml")
    below = {key: rule for key, rule in rules.items() if key.startswith("data.")}
    node = keys_of({key: rule for key, rule in rules.items() if key not in below}, meanings)
    node["properties"] |= FURTHER | ({"data": keys_of(below, meanings)} if below else {})
    return node


def variables(known: Iterable[str]) -> Node:
    """Keys that presets have for themselves, to refer to them."""
    nodes = [in_configuration(file) for file in FILES if definition_of(file) == "settings"]
    return {key: _like(value) for node in nodes for key, value in node.items() if key not in {*known, *FURTHER}}


def _like(node: object) -> Node:
    keys = {str(key): _like(value) for key, value in node.items()} if isinstance(node, Mapping) else {}
    return _object(keys) if keys else {}


def hydra_keys(keys: Iterable[str]) -> Node:
    """Hydra's own part; ``params`` of a sweep may have these keys."""
    composed = [compose("train", [f"hydra/sweeper={name}"], with_hydra=True).hydra for name in ("vectorized", "optuna")]
    sweeper = {str(key): _like(value) for each in composed for key, value in each.sweeper.items()}
    store, folder = ConfigStore.instance(), "hydra/sweeper/sampler"
    samplers = [store.load(f"{folder}/{name}").node for name in store.list(folder)]
    sweeper["sampler"] = _object({str(key): {} for sampler in samplers for key in sampler})
    sweeper["params"] = {"type": ["object", "null"], "propertyNames": {"enum": sorted(set(keys))}}
    node = _like(OmegaConf.to_container(composed[0], resolve=False))
    node["properties"] |= {"sweeper": _object(sweeper), **{name: {} for name in OF_OTHERS}}
    return node
