"""A script's `main`: Hydra as the command line, errors in a sentence.

Nothing heavy is imported here, so that ``--help`` and a mistyped key are answered at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf, open_dict

from logreg.cli.configuration import compose
from logreg.cli.directories import started_sweep
from logreg.cli.explain import choices_of, explain, group_names
from logreg.cli.trust import guard_hydra, trusted_packages
from logreg.cli.vocabulary import check_vocabulary
from logreg.core.errors import UserError
from logreg.core.settings import CONF


def command(
    name: str, task: Callable[[DictConfig], Any], after_sweep: Callable[[Path, bool], int] | None = None
) -> Callable[[], None]:
    """A command line for ``task``, configured by ``conf/<name>.yaml``.

    Exit status: 0 if all went well, 1 after an error (one sentence on stderr; the traceback too with
    ``HYDRA_FULL_ERROR=1``) or a failed job, 130 after Ctrl-C.

    Args:
        after_sweep: called with the sweep's directory once its jobs are over, and whether all of them were run; returns
            how many of them failed.
    """

    def main() -> None:
        full = os.environ.get("HYDRA_FULL_ERROR") == "1"
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its errors on instead of printing them
        failed = 0
        try:
            _refuse_dashes(sys.argv[1:])
            sys.argv[1:] = [_json_as_text(argument) for argument in sys.argv[1:]]
            if {"--help", "-h"} & set(sys.argv[1:]):
                print(_help(name))
                sys.exit(0)
            if name == "train":
                check_vocabulary(sys.argv[1:])
            guard_hydra(trusted_packages())
            errors: list[Exception] = []
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(_catching(task, errors))()
            if errors:
                raise errors[0]
        except KeyboardInterrupt:
            status = 130
        except Exception as error:
            if full:
                raise
            print(f"error: {explain(error, name)}", file=sys.stderr)
            status = 1
        else:
            status = 0
        sweep = started_sweep()
        if (
            after_sweep is not None
            and sweep is not None
            and sweep.directory.is_dir()
            and not sweep.is_unchanged(status)
        ):
            try:
                failed = after_sweep(sweep.directory, status == 0)
            except Exception as error:
                if full:
                    raise
                print(f"error: {explain(error, name)}", file=sys.stderr)
                status = status or 1
        sys.exit(status or min(failed, 1))

    return main


def _catching(task: Callable[[DictConfig], Any], errors: list[Exception]) -> Callable[[DictConfig], Any]:
    """The task, its errors put aside: Hydra adds a line of its own to those that it sees."""

    def caught(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except Exception as error:
            errors.append(error)
            return None

    return caught


def _refuse_dashes(arguments: list[str]) -> None:
    """``--lr 0.1`` is what newcomers type, and argparse's answer to it is a page long."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    known = {option for action in parser._actions for option in action.option_strings}
    for argument in arguments:
        flag = argument.split("=")[0]
        if argument.startswith("--") and flag not in known:
            key = flag.lstrip("-").replace("-", "_")
            raise UserError(f"{flag}: settings are written without dashes, as {key}=value; --help lists them.")


def _json_as_text(argument: str) -> str:
    """``data.labels={"<=50K.":0}`` as Hydra can read it: its own mappings have no quotes around keys."""
    key, _, value = argument.partition("=")
    if key != "data.labels" or not (value.startswith("{") and '"' in value):
        return argument
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"


def _help(name: str) -> str:
    """What ``--help`` prints; Hydra's own page takes longer to make than everything else together."""
    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    config = compose(name, overrides, with_hydra=True)
    text, chosen = config.hydra.help, config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
    groups = [group for group in group_names() if group in chosen]
    lines = [f"{group}: {', '.join(choices_of(group))}" for group in groups]
    if lines:
        lines = ["", "== Groups and their choices (group=choice) ==", *lines]
    parts = [text.header, *lines, "", "== Keys (key=value) ==", OmegaConf.to_yaml(config), text.footer]
    return "\n".join(part.rstrip() if part else "" for part in parts)
