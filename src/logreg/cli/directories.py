"""Directories that belong to one run or one sweep."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from logreg.core.errors import UserError
from logreg.core.rules import as_typed
from logreg.core.settings import check_values
from logreg.records.record import RECORD

# Sections of the configuration, and overrides, that say how a sweep is run.
SECTIONS_OF_THE_SWEEP = ("vectorized", "path")
OF_THE_SWEEP = ("sweep.resume=", *(f"{section}." for section in SECTIONS_OF_THE_SWEEP))


@dataclass(frozen=True)
class StartedSweep:
    """The sweep of this command.

    Attributes:
        lock: held as long as the process lives.
    """

    directory: Path
    resumed: bool
    dry: bool
    lock: FileLock

    def is_unchanged(self, status: int) -> bool:
        """Whether an earlier sweep is as it was: nothing was run in it, or what was asked for was refused."""
        return self.resumed and (status == 1 or self.dry)


class ClaimDirectories(Callback):
    """What the configurations of version 0.1.0 name; `claim_run` and `claim_sweep` are called before callbacks are."""


def claim_run(config: DictConfig) -> None:
    """Create the directory of a run, which no other run has.

    Raises:
        UserError: it is another's, or cannot be created; or something was asked for that only a sweep does.
    """
    _check_groups(config)
    if config.get("sweep", {}).get("resume") is not None:
        raise UserError("sweep.resume completes a sweep: add -m, and the settings that it was started with.")
    if config.get("vectorized", {}).get("dry_run"):
        raise UserError("vectorized.dry_run says what a sweep would do: add -m.")
    if searches(config):
        raise UserError("hydra/sweeper=optuna searches in a sweep: add -m.")
    claim_directory(config, "run", holds=RECORD)


def claim_sweep(config: DictConfig) -> StartedSweep:
    """Create the directory of a sweep, or take that of the one that is to be completed.

    Raises:
        UserError: it is another's, or cannot be created; or a setting of the sweep is not valid.
    """
    _check_groups(config)
    resumed = config.get("sweep", {}).get("resume")
    together = str(config.hydra.launcher.get("_target_")).endswith(".VectorizedLauncher")
    dry = config.get("vectorized", {}).get("dry_run")
    for key, asked in (("sweep.resume", resumed), ("vectorized.dry_run", dry)):
        if asked and not together:
            raise UserError(f"{key}: this is what hydra/launcher=vectorized does; leave the other launcher out.")
    if dry and searches(config):
        raise UserError(
            "vectorized.dry_run: Optuna draws each batch after the results of the one before; leave it out."
        )
    if together:  # they are no settings of the jobs
        _check_sweep(config)
        with open_dict(config):
            task = config.hydra.overrides.task
            config.hydra.overrides.task = [o for o in task if not str(o).lstrip("+").startswith(OF_THE_SWEEP)]
    if resumed is None:
        directory = claim_directory(config, "sweep", holds="multirun.yaml")
    else:
        directory = Path(str(resumed))
        if not (directory / "multirun.yaml").is_file():
            raise UserError(f"sweep.resume={resumed}: this is not the directory of a sweep; it has no multirun.yaml.")
        with open_dict(config):
            config.hydra.sweep.dir = str(directory)
    sweep = StartedSweep(directory, resumed is not None, bool(dry), _locked(directory))
    # Every job composes its own configuration, in which `name`, and so the sweep's directory, may be another one.
    quoted = str(directory).replace("\\", "\\\\").replace("'", "\\'")
    config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")
    return sweep


def _check_groups(config: DictConfig) -> None:
    for group in ("sweep", *SECTIONS_OF_THE_SWEEP):
        if group in config and not OmegaConf.is_dict(config[group]):
            raise UserError(f"{group}={as_typed(config[group])}: its keys are set one by one; --help shows them.")


def searches(config: DictConfig) -> bool:
    """Whether Optuna is to choose the jobs."""
    return "optuna" in str(config.hydra.sweeper.get("_target_"))


def _locked(sweep: Path) -> FileLock:
    """A lock on a sweep's directory: two commands that write the same jobs would leave neither's."""
    lock = FileLock(sweep / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"sweep.resume={sweep}: another command is at work there; wait until it is over.") from error
    except OSError:  # a file system without locks
        pass
    return lock


def _check_sweep(config: DictConfig) -> None:
    """Look at the settings of the sweep itself, which no job has."""
    for override in config.hydra.overrides.task:
        key, _, value = str(override).lstrip("+").partition("=")
        if key.partition(".")[0] in SECTIONS_OF_THE_SWEEP and ("," in value or value.startswith("range(")):
            raise UserError(f"{key}={value}: this is a setting of the whole sweep; give one value.")
    check_values({name: dict(config[name]) for name in SECTIONS_OF_THE_SWEEP if name in config})


def claim_directory(config: DictConfig, kind: str, holds: str) -> Path:
    """Create ``hydra.<kind>.dir`` exclusively; a name made up here is made up again where it is taken."""
    try:
        check_values({"name": config.get("name", "run")})
    except OmegaConfBaseException as error:
        raise UserError(str(error)) from error
    node = config.hydra[kind]
    own_name = "unique:" in str(OmegaConf.to_container(node)["dir"])  # type: ignore[index, call-overload]
    directory = Path(str(node.dir))
    while not _created(directory, kind) and own_name:
        directory = directory.with_name(f"{directory.name[:-6]}{secrets.token_hex(3)}")
    try:  # whoever creates this file owns the directory, also where the directory itself was there before
        with (directory / holds).open("x", encoding="utf-8") as file:
            file.write("{}\n")
    except FileExistsError as error:
        raise UserError(f"hydra.{kind}.dir={directory} already holds a {kind}; give another directory.") from error
    except OSError as error:
        raise UserError(
            f"hydra.{kind}.dir={directory} cannot be written to ({error.strerror}); give another directory."
        ) from error
    with open_dict(config):
        config.hydra[kind].dir = str(directory)
    return directory


def _created(directory: Path, kind: str) -> bool:
    """Whether the directory was created just now, rather than being there already."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir()
    except OSError as error:
        if isinstance(error, FileExistsError) and directory.is_dir():
            return False
        raise UserError(
            f"hydra.{kind}.dir={directory} cannot be created ({error.strerror}: {error.filename}); "
            "give a directory that can be written to."
        ) from error
    return True
