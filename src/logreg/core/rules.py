"""What a setting may be: the check, the words that say it and its JSON schema, once for each setting.

A part of the settings is a frozen dataclass whose fields carry their rules:

    @dataclass(frozen=True)
    class Penalty:
        l1: float = setting(number(least=0, words="a number, 0 or more,"))

`check` holds values against them, whether they come from a configuration or from Python.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from logreg.core.errors import UserError, nearest
from logreg.core.numbers import is_finite

Schema = Mapping[str, object]
Part = TypeVar("Part")
ABSENT = object()


@dataclass(frozen=True)
class Rule:
    """What a value may be.

    Attributes:
        allows: whether a value is valid.
        words: what would be, as in "a whole number above 0"; a comma at the end where the sentence goes on.
        schema: the same as JSON schema.
        read: a valid value, as YAML or a shell gave it, in the form that the rest of the program uses.
    """

    allows: Callable[[object], bool]
    words: str
    schema: Schema
    read: Callable[..., object] | None = None


def number(
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    words: str,
) -> Rule:
    """A finite number."""
    bounds = {"exclusiveMinimum": above, "minimum": least, "exclusiveMaximum": below, "maximum": most}

    def allows(value: object) -> bool:
        return is_finite(value) and above < value < below and least <= value <= most

    return Rule(allows, words, {"type": "number"} | {key: b for key, b in bounds.items() if math.isfinite(b)})


def whole(least: int, most: float = math.inf, words: str | None = None) -> Rule:
    """A whole number."""
    usual = {0: "a whole number, 0 or more,", 1: "a whole number above 0", 2: "a whole number, 2 or more,"}
    schema: dict[str, object] = {"type": "integer", "minimum": least}

    def allows(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return Rule(allows, words or usual[least], schema | ({"maximum": most} if math.isfinite(most) else {}))


def choice(*values: object, words: str | None = None, aliases: Sequence[object] = ()) -> Rule:
    """One of some values; ``aliases`` are valid too, and no words or table name them."""
    shown = " or ".join(map(str, values)) if len(values) == 2 else f"one of {', '.join(map(str, values))}"
    known, schema = (*values, *aliases), {"enum": list(values)}
    others = [{"enum": list(aliases), "deprecated": True}] if aliases else []
    return Rule(lambda value: value in known, words or shown, {"anyOf": [schema, *others]} if others else schema)


def flag() -> Rule:
    """True or false."""
    return Rule(lambda value: isinstance(value, bool), "true or false", {"type": "boolean"})


def text(words: str, like: type | tuple[type, ...] = str) -> Rule:
    """A text, or what YAML makes of one: ``like`` names the types that stand for a text here."""
    kinds = {str: "string", int: "integer", float: "number", bool: "boolean"}
    types = like if isinstance(like, tuple) else (like,)
    return Rule(lambda value: isinstance(value, like), words, {"type": [kinds[kind] for kind in types]}, str)


def texts(words: str) -> Rule:
    """A list of texts, or of what YAML makes of them."""

    def allows(value: object) -> bool:
        return isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value)

    schema = {"type": "array", "items": {"type": ["string", "number", "boolean"]}}
    return Rule(allows, words, schema, lambda items: tuple(map(str, items)))


def mapping(words: str, keys: Mapping[str, Rule] | None = None) -> Rule:
    """A mapping; ``keys`` are for its schema, and whoever reads it says what is wrong inside."""
    schema: dict[str, object] = {"type": "object"}
    if keys is not None:
        schema |= {"properties": {key: dict(keys[key].schema) for key in keys}, "additionalProperties": False}
    return Rule(lambda value: isinstance(value, Mapping), words, schema)


def either(*rules: Rule, words: str | None = None) -> Rule:
    """What one of some rules allows."""

    def read(value: object) -> object:
        rule = next(rule for rule in rules if rule.allows(value))
        return rule.read(value) if rule.read else value

    return Rule(
        lambda value: any(rule.allows(value) for rule in rules),
        words or ", or ".join(rule.words.rstrip(",") for rule in rules),
        {"anyOf": [dict(rule.schema) for rule in rules]},
        read if any(rule.read for rule in rules) else None,
    )


def optional(rule: Rule, words: str | None = None) -> Rule:
    """What a rule allows, or null."""
    return either(rule, Rule(lambda value: value is None, "null", {"type": "null"}), words=words)


def setting(rule: Rule, default: Any = dataclasses.MISSING) -> Any:
    """A field of a part of the settings."""
    if isinstance(default, dict):  # each part has one of its own
        return dataclasses.field(default_factory=default.copy, metadata={"rule": rule})
    return dataclasses.field(default=default, metadata={"rule": rule})


def rules_of(part: Any, prefix: str = "") -> dict[str, Rule]:
    """The rules of a part of the settings, one or its class, by their keys."""
    fields = dataclasses.fields(part)
    return {prefix + field.name: field.metadata["rule"] for field in fields if "rule" in field.metadata}


def lookup(node: object, key: str, default: Any = None) -> Any:
    """The value of a dotted key in nested mappings."""
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return default
        node = node[part]
    return node


def as_typed(value: object) -> str:
    """A value as it stands on a command line: with YAML's null, true and false, and quotes around a text of digits."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", value, re.I):
        return f"'{value}'"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def check(values: Mapping[str, object], rules: Mapping[str, Rule]) -> None:
    """Hold values, by name or nested, against the rules of their keys; a key that is absent has its default.

    Raises:
        UserError: names the first key whose value is not valid, and what would be.
    """
    for key, rule in rules.items():
        value = values[key] if key in values else lookup(values, key, ABSENT)
        if value is not ABSENT and not rule.allows(value):
            raise UserError(f"{key}={as_typed(value)}: {rule.words} is needed.")


def read_part(part: object, prefix: str) -> None:
    """Hold the fields of a part that is being made against their rules, and put them into the form that is used."""
    rules = rules_of(part, prefix)
    check({prefix + name: value for name, value in vars(part).items()}, rules)
    for key, rule in rules.items():
        if rule.read is not None:
            name = key.removeprefix(prefix)
            object.__setattr__(part, name, rule.read(getattr(part, name)))


def check_names(names: Iterable[str], known: Collection[str], key: str, problem: str = "there is no such key") -> None:
    """Hold the names below a key against those that are valid there.

    Raises:
        UserError: names the first that is none of them, and those that are.
    """
    for name in names:
        if name not in known:
            path = f"{key}.{name}".lstrip(".")
            raise UserError(f"{path}: {problem}{nearest(name, known)}; valid: {', '.join(known)}.")


def part_of(part: type[Part], values: Mapping[str, Any], key: str, **given: object) -> Part:
    """A part of the settings of those of the values below a key that it knows.

    Raises:
        UserError: one is absent that has no default.
    """
    known = {each.name: each for each in dataclasses.fields(part)}  # type: ignore[arg-type]
    given = {name: values[name] for name in known if name in values} | given
    for name in known.keys() - given.keys():
        if known[name].default is dataclasses.MISSING:
            raise UserError(f"{f'{key}.{name}'.lstrip('.')}: {known[name].metadata['rule'].words} is needed.")
    return part(**given)
