"""Every private name of Hydra and OmegaConf that this project needs.

``tests/cli/test_compat.py`` says of each what breaks when it changes. Written for hydra-core 1.3 and omegaconf 2.3.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import hydra
from hydra import version
from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode, TaskFunction
from omegaconf import AnyNode, DictConfig

from logreg.core.errors import UserError

if TYPE_CHECKING:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

__all__ = ["BasicSweeper", "get_overrides_dirname"]

VERSION_BASE = "1.3"
Prepare = Callable[[DictConfig, RunMode], None]


def __getattr__(name: str) -> type:
    """`BasicSweeper`, when it is asked for: Hydra's scanner executes the module of an imported plugin once more, after
    which an earlier class is not the one that its own methods mean.
    """
    if name != "BasicSweeper":
        raise AttributeError(name)
    from hydra._internal.core_plugins import basic_sweeper

    return basic_sweeper.BasicSweeper


# --- the command line -------------------------------------------------------------------------------------------------


class PreparedHydra(Hydra):
    """Hydra that hands over its configuration before it makes anything of it, callbacks included.

    Attributes:
        prepare: called once with the configuration of the run or sweep; what it raises ends the command.
    """

    prepare: Prepare

    def __getstate__(self) -> dict[str, object]:
        """Without ``prepare``: launchers send Hydra to their workers, and the lock of a sweep cannot be sent."""
        return {name: value for name, value in vars(self).items() if name != "prepare"}

    def compose_config(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        with_log_configuration: bool = False,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        config = super().compose_config(
            config_name, overrides, run_mode, with_log_configuration, from_shell, validate_sweep_overrides
        )
        if with_log_configuration:  # else the configuration is looked at alone
            self.prepare(config, run_mode)
        return config


def run_hydra(task: TaskFunction, name: str, conf: Path, prepare: Prepare) -> None:
    """`hydra.main` for the command line of this process, but that ``prepare`` sees the configuration first.

    Errors are raised, where `hydra.main` prints them and exits.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args()  # -m may stand between keys
    if args.cfg or args.info or args.hydra_help or args.shell_completion or args.experimental_rerun:  # runs no callback
        sys.argv[1:] = [*(each for each in sys.argv[1:] if each not in args.overrides), *args.overrides]
        hydra.main(version_base=VERSION_BASE, config_path=str(conf), config_name=name)(task)()
        return
    version.setbase(VERSION_BASE)
    search_path = create_config_search_path(str(conf.parent / (args.config_path or conf)))
    if args.config_dir is not None:
        directory = Path(args.config_dir).resolve()
        search_path.prepend("command-line", f"file://{directory}", SearchPathQuery(provider="schema"))
    name, overrides = args.config_name or name, args.overrides
    own = PreparedHydra.create_main_hydra2(task_name=name, config_search_path=search_path)
    assert isinstance(own, PreparedHydra)
    own.prepare = prepare
    try:
        mode = own.get_mode(config_name=name, overrides=overrides)  # None unless the configuration has hydra.mode
        if mode is None or (args.multirun and mode is RunMode.RUN):
            mode = RunMode.MULTIRUN if args.multirun else RunMode.RUN
            overrides.append(f"hydra.mode={mode.name}")
        run = own.run if mode is RunMode.RUN else own.multirun
        run(config_name=name, task_function=task, overrides=overrides)
    finally:
        GlobalHydra.instance().clear()


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}; settings are written as key=value, and --hydra-help shows the options.")


def known_options() -> set[str]:
    """The options of Hydra's command line, such as ``--multirun``."""
    return {option for action in get_args_parser()._actions for option in action.option_strings}


# --- the jobs of a sweep ----------------------------------------------------------------------------------------------


class GroupRepository(Protocol):
    """Where Hydra looks for the files of a group."""

    def group_exists(self, config_path: str) -> bool: ...


def repository_of(loader: ConfigLoader, config_name: str, overrides: list[str]) -> GroupRepository:
    """The configuration files that a loader finds; they are read once."""
    caching: Any = loader
    return caching._parse_overrides_and_create_caching_repo(config_name, overrides)[1]


def with_integer(override: Override, value: int, line: str) -> Override:
    """An override of the same key with another integer, without Hydra's parser."""
    return dataclasses.replace(override, _value=value, input_line=line)


def untyped_leaf(config: DictConfig, key: str) -> AnyNode | None:
    """The node of a dotted key if it is an untyped value reached through mappings alone; nothing is resolved."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, DictConfig) or not isinstance(node._content, dict):
            return None
        node = node._get_node(part)
    return node if type(node) is AnyNode else None


def content_of(node: Any) -> Any:
    """What a node holds: nodes, or its own value with its interpolations as they are."""
    return node._value()


def returned(overrides: Sequence[str], value: float | None) -> JobReturn:
    """What a launcher gives back for a job that was run."""
    return JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=value)
