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
import hydra.utils
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from logreg.cli import interpolations  # noqa: F401
from logreg.cli.directories import started_sweep
from logreg.cli.explain import choices_of, explain, group_names
from logreg.core import settings
from logreg.core.errors import UserError
from logreg.core.settings import CONF

EXAMPLES = {
    "run": "a run directory is needed, as in run=outputs/runs/<name>/<run>",
    "data.path": "a table is needed, as in data.path=churn.csv, or a folder of photos by class, as in data.path=photos",
    "output": "a file is needed, as in output=predictions.csv",
    "format": "one of sklearn, onnx, torch is needed",
}


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
            _guard_hydra(trusted_packages())
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


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values.

    Raises:
        UserError: an interpolation leads nowhere, or a value is missing.
    """
    try:
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = str(error.full_key)
        raise UserError(f"{key}: {EXAMPLES.get(key, f'a value is needed, as in {key}=…')}.") from error
    except InterpolationKeyError as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}.") from error
    except OmegaConfBaseException as error:
        raise UserError(" ".join(str(error).split())) from error
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def trusted_packages() -> list[str]:
    """The packages that the command line trusts.

    The command line itself is read, not the configuration: no file can put a package on that list.

    Raises:
        UserError: the value is not a list of names.
    """
    names: list[str] = []
    for argument in sys.argv[1:]:
        key, _, value = argument.lstrip("+").partition("=")
        if key == "trusted_packages":
            names = [name.strip() for name in value.strip("[]").split(",") if name.strip()]
            if not value.startswith("[") or not all(name.isidentifier() for name in names):
                raise UserError(f"{argument}: a list of package names is needed, such as [mypackage].")
    return names


def _guard_hydra(trusted: list[str]) -> None:
    """Hold the callbacks of Hydra's own, which a configuration file may add, against the packages on the allow-list."""
    original = hydra.utils.instantiate

    def instantiate(config: Any, *args: Any, **kwargs: Any) -> Any:
        settings.check_target(str(config.get("_target_")), "hydra.callbacks", ["hydra", *trusted])
        cls = hydra.utils.get_object(config["_target_"])
        if not (isinstance(cls, type) and issubclass(cls, Callback)):
            raise UserError(f"hydra.callbacks: {config['_target_']} is not derived from Hydra's Callback.")
        return original(config, *args, **kwargs)

    hydra.utils.instantiate = instantiate


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
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = hydra.compose(config_name=name, overrides=overrides, return_hydra_config=True)
    text, chosen = config.hydra.help, config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
    groups = [group for group in group_names() if group in chosen]
    lines = [f"{group}: {', '.join(choices_of(group))}" for group in groups]
    if lines:
        lines = ["", "== Groups and their choices (group=choice) ==", *lines]
    parts = [text.header, *lines, "", "== Keys (key=value) ==", OmegaConf.to_yaml(config), text.footer]
    return "\n".join(part.rstrip() if part else "" for part in parts)
