"""A script's `main`: Hydra as the command line, errors in a sentence.

Nothing heavy is imported here, so that ``--help`` and a mistyped key are answered at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from logreg.cli._compat import Prepare, known_options, run_hydra
from logreg.cli.configuration import compose
from logreg.cli.directories import StartedSweep, claim_run, claim_sweep
from logreg.cli.explain import check_keys, choices_of, explain, group_names
from logreg.cli.trust import check_callbacks, trusted_packages
from logreg.cli.vocabulary import check_vocabulary
from logreg.core.errors import UserError
from logreg.core.settings import CONF


def command(
    name: str, task: TaskFunction, after_sweep: Callable[[Path, bool], int] | None = None
) -> Callable[[], None]:
    """A command line for ``task``, configured by ``conf/<name>.yaml``.

    Exit status: 0 if all went well, 1 after an error (one sentence on stderr; the traceback too with
    ``HYDRA_FULL_ERROR=1``) or a failed job, 130 after Ctrl-C.

    Args:
        after_sweep: called with the sweep's directory once its jobs are over, and whether all of them were run; returns
            how many of them failed. A command that has it runs in directories of its own.
    """

    def main() -> None:
        sweeps: list[StartedSweep] = []
        failed: list[int] = []

        def prepare(config: DictConfig, mode: RunMode) -> None:
            """What is checked and claimed before Hydra makes anything of the configuration."""
            check_callbacks(config, trusted_packages())
            if name == "train":
                check_keys(config)
            if after_sweep is not None and mode is RunMode.RUN:
                claim_run(config)
            elif after_sweep is not None:
                sweeps.append(claim_sweep(config))

        def finish(sweep: StartedSweep) -> None:
            if after_sweep is not None:
                failed.append(after_sweep(sweep.directory, status == 0))

        status = _status_of(partial(_run, name, task, prepare), name)
        for sweep in sweeps:  # one at most
            if sweep.directory.is_dir() and not sweep.is_unchanged(status):
                end = _status_of(partial(finish, sweep), name)
                status = status or end
        sys.exit(status or min(sum(failed), 1))

    return main


def _status_of(action: Callable[[], None], name: str) -> int:
    """The exit status of an action of a command, whose error is printed as one sentence."""
    try:
        action()
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {explain(error, name)}", file=sys.stderr)
        return 1
    return 0


def _run(name: str, task: TaskFunction, prepare: Prepare) -> None:
    _refuse_dashes(sys.argv[1:])
    sys.argv[1:] = [_json_as_text(argument) for argument in sys.argv[1:]]
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(_help(name))
        sys.exit(0)
    check_vocabulary(sys.argv[1:], name)
    trusted_packages()  # which refuses what is no list of names
    errors: list[Exception] = []

    def catching(cfg: DictConfig) -> object:
        try:
            return task(cfg)
        except Exception as error:  # Hydra adds a line of its own to those that it sees
            errors.append(error)
            return None

    run_hydra(catching, name, CONF, prepare)
    if errors:
        raise errors[0]


def _refuse_dashes(arguments: list[str]) -> None:
    """``--lr 0.1`` is what newcomers type, and argparse's answer to it is a page long."""
    known = known_options()
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
