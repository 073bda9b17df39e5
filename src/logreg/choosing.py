"""What ``optimizer=auto`` stands for in a configuration, once data and penalty are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from logreg.errors import UserError

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
        UserError: no solver is right: the model is not linear, and the penalty not smooth.
    """
    from logreg.build import build_network
    from logreg.data.block_data import BlockData
    from logreg.data.rows import SparseRows
    from logreg.objective import linear_coefficients
    from logreg.optim.choice import NODES, choose

    linear = linear_coefficients(build_network(config["model"], data.num_features, trusted)) is not None
    l1 = config["penalty"]["l1"]
    if l1 > 0 and not linear:
        raise UserError("optimizer=auto: no solver takes penalty.l1 for a model that is not linear; use adam or sgd.")
    blocks = isinstance(data, BlockData)
    sparse = blocks and isinstance(data.served("train"), SparseRows)
    rows = len(data.rows["train"]) if blocks else 0
    firth = bool(config["penalty"].get("firth"))
    choice = choose(rows, data.num_features, sparse=sparse, linear=linear, l1=l1, firth=firth)
    given = {key: value for key, value in config["optimizer"].items() if key != "_target_"}
    return choice, NODES[choice.name] | given
