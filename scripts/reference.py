"""Write what is generated: python scripts/reference.py, or make reference.

conf/schema.json, and in every file of ``conf/`` the line that leads editors there; docs/reference/every_key.md, the
table of every key; the shorter tables of other pages, between two comments. What a key means stands once, as the
comment beside it in ``conf/``; in Korean, in the table itself. A test holds all of it against the files.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from schema import FILES, TRAIN_RULES, Node, comments, comments_of, schema, with_schema_line

from logreg.cli.configuration import compose
from logreg.cli.explain import choices_of, group_names
from logreg.core.rules import Rule, Schema, lookup
from logreg.core.settings import CONF
from logreg.runs.commands import COMMANDS, rules_of_command

ROOT = CONF.parent
DOCS = ROOT / "docs"
KEYS = DOCS / "reference" / "every_key.md"
HEADERS = {"en": ("key", "default", "valid", "meaning"), "ko": ("키", "기본값", "가능한 값", "뜻")}
BEGIN, END = "<!-- keys: make reference -->\n", "<!-- end of keys -->"
TABLE = re.compile(f"(?<={BEGIN}).*?(?={END})", re.DOTALL)
CELL = re.compile(r"(?<!\\)\|")  # what is between two cells of a row


def every_key() -> str:
    """The text of its page: every key that has a rule or a comment in ``conf/train.yaml``, and every group."""
    usual = [key for file in ("train.yaml", "trainer/default.yaml") for key in comments_of(CONF / file)]
    keys = {*TRAIN_RULES, *group_names(), *filter(re.compile(r"[\w.]+$").match, usual)} - {"vectorized"}
    order = [*group_names(), *comments()]
    table = table_of(sorted(keys, key=lambda key: order.index(key) if key in order else -1), meaning)
    parts = ["# Every key", "Written by `make reference` from the rules of the settings and the comments in `conf/`."]
    parts += ["## `train.py`", table]
    for name, command in COMMANDS.items():
        rules, node = rules_of_command(command), OmegaConf.to_container(compose(name), resolve=False)
        defaults = {key: _in_signs(lookup(node, key)).replace("`null`", "") for key in rules}
        rows = [row(key, defaults[key], rule, meaning(key, name)) for key, rule in rules.items()]
        parts += [f"## `scripts/{name}.py`", "\n".join([*_head("en"), *rows])]
    return "\n\n".join(parts) + "\n"


def meaning(key: str, command: str = "train") -> str:
    """What a key of a command means.

    Raises:
        ValueError: nothing is said of it.
    """
    own = comments() if command == "train" else comments_of(CONF / f"{command}.yaml")
    meaning = own.get(key) or (comments().get(key) if key.startswith("data.") else None)
    if meaning is None:
        raise ValueError(f"{key} of {command} has no meaning: write it beside the key in conf/, as a comment.")
    return meaning.replace("|", r"\|")


def with_tables(page: Path) -> str:
    """The text of a page with its tables of keys; which these are, its English counterpart says.

    Raises:
        ValueError: a Korean page does not say what a key means.
    """
    korean = page.is_relative_to(DOCS / "ko")
    english = DOCS / page.relative_to(DOCS / "ko") if korean else page
    selections = [_rows(block) for block in TABLE.findall(english.read_text(encoding="utf-8"))]

    def written(block: re.Match[str]) -> str:
        meanings, keys = _rows(block[0]), selections.pop(0)
        if korean and (missing := [key for key in keys if not meanings.get(key)]):
            raise ValueError(f"{page.relative_to(ROOT)}: the last cell of {missing[0]} is to say what it means.")
        table = table_of(keys, meanings.__getitem__, "ko") if korean else table_of(keys, meaning)
        return f"\n{table}\n\n"

    return TABLE.sub(written, page.read_text(encoding="utf-8"))


def _rows(block: str) -> dict[str, str]:
    """The last cells of a table by the keys in the first ones."""
    cells = [[cell.strip() for cell in CELL.split(line)[1:-1]] for line in block.splitlines() if line.startswith("| `")]
    return {first.strip("`"): last for first, *_, last in cells}


def table_of(keys: Iterable[str], meaning_of: Callable[[str], str], language: str = "en") -> str:
    """Keys of train.py with their defaults, what is valid, and what they mean, as Markdown."""
    rows = [row(key, default_of(key), TRAIN_RULES.get(key), meaning_of(key)) for key in keys]
    return "\n".join([*_head(language), *rows])


def _head(language: str) -> list[str]:
    return [f"| {' | '.join(HEADERS[language])} |", "| --- | --- | --- | --- |"]


def row(key: str, default: str, rule: Rule | None, meaning: str) -> str:
    """A key's row; what is valid stands there in signs that need no translation."""
    choices = [f"`{choice}`" for choice in choices_of(key)] if key in group_names() else []
    valid = _signs(rule.schema) if rule is not None else ", ".join(choices)
    return "".join(f"| {cell} " if cell else "| " for cell in (f"`{key}`", default, valid, meaning)) + "|"


@functools.cache
def _composed(group: str) -> Node:
    """The configuration for each choice of a group, the usual one first."""
    usual = compose("train", with_hydra=True).hydra.runtime.choices[group]
    choices = sorted(choices_of(group), key=lambda choice: choice != usual)
    return {choice: compose("train", [f"{group}={choice}"], with_hydra=True) for choice in choices}


def default_of(key: str) -> str:
    """The default of a key; where it differs by data, or by optimizer, that of each."""
    by = "optimizer" if key == "lr" or key.startswith("optimizer.") else "data"
    values = {choice: _default_in(key, configuration) for choice, configuration in _composed(by).items()}
    first, others = next(iter(values.values())), dict[str, list[str]]()
    if key == by:
        return first or ""
    for choice, value in values.items():
        if value not in (None, first or "`null`"):
            others.setdefault(value, []).append(choice)
    shown = [] if first is None or (first == "`null`" and not others) else [first]
    return "; ".join([*shown, *(f"{', '.join(choices)} {value}" for value, choices in others.items())])


def _default_in(key: str, configuration: Any) -> str | None:
    if key in group_names():
        choice = configuration.hydra.runtime.choices.get(key)
        return f"`{choice}`" if choice else None
    plain = OmegaConf.to_container(configuration, resolve=False)
    value = lookup(plain, key, ...)
    if isinstance(value, str) and (reference := re.fullmatch(r"\$\{([\w.]+)\}", value)):
        value = lookup(plain, reference.group(1), ...)
    return None if value is ... else _in_signs(value) or None


def _in_signs(value: object) -> str:
    return "" if value in ([], "???") else f"`{_as_yaml(value)}`"


def _as_yaml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return json.dumps(value)
    return json.dumps(value) if isinstance(value, bool | None) else str(value)


def _signs(schema: Schema) -> str:
    """A JSON schema in signs: ``≥ 0``, `true`, `[…]`."""
    shown: Any = schema
    if "anyOf" in shown:
        parts = [_signs(each) for each in shown["anyOf"] if "deprecated" not in each]
        return ", ".join(dict.fromkeys(filter(None, parts)))
    if "enum" in shown:
        return ", ".join(f"`{_as_yaml(value)}`" for value in shown["enum"] if value != "")
    kind = shown["type"] if isinstance(shown["type"], str) else shown["type"][0]
    if kind in ("number", "integer"):
        return _range(shown, whole=kind == "integer")
    return {"boolean": "`true`, `false`", "null": "`null`", "array": "`[…]`", "object": "`{…}`"}.get(kind, "…")


def _range(schema: Node, whole: bool) -> str:
    if whole:
        least, most = schema["minimum"], schema.get("maximum", 0)
        return f"{least}, {least + 1}, … {most if 0 < most < 10**6 else ''}".rstrip()
    low = {"exclusiveMinimum": "> {}", "minimum": "≥ {}", "exclusiveMaximum": "< {}", "maximum": "≤ {}"}
    bounds = {key: schema[key] for key in low if key in schema and abs(schema[key]) < 1e30}
    return " ".join(low[key].format(f"{bound:g}") for key, bound in bounds.items())


# --- all of it --------------------------------------------------------------------------------------------------------


def schema_text() -> str:
    """The schema as JSON, a line for each definition."""
    head = {key: value for key, value in schema().items() if key != "definitions"}
    lines = (
        f"{json.dumps(name)}: {json.dumps(each, ensure_ascii=False)}" for name, each in schema()["definitions"].items()
    )
    return f'{json.dumps(head)[:-1]}, "definitions": {{\n' + ",\n".join(lines) + "\n}}\n"


def generated() -> dict[Path, str]:
    """The files that are generated, in whole or in part, and their texts."""
    texts = {file: with_schema_line(file) for file in FILES} | {CONF / "schema.json": schema_text(), KEYS: every_key()}
    return texts | {page: with_tables(page) for page in DOCS.rglob("*.md") if BEGIN in page.read_text(encoding="utf-8")}


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
