"""What ``optimizer=auto`` stands for in a configuration, once data and penalty are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from logreg.errors import UserError
from logreg.settings import CONF

if TYPE_CHECKING:
    from logreg.optim.choice import Choice

TARGET = "logreg.choosing.Auto"


def is_auto(config: Mapping[str, Any]) -> bool:
    return config["optimizer"].get("_target_") == TARGET


def chosen_optimizer(
    config: Mapping[str, Any], data: Any, trusted: Sequence[str] = ()
) -> tuple[Choice, dict[str, Any]]:
    """The choice, and the ``optimizer`` node that it stands for.

    Raises:
        UserError: no solver is right: the model is not linear and the penalty not smooth, or the rows come batch by
            batch; or the right one has not a setting that was given.
    """
    from logreg.build import build_network
    from logreg.data.block_data import BlockData
    from logreg.data.rows import SparseRows
    from logreg.objective import linear_coefficients
    from logreg.optim.choice import choose

    if not isinstance(data, BlockData):
        raise UserError(
            f"optimizer=auto: every solver needs the rows at once, and {type(data).__name__} serves them batch by "
            "batch; use adam or sgd, or derive it from BlockData."
        )
    linear = linear_coefficients(build_network(config["model"], data.num_features, trusted)) is not None
    l1 = config["penalty"]["l1"]
    if l1 > 0 and not linear:
        raise UserError("optimizer=auto: no solver takes penalty.l1 for a model that is not linear; use adam or sgd.")
    sparse = isinstance(data.served("train"), SparseRows)
    firth = bool(config["penalty"].get("firth"))
    choice = choose(len(data.rows["train"]), data.num_features, sparse=sparse, linear=linear, l1=l1, firth=firth)
    given = {key: value for key, value in config["optimizer"].items() if key != "_target_"}
    node = _node(choice.name)
    for key in given.keys() - node.keys():
        valid = ", ".join(name for name in node if name != "_target_")
        raise UserError(f"optimizer.{key}: {choice.sentence}, and has no such setting; valid: {valid}.")
    return choice, node | given


def _node(name: str) -> dict[str, Any]:
    """What ``optimizer=<name>`` puts into a configuration."""
    file = OmegaConf.load(CONF / "optimizer" / f"{name}.yaml")
    container: Any = OmegaConf.to_container(file, resolve=True)
    return container["optimizer"]
