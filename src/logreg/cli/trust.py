"""Which packages' classes a configuration may name."""

from __future__ import annotations

import sys
from typing import Any

import hydra
import hydra.utils
from hydra.experimental.callback import Callback

from logreg.core.components import check_target
from logreg.core.errors import UserError


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


def guard_hydra(trusted: list[str]) -> None:
    """Hold the callbacks of Hydra's own, which a configuration file may add, against the packages on the allow-list."""
    original = hydra.utils.instantiate

    def instantiate(config: Any, *args: Any, **kwargs: Any) -> Any:
        check_target(str(config.get("_target_")), "hydra.callbacks", ["hydra", *trusted])
        cls = hydra.utils.get_object(config["_target_"])
        if not (isinstance(cls, type) and issubclass(cls, Callback)):
            raise UserError(f"hydra.callbacks: {config['_target_']} is not derived from Hydra's Callback.")
        return original(config, *args, **kwargs)

    hydra.utils.instantiate = instantiate
