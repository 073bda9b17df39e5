"""What every command shares: Hydra as the command line, directories that belong to one run, errors in a sentence.

Nothing heavy is imported here, so that ``--help`` and a mistyped key are answered at once.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import hydra.utils
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from logreg import settings
from logreg.errors import UserError, nearest
from logreg.runs import RECORD
from logreg.settings import CONF

LONGEST_DIRECTORY_NAME = 100
INTERNAL_GROUPS = ("hydra", "reading", "requirements")  # not for users to choose from
EXAMPLES = {
    "run": "a run directory is needed, as in run=outputs/runs/<name>/<run>",
    "data.path": "a table is needed, as in data.path=churn.csv, or a folder of photos by class, as in data.path=photos",
    "output": "a file is needed, as in output=predictions.csv",
    "format": "one of sklearn, onnx, torch is needed",
}

# Sections of the configuration, and overrides, that say how a sweep is run.
SECTIONS_OF_THE_SWEEP = ("vectorized", "path")
OF_THE_SWEEP = ("sweep.resume=", *(f"{section}." for section in SECTIONS_OF_THE_SWEEP))

_unique = secrets.token_hex(3)


@dataclass
class _Sweep:
    """The sweep of this command; Hydra's callbacks have no other way to hand it over.

    Attributes:
        lock: held as long as the process lives.
    """

    directory: Path
    resumed: bool
    dry: bool
    lock: Any


_sweep: _Sweep | None = None


def _job_directory(number: int, overrides: str) -> str:
    """``<job number>_<overrides>``, on one level and not too long for a file name."""
    name = re.sub(r"[^\w.,=+-]+", "-", f"{number}_{overrides}")
    encoded = name.encode()[:LONGEST_DIRECTORY_NAME].decode(errors="ignore")
    return encoded.rstrip("_,-=")


def _logarithmic_grid(smallest: float, largest: float, points: int) -> str:
    """Numbers at equal ratios, as a sweep takes them."""
    for key, value in (("smallest", smallest), ("largest", largest), ("points", points)):
        settings.check({"path": {key: value}}, only=f"path.{key}")
    if points == 1:
        return f"{largest:.6g}"
    ratio = largest / smallest
    return ",".join(f"{smallest * ratio ** (i / (points - 1)):.6g}" for i in range(points))


OmegaConf.register_new_resolver("logarithmic_grid", _logarithmic_grid, replace=True)
OmegaConf.register_new_resolver("unique", lambda: _unique, replace=True)
OmegaConf.register_new_resolver("job_directory", _job_directory, replace=True)
# What Optuna calls it.
OmegaConf.register_new_resolver("direction", lambda mode: {"max": "maximize"}.get(mode, "minimize"), replace=True)


class ClaimDirectories(Callback):
    """Hydra callback: the directory of a run or a sweep is created by the run or sweep itself, and by no other.

    Errors leave as `SystemExit`, since Hydra turns exceptions of a callback into warnings.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if config.get("sweep", {}).get("resume") is not None:
            sys.exit("error: sweep.resume completes a sweep: add -m, and the settings that it was started with.")
        if config.get("vectorized", {}).get("dry_run"):
            sys.exit("error: vectorized.dry_run says what a sweep would do: add -m.")
        if searches(config):
            sys.exit("error: hydra/sweeper=optuna searches in a sweep: add -m.")
        claim_directory(config, "run", holds=RECORD)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        global _sweep
        resumed = config.get("sweep", {}).get("resume")
        together = str(config.hydra.launcher.get("_target_")).endswith(".VectorizedLauncher")
        dry = config.get("vectorized", {}).get("dry_run")
        for key, asked in (("sweep.resume", resumed), ("vectorized.dry_run", dry)):
            if asked and not together:
                sys.exit(f"error: {key}: this is what hydra/launcher=vectorized does; leave the other launcher out.")
        if dry and searches(config):
            sys.exit(
                "error: vectorized.dry_run: Optuna draws each batch after the results of the one before; leave it out."
            )
        if together:  # they are no settings of the jobs
            _check_sweep(config)
            with open_dict(config):
                task = config.hydra.overrides.task
                config.hydra.overrides.task = [o for o in task if not str(o).lstrip("+").startswith(OF_THE_SWEEP)]
        if resumed is None:
            directory = claim_directory(config, "sweep", holds="multirun.yaml")
        else:
            directory = resume_directory(config, str(resumed))
        _sweep = _Sweep(directory, resumed is not None, bool(dry), _locked(directory))
        # Every job composes its own configuration, in which `name`, and so the sweep's directory, may be another one.
        quoted = str(directory).replace("\\", "\\\\").replace("'", "\\'")
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")


def searches(config: DictConfig) -> bool:
    """Whether Optuna is to choose the jobs."""
    return "optuna" in str(config.hydra.sweeper.get("_target_"))


def _locked(sweep: Path) -> Any:
    """A lock on a sweep's directory: two commands that write the same jobs would leave neither's."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file = (sweep / "multirun.yaml").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"error: sweep.resume={sweep}: another command is at work there; wait until it is over.")
    except OSError:  # a file system without locks
        return None
    return file


def _check_sweep(config: DictConfig) -> None:
    """Look at the settings of the sweep itself, which no job has."""
    for override in config.hydra.overrides.task:
        key, _, value = str(override).lstrip("+").partition("=")
        if key.partition(".")[0] in SECTIONS_OF_THE_SWEEP and ("," in value or value.startswith("range(")):
            sys.exit(f"error: {key}={value}: this is a setting of the whole sweep; give one value.")
    try:
        settings.check({name: OmegaConf.to_container(config[name]) for name in SECTIONS_OF_THE_SWEEP if name in config})
    except UserError as error:
        sys.exit(f"error: {error}")


def resume_directory(config: DictConfig, resumed: str) -> Path:
    """Make ``sweep.resume`` the directory of this sweep."""
    directory = Path(resumed)
    if not (directory / "multirun.yaml").is_file():
        sys.exit(f"error: sweep.resume={resumed}: this is not the directory of a sweep; it has no multirun.yaml.")
    with open_dict(config):
        config.hydra.sweep.dir = str(directory)
    return directory


def claim_directory(config: DictConfig, kind: str, holds: str) -> Path:
    """Create ``hydra.<kind>.dir`` exclusively; a name made up here is made up again where it is taken."""
    try:
        settings.check({"name": config.get("name", "run")}, only="name")
    except (UserError, OmegaConfBaseException) as error:
        sys.exit(f"error: {error}")
    node = config.hydra[kind]
    own_name = "unique:" in str(OmegaConf.to_container(node)["dir"])  # type: ignore[index, call-overload]
    directory = Path(str(node.dir))
    while not _created(directory, kind) and own_name:
        directory = directory.with_name(f"{directory.name[:-6]}{secrets.token_hex(3)}")
    try:  # whoever creates this file owns the directory, also where the directory itself was there before
        with (directory / holds).open("x", encoding="utf-8") as file:
            file.write("{}\n")
    except FileExistsError:
        sys.exit(f"error: hydra.{kind}.dir={directory} already holds a {kind}; give another directory.")
    except OSError as error:
        sys.exit(
            f"error: hydra.{kind}.dir={directory} cannot be written to ({error.strerror}); give another directory."
        )
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
        sys.exit(
            f"error: hydra.{kind}.dir={directory} cannot be created ({error.strerror}: {error.filename}); "
            "give a directory that can be written to."
        )
    return True


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
        if (
            after_sweep is not None
            and _sweep is not None
            and _sweep.directory.is_dir()
            and not _unchanged(_sweep, status)
        ):
            try:
                failed = after_sweep(_sweep.directory, status == 0)
            except Exception as error:
                if full:
                    raise
                print(f"error: {explain(error, name)}", file=sys.stderr)
                status = status or 1
        sys.exit(status or min(failed, 1))

    return main


def _unchanged(sweep: _Sweep, status: int) -> bool:
    """Whether an earlier sweep is as it was: nothing was run in it, or what was asked for was refused."""
    return sweep.resumed and (status == 1 or sweep.dry)


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
    text, choices = config.hydra.help, config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
    groups = [group for group in _groups() if group in choices]
    lines = [f"{group}: {', '.join(_choices(group))}" for group in groups]
    if lines:
        lines = ["", "== Groups and their choices (group=choice) ==", *lines]
    parts = [text.header, *lines, "", "== Keys (key=value) ==", OmegaConf.to_yaml(config), text.footer]
    return "\n".join(part.rstrip() if part else "" for part in parts)


def explain(error: Exception, name: str) -> str:
    """One or two sentences for an error of the user's, or of ours."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).partition("/")
        if group == "hydra":
            group, _, choice = str(error.missing_cfg_file).rpartition("/")
        options = _choices(group) or sorted(error.options)
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
    if inside:
        return _unknown_key(inside.group(1), name, error)
    unknown = re.search(r"Could not override '([^']+)'|Could not delete from config\. '([^']+)'", text)
    if unknown:
        key = unknown.group(1) or unknown.group(2)
        return _unknown_key(key, name, error)
    if "Config group override must be" in text:
        given = [argument.partition("=")[0] for argument in sys.argv[1:] if argument.endswith(("=null", "="))]
        key = next((key for key in given if _choices(key)), "a group")
        return f"{key}=null: a group takes the name of one of its files; valid: {', '.join(_choices(key))}."
    sweep = re.search(r"Ambiguous value for argument '([^']+)'|Sweep parameters '([^']+)'", text)
    if sweep:
        return f"{sweep.group(1) or sweep.group(2)}: several values make a sweep; add -m, or write a list as key=[a,b]."
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


def _unknown_key(key: str, name: str, error: Exception) -> str:
    known = list(_known_keys(name))
    cause = str(error.__cause__ or "")
    if key in known:  # the key is there, so its value is what did not fit
        return f"{key}: {' '.join((cause or str(error)).split())}"
    if key.startswith("data.") and name == "train" and key in _keys_of_tables():
        return f"{key}: this key is one of data=table; add data=table."
    if key in _HINTS:
        return f"{key}: there is no such key (did you mean {_HINTS[key]}?)."
    return f"{key}: there is no such key{nearest(key, known)}; --cfg job shows all of them."


def _keys_of_tables() -> list[str]:
    return [f"data.{key}" for key in OmegaConf.load(CONF / "data" / "table.yaml").data]


def _groups() -> list[str]:
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in INTERNAL_GROUPS)


def _choices(group: str) -> list[str]:
    folder = CONF / group  # empty for a group of Hydra's own
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.yaml"))


def _known_keys(name: str) -> Iterator[str]:
    """The groups and keys of a command, with the choices of groups that were given on the command line."""
    groups = _groups()
    yield from groups
    given = [argument for argument in sys.argv[1:] if argument.split("=")[0] in groups and "," not in argument]
    for overrides in (given, []):
        try:
            with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
                config = hydra.compose(config_name=name, overrides=overrides)
            break
        except Exception:  # the groups themselves are what is wrong
            continue
    else:
        return
    yield from _keys(OmegaConf.to_container(config))


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")
