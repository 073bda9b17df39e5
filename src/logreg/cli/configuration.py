"""What Hydra composes, and the same as plain values; and what the files in ``conf`` compute."""

from __future__ import annotations

import functools
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from logreg.core.components import check_targets
from logreg.core.consistency import check_together
from logreg.core.errors import UserError
from logreg.core.optimizer_traits import AUTO_OPTIMIZER, requirements_of
from logreg.core.rules import check_names
from logreg.core.settings import CONF, Settings, check_values, complete

EXAMPLES = {
    "run": "a run directory is needed, as in run=outputs/runs/<name>/<run>",
    "data.path": "a table is needed, as in data.path=churn.csv, or a folder of photos by class, as in data.path=photos",
    "output": "a file is needed, as in output=predictions.csv",
    "format": "one of sklearn, onnx, torch is needed",
}


def compose(name: str, overrides: Sequence[str] = (), with_hydra: bool = False) -> DictConfig:
    """The configuration ``conf/<name>.yaml`` with overrides.

    Args:
        with_hydra: with Hydra's own part of it.
    """
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return hydra.compose(config_name=name, overrides=list(overrides), return_hydra_config=with_hydra)


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


def parse(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> Settings:
    """The settings of a resolved configuration by all rules; a user's data and optimizer alone are imported for it.

    Args:
        trusted: packages besides `logreg.core.components.PACKAGES` whose classes it may name.

    Raises:
        UserError: names a key whose value is not valid, or values that do not go together.
    """
    config = complete(config)
    check_values(config)
    settings = Settings.of(config)
    check_targets(config, trusted)
    settings = replace(settings, data=settings.data.derived(trusted))
    settings.data.check()
    check_arguments(settings)
    check_together(settings, trusted)
    return settings


@functools.cache
def _definitions() -> dict[str, Any]:
    definitions: dict[str, Any] = json.loads((CONF / "schema.json").read_text(encoding="utf-8"))["definitions"]
    return definitions


def check_arguments(settings: Settings) -> None:
    """Hold the arguments of the Trainer and of this project's classes against their names in the schema of conf.

    Raises:
        UserError: there is no such argument.
    """
    callbacks = {f"callbacks.{name}": callback for name, callback in settings.callbacks.items()}
    parts = {"model": settings.model, "optimizer": settings.optimizer, "trainer": settings.trainer.component}
    for key, part in (parts | callbacks).items():
        is_known = part.target.startswith(("logreg.", "lightning.pytorch.Trainer")) and part.target != AUTO_OPTIMIZER
        if is_known and (definition := _definitions().get(part.target)):
            known = [name for name in definition["properties"] if name != "defaults" and not name.startswith("_")]
            problem = f"{part.target.rpartition('.')[2]} takes no such argument"
            check_names(part.without("_args_").arguments, known, key, problem)


LONGEST_DIRECTORY_NAME = 100

_unique = secrets.token_hex(3)


def job_directory(number: int, overrides: str) -> str:
    """``<job number>_<overrides>``, on one level and not too long for a file name."""
    name = re.sub(r"[^\w.,=+-]+", "-", f"{number}_{overrides}")
    encoded = name.encode()[:LONGEST_DIRECTORY_NAME].decode(errors="ignore")
    return encoded.rstrip("_,-=")


def logarithmic_grid(smallest: float, largest: float, points: int) -> str:
    """Numbers at equal ratios, as a sweep takes them."""
    check_values({"path": {"smallest": smallest, "largest": largest, "points": points}})
    if points == 1:
        return f"{largest:.6g}"
    ratio = largest / smallest
    return ",".join(f"{smallest * ratio ** (i / (points - 1)):.6g}" for i in range(points))


OmegaConf.register_new_resolver("logarithmic_grid", logarithmic_grid, replace=True)
# Of the group of this name, which file an optimizer needs.
OmegaConf.register_new_resolver("requirements", requirements_of, replace=True)
OmegaConf.register_new_resolver("unique", lambda: _unique, replace=True)
OmegaConf.register_new_resolver("job_directory", job_directory, replace=True)
# What Optuna calls it.
OmegaConf.register_new_resolver("direction", lambda mode: {"max": "maximize"}.get(mode, "minimize"), replace=True)
