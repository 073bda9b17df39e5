"""One or two sentences for an error, with what would be valid."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from logreg.cli.configuration import compose
from logreg.cli.vocabulary import OWN_CONFIGURATION
from logreg.core.errors import UserError, nearest
from logreg.core.options import data
from logreg.core.settings import CONF, KEYS, RULES

INTERNAL_GROUPS = ("hydra", "reading", "requirements")  # not for users to choose from


def explain(error: Exception, name: str) -> str:
    """One or two sentences for an error of the user's, or of ours."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error.__cause__, UserError):  # which Hydra met when it made a sweeper
        return str(error.__cause__)
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).partition("/")
        if group == "hydra":
            group, _, choice = str(error.missing_cfg_file).rpartition("/")
        options = choices_of(group) or sorted(error.options)
        return f"{group}={choice}: there is no such choice{nearest(choice, options)}; valid: {', '.join(options)}."
    if isinstance(error, MissingConfigException):
        names = sorted(path.stem for path in CONF.glob("*.yaml"))
        return f"{error.missing_cfg_file}: there is no such configuration in {CONF}; valid: {', '.join(names)}."
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} cannot be read as an override: write key=value; special characters need two pairs "
            "of quotes, as in 'key=\"a;b\"'."
        )
    text = str(error)
    inside = re.search(r"is not in struct\s+full_key: (\S+)", f"{text} {error.__cause__}")
    if unknown := inside or re.search(r"(?:Could not override|Could not delete from config\.) '([^']+)'", text):
        return _unknown_key(unknown.group(1), name, error)
    if merged := re.match(r"Error merging override ((\S+?)=.*)", text):  # such as a list for a mapping
        rule = (RULES | data.rules()).get(merged.group(2))
        needed = f"{rule.words} is needed." if rule else "its keys are set one by one; --help shows them."
        return f"{merged.group(1)}: {needed}"
    pairs = [argument.lstrip("+").partition("=")[::2] for argument in sys.argv[1:]]
    wrong = [(key, value or "null") for key, value in pairs if choices_of(key) and value not in choices_of(key)]
    if "Config group override must be" in text or (isinstance(error, TypeError) and wrong):  # Hydra's, of a list
        key, value = wrong[0] if wrong else ("a group", "null")
        valid = ", ".join(choices_of(key))
        return f"{key}={value}: a group takes the name of one of its files, {valid}; its keys are set as {key}.<key>=…"
    if sweep := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", text):
        return f"{sweep.group(1)}: several values make a sweep; add -m, or write a list as key=[a,b]."
    if isinstance(error, HydraException | OmegaConfBaseException):
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        return " ".join(f"{text}{cause}".split())
    return f"{type(error).__name__}: {' '.join(text.split())} (HYDRA_FULL_ERROR=1 shows where)."


_HINTS = {
    "batch_size": "data.batch_size",
    "learning_rate": "lr",
    "max_epochs": "epochs",
    "device": "accelerator",
    "dataset": "data",
}


def check_keys(config: DictConfig) -> None:
    """Refuse a key of train.py's configuration, or one that a sweep adds to it, that nothing reads.

    Raises:
        UserError: the key is none of the settings, and no other key refers to it, as to a variable of a user's own.
    """
    task = [] if any(each.startswith(OWN_CONFIGURATION) for each in sys.argv) else config.hydra.overrides.task
    added = [match[1] for each in task if (match := re.match(r"\++([\w-]+)=", each))]  # own groups, where there are any
    unknown = [str(key) for key in (*config, *added) if key not in KEYS and key not in ("hydra", *group_names())]
    variables = re.findall(r"\$\{(?:oc\.\w+:)?\.*([\w-]+)", OmegaConf.to_yaml(config)) if unknown else []
    for key in unknown:
        if key not in variables:
            near = f" (did you mean {_HINTS[key]}?)" if key in _HINTS else nearest(key, sorted(KEYS))
            raise UserError(f"{key}: there is no such key{near}; one of your own is valid where another refers to it.")


def _unknown_key(key: str, name: str, error: Exception) -> str:
    typed = [argument.lstrip("+~").partition("=")[0] for argument in sys.argv[1:]]
    key = next((each for each in typed if each.startswith(f"{key}.")), key)  # Hydra stops at the first part it lacks
    known = list(_known_keys(name))
    cause = str(error.__cause__ or "")
    if key in known:  # the key is there, so its value is what did not fit
        return f"{key}: {' '.join((cause or str(error)).split())}"
    if name == "train" and (choices := list(_choices_with(key))):
        return f"{key}: this key is one of {', '.join(choices)}; add {'one of them' if choices[1:] else choices[0]}."
    if hint := _HINTS.get(key.rpartition(".")[2]):
        return f"{key}: there is no such key (did you mean {hint}?)."
    return f"{key}: there is no such key{nearest(key, known)}; --cfg job shows all of them."


def _choices_with(key: str) -> Iterator[str]:
    """The choices ``group=choice`` whose files have a key."""
    for group in group_names():
        for choice in choices_of(group):
            file = CONF / group / f"{choice}.yaml"
            prefix = "" if file.read_text(encoding="utf-8").startswith("# @package _global_") else f"{group}."
            if key in _keys(OmegaConf.to_container(OmegaConf.load(file)), prefix):
                yield f"{group}={choice}"


def group_names() -> list[str]:
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in INTERNAL_GROUPS)


def choices_of(group: str) -> list[str]:
    folder = CONF / group  # empty for a group of Hydra's own
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.yaml"))


def _known_keys(name: str) -> Iterator[str]:
    """The groups and keys of a command, with the choices of groups that were given on the command line."""
    groups = group_names()
    yield from groups
    given = [argument for argument in sys.argv[1:] if argument.split("=")[0] in groups and "," not in argument]
    for overrides in (given, []):
        with contextlib.suppress(Exception):  # the groups themselves are what is wrong
            yield from _keys(OmegaConf.to_container(compose(name, overrides)))
            return


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")
