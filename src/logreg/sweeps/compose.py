"""The configurations of a sweep's jobs: what Hydra composes, most of it composed once.

Hydra composes every job by itself (0.1 s) and writes three YAML files for it. Here jobs that differ in plain values
alone, as in ``seed=3``, share one composition, their *template*: the values are put into its resolved configuration and
into its files' text. What cannot be shown to come out the same is left to OmegaConf or to Hydra:

- overrides other than ``key=<number, text, true, false, null>`` distinguish templates: groups, ``+key``, ``~key``,
  ``hydra.…``, lists, mappings, interpolations, and any key that is not an untyped value of the configuration;
- a template whose texts, put together, are not those of OmegaConf is for its own job alone;
- OmegaConf resolves the configuration of each job where it has other interpolations than ``${a.b}``, where one makes
  a swept value part of a text, or where it cannot be resolved; and each directory that is not the project's own.
"""

from __future__ import annotations

import copy
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial, reduce
from operator import eq, getitem
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.core.utils import env_override
from hydra.errors import HydraException
from omegaconf import AnyNode, DictConfig, OmegaConf, open_dict, read_write

from logreg.cli import plain
from logreg.cli._compat import content_of, get_overrides_dirname, repository_of, untyped_leaf, with_integer
from logreg.cli.configuration import job_directory
from logreg.sweeps.fused.composed_job import ComposedJob

JOB_DIRECTORY = "${job_directory:${hydra.job.num},${hydra.job.override_dirname}}"
KEY = re.compile(r"[\w-]+(\.[\w-]+)*")
INTEGER = re.compile(r"0|-?[1-9][0-9]{0,14}")
SIMPLE_REFERENCE = re.compile(r"\$\{[^${}:\\]*\}")
# Texts that YAML holds as they are and on one line: nearly all overrides, names of directories, and paths.
BARE = re.compile(r"(/|[A-Za-z_][A-Za-z0-9_./+-]*=)[A-Za-z0-9_.,/+=-]*")
OF_HYDRA = ["overrides.task", "job.override_dirname", "job.id", "job.num", "runtime.output_dir"]
OF_HYDRA = [f"hydra.{key}" for key in OF_HYDRA]

Slot = tuple[str, int | None, tuple[str, ...]]


def compose_jobs(
    loader: Any, master: DictConfig, job_overrides: Sequence[Sequence[str]], first_number: int
) -> Iterator[ComposedJob]:
    """The jobs of a sweep as Hydra's launcher composes them, given its loader and the sweep's own configuration."""
    composer = _Composer(loader, master)
    for number, lines in enumerate(job_overrides, first_number):
        yield composer.job(number, lines)


class _Override(NamedTuple):
    """An override, read once for all jobs that have it. ``plain``: its value may be one that is put in afterwards."""

    parsed: Override
    line: str
    key: str
    value: Any
    plain: bool
    group: bool

    def undone_by(self, later: _Override) -> bool:
        return not later.group and all(map(eq, self.key.split("."), later.key.split(".")))


class _Job(NamedTuple):
    """What differs between jobs of a template; ``lines`` and ``name`` are overrides.task and job.override_dirname."""

    number: int
    values: list[Any]
    lines: tuple[str, ...]
    name: str


class _Composer:
    """Templates, and everything else that jobs share, by the overrides that it holds for."""

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self.loader, self.master, self.parser = loader, master, OverridesParser.create()
        # Unresolved: hydra.sweep.subdir=${hydra.job.num} has a meaning in a job only.
        own: Any = OmegaConf.to_container(master.hydra.overrides.hydra, resolve=False)
        self.repository = repository_of(loader, master.hydra.job.config_name, own)
        self.read: dict[str, _Override] = {}
        self.with_integer: dict[str, Override] = {}
        self.positions: dict[tuple[str, ...], list[int]] = {}
        self.templates: dict[tuple[Any, ...], _Template] = {}

    def job(self, number: int, given: Sequence[str]) -> ComposedJob:
        lines = [line for line in given if not line.lstrip("+~").startswith(("hydra.", "hydra/"))]
        template = self._template(given)
        if isinstance(template, Exception):
            return self._failed(number, lines, template)
        values = [self.read[given[index]].value for index in template.positions]
        name = get_overrides_dirname([self.read[line].parsed for line in lines], **template.naming)
        job = _Job(number, values, tuple(lines), name)
        directory, config, error = template.resolved(job)
        if directory is None:
            return self._failed(number, lines, error)
        texts = template.texts
        files = partial(texts.of, job, directory) if texts else partial(_written, template.task, template.cfg)
        return ComposedJob(number, lines, Path(directory), config, template.choices, error, files)

    def _failed(self, number: int, lines: list[str], error: Exception | None) -> ComposedJob:
        sweep = os.path.abspath(str(self.master.hydra.sweep.dir))
        return ComposedJob(number, lines, Path(sweep, job_directory(number, ",".join(lines))), {}, {}, error)

    def _read(self, line: str) -> _Override:
        key, _, value = line.partition("=")
        if key in self.with_integer and INTEGER.fullmatch(value):  # Hydra's parser takes 0.4 ms for each
            parsed = with_integer(self.with_integer[key], int(value), line)
        else:
            parsed = self.parser.parse_overrides([line])[0]
        group = self.repository.group_exists(parsed.key_or_group) and not isinstance(parsed.value(), dict)
        plain_value = not group and _is_plain(parsed)
        override = self.read[line] = _Override(parsed, line, parsed.key_or_group, parsed.value(), plain_value, group)
        if override.plain and type(override.value) is int and override.key == key:
            self.with_integer[key] = parsed
        return override

    def _template(self, lines: Sequence[str]) -> _Template | Exception:
        """The template of a job, composed from it where there is none; or why Hydra cannot compose the job."""
        try:
            overrides = [self.read.get(line) or self._read(line) for line in lines]
        except HydraException as error:
            return error
        shape = tuple(f"={override.key}" if override.plain else override.line for override in overrides)
        if shape not in self.positions:
            self.positions[shape] = _replaceable(overrides)
        positions = self.positions[shape]
        key = _template_key(shape, overrides, positions)
        if known := self.templates.get(key):
            return known
        try:
            cfg = self.loader.load_sweep_config(self.master, list(lines))
        except Exception as error:
            return error
        positions = self.positions[shape] = [index for index in positions if _holds(cfg, overrides[index])]
        template = _Template(cfg, self.master, overrides, positions)
        if template.texts:
            self.templates[_template_key(shape, overrides, positions)] = template
        return template


def _is_plain(parsed: Override) -> bool:
    value = parsed.value()
    text = isinstance(value, str) and "$" not in value and value != "???"
    changes = parsed.type is OverrideType.CHANGE and parsed.value_type is ValueType.ELEMENT and not parsed.package
    own = KEY.fullmatch(parsed.key_or_group) is not None and not parsed.is_hydra_override()
    return changes and own and (text or type(value) in (int, float, bool, type(None)))


def _template_key(shape: tuple[str, ...], overrides: list[_Override], positions: list[int]) -> tuple[Any, ...]:
    fixed = tuple(override.line for index, override in enumerate(overrides) if index not in positions)
    # whether Hydra adds or deletes a key depends on whether it has a value, which may be one that is put in
    moves = any(override.parsed.type is not OverrideType.CHANGE and not override.group for override in overrides)
    return shape, fixed, tuple(overrides[index].value is None for index in positions) if moves else ()


def _replaceable(overrides: list[_Override]) -> list[int]:
    """Positions of plain overrides that no later one undoes; none at all where one is to compare values."""
    if any(one.parsed.type is OverrideType.DEL and one.value is not None and not one.group for one in overrides):
        return []
    return [i for i, one in enumerate(overrides) if one.plain and not any(map(one.undone_by, overrides[i + 1 :]))]


def _holds(cfg: DictConfig, override: _Override) -> bool:
    """Whether the value is there as it was given, in an untyped leaf reached through mappings alone."""
    node = untyped_leaf(cfg, override.key)
    return node is not None and repr(content_of(node)) == repr(override.value)


class _Template:
    """A composition by Hydra, and what becomes of it with other values of the overrides at ``positions``."""

    def __init__(self, cfg: DictConfig, master: DictConfig, given: list[_Override], positions: list[int]) -> None:
        self.cfg, self.master, self.positions = cfg, master, positions
        self.keys, values = [given[index].key for index in positions], [given[index].value for index in positions]
        self.task = copy.deepcopy(cfg)
        with read_write(self.task), open_dict(self.task):
            del self.task["hydra"]
        hydra: Any = OmegaConf.to_container(cfg.hydra)
        self.choices = hydra["runtime"]["choices"]
        self.naming: Any = OmegaConf.to_container(cfg.hydra.job.config.override_dirname, resolve=True)
        own_names = hydra["sweep"]["subdir"] == JOB_DIRECTORY and "$" not in str(hydra["sweep"]["dir"])
        self.sweep = str(hydra["sweep"]["dir"]) if own_names else None
        texts = _Texts(_slotted(self.task, self.keys), _slotted(OmegaConf.masked_copy(cfg, "hydra"), OF_HYDRA))
        first = _Job(hydra["job"]["num"], values, tuple(hydra["overrides"]["task"]), hydra["job"]["override_dirname"])
        self.texts = texts if texts.of(first, "???") == _written(self.task, cfg) else None  # no proof that others fit
        self.base: dict[str, Any] = {}
        self.places = self._places(values)

    def resolved(self, job: _Job) -> tuple[str | None, dict[str, Any], Exception | None]:
        """Directory and configuration of a job, or why one cannot be resolved."""
        if self.sweep is not None and self.places is not None and self.texts and "$" not in job.name:
            name = job_directory(job.number, job.name)
            return os.path.abspath(os.path.join(self.sweep, name)), self._patched(job.values), None
        self._put(job)
        directory: str | None = None
        hydra = HydraConfig.instance()
        before, hydra.cfg = hydra.cfg, self.cfg  # type: ignore[assignment]  # what ${hydra:…} refers to
        try:
            parts = (str(OmegaConf.select(self.cfg, f"hydra.sweep.{key}")) for key in ("dir", "subdir"))
            self.cfg.hydra.runtime.output_dir = directory = os.path.abspath(os.path.join(*parts))
            OmegaConf.copy_cache(self.cfg, self.task)
            with env_override(self.cfg.hydra.job.env_set):
                return directory, plain(self.task) if self.places is None else self._patched(job.values), None
        except Exception as error:
            return directory, {}, error
        finally:
            hydra.cfg = before

    def _put(self, job: _Job) -> None:
        OmegaConf.copy_cache(self.master, self.cfg)
        _update(self.cfg, self.keys, job.values)
        _update(self.task, self.keys, job.values)
        _update(self.cfg, OF_HYDRA, (job.lines, job.name, job.number, job.number, "???"))

    def _places(self, values: list[Any]) -> list[tuple[tuple[Any, ...], int]] | None:
        """Where in the resolved configuration each of the values ends up; ``None``: only OmegaConf knows.

        Marks in their place show it. They would not with other interpolations than ``${a.b}``: what a resolver gives
        may depend on a value in any way, and on the job.
        """
        if not _is_simple(self.task):
            return None
        marks = [f"mark{index}_{secrets.token_hex(8)}" for index in range(len(values))]
        try:
            self.base = plain(self.task)
            _update(self.task, self.keys, marks)
            marked = [(path, text) for path, text in _items(plain(self.task)) if any(m in str(text) for m in marks)]
            return [(path, marks.index(text)) for path, text in marked]  # ValueError: a mark within a text
        except Exception:
            return None
        finally:
            _update(self.task, self.keys, values)

    def _patched(self, values: list[Any]) -> dict[str, Any]:
        config = dict(self.base)
        for (*parents, name), index in self.places or []:
            node: Any = config
            for key in parents:
                node[key] = node = copy.copy(node[key])
            node[name] = values[index]
        return config


def _update(cfg: DictConfig, keys: list[str], values: Sequence[Any]) -> None:
    for key, value in zip(keys, values, strict=True):
        OmegaConf.update(cfg, key, value, merge=False)


def _is_simple(node: Any) -> bool:
    """Whether ``${a.b}`` is the only kind of interpolation, and its place has no type that a value is converted to."""
    value = content_of(node)
    if isinstance(value, dict | list):
        return all(map(_is_simple, value.values() if isinstance(value, dict) else value))
    if not isinstance(value, str) or "$" not in value:
        return True
    return type(node) is AnyNode and "$" not in SIMPLE_REFERENCE.sub("", value)


def _items(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if not isinstance(node, dict | list):
        return [(path, node)]
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    return [item for key, value in pairs for item in _items(value, (*path, key))]


def _written(task: DictConfig, cfg: DictConfig) -> dict[str, str]:
    parts = {"config": task, "overrides": cfg.hydra.overrides.task, "hydra": OmegaConf.masked_copy(cfg, "hydra")}
    return {f"{name}.yaml": OmegaConf.to_yaml(part) for name, part in parts.items()}


class _Texts(NamedTuple):
    """The files of a template's jobs, with slots for what differs. Jobs can be pickled without the template."""

    config: list[Slot]
    hydra: list[Slot]

    def of(self, job: _Job, directory: str) -> dict[str, str]:
        return {
            "config.yaml": _filled(self.config, job.values),
            "overrides.yaml": _value_text((), job.lines),
            "hydra.yaml": _filled(self.hydra, (job.lines, job.name, str(job.number), job.number, directory)),
        }


def _slotted(cfg: DictConfig, keys: list[str]) -> list[Slot]:
    """The text of a configuration in pieces: the text up to a slot, what goes there, and the path of its key."""
    config: Any = OmegaConf.to_container(cfg, enum_to_str=True)
    paths = [tuple(key.split(".")) for key in keys]
    mark = f"mark{secrets.token_hex(8)}"
    for index, (*parents, name) in enumerate(paths):
        reduce(getitem, parents, config)[name] = f"{mark}_{index}"
    *parts, end = re.split(rf" {mark}_(\d+)\n", OmegaConf.to_yaml(config))
    slots = zip(parts[::2], map(int, parts[1::2]), strict=True)
    return [*((text, index, paths[index]) for text, index in slots), (end, None, ())]


def _filled(slots: list[Slot], values: Sequence[Any]) -> str:
    return "".join(text if i is None else text + _value_text(path, values[i]) for text, i, path in slots)


def _value_text(path: tuple[str, ...], value: Any) -> str:
    """What OmegaConf writes after the colon of a key, up to the end of the line or of the list."""
    if type(value) is int or (isinstance(value, str) and BARE.fullmatch(value)):
        return f" {value}\n"
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return f" '{value}'\n"
    if isinstance(value, tuple) and value:
        dash = _emitted(path, ("a=",), "")[: -len("a=\n")]
        items = (dash + item if BARE.fullmatch(item) else _emitted(path, (item,), item)[:-1] for item in value)
        return ("" if path else "\n").join(items) + "\n"
    return _emitted(path, value, repr(value))


@lru_cache(maxsize=10_000, typed=True)
def _emitted(path: tuple[str, ...], value: Any, exactly: str) -> str:
    """The value in its place, on which line breaks depend. ``exactly`` makes 0.0 and -0.0 two entries of the cache."""
    config = reduce(lambda inner, name: {name: inner}, reversed(path), value)
    return OmegaConf.to_yaml(OmegaConf.create(config)).split(":", len(path))[-1]
