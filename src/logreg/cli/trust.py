"""Which packages' classes a configuration may name."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hydra.experimental.callback import Callback
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from logreg.core.components import check_target, check_targets
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


def check_callbacks(config: DictConfig, trusted: Sequence[str]) -> None:
    """Hold the callbacks of Hydra's own, which a configuration file may add, against the packages on the allow-list.

    Raises:
        UserError: one is of another package, or no callback.
    """
    for name, node in (config.hydra.get("callbacks") or {}).items():
        check_targets(OmegaConf.to_container(node), ["hydra", *trusted], f"hydra.callbacks.{name}")
        target = str(node.get("_target_"))
        check_target(target, "hydra.callbacks", ["hydra", *trusted])
        cls = get_object(target)
        if not (isinstance(cls, type) and issubclass(cls, Callback)):
            raise UserError(f"hydra.callbacks: {target} is not derived from Hydra's Callback.")
