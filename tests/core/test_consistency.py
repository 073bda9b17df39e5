"""Settings that do not go together are refused, each of them alone is not, and what the sentence advises is valid."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from logreg.cli.configuration import compose, parse, plain
from logreg.core.errors import UserError
from logreg.core.settings import CONF
from logreg.optim.solver import Solver

NAMES = ("newton", "newton_cg", "lbfgs", "proximal_newton", "torch_lbfgs", "sgd", "adam")
OPTIMIZERS = {name: OmegaConf.load(CONF / "optimizer" / f"{name}.yaml").optimizer._target_ for name in NAMES}
FIRTH = {"penalty.firth": True, "penalty.l1": 0.0, "penalty.l2": 0.0}
NEWTON = {"optimizer": {"_target_": OPTIMIZERS["newton"]}}
ADAM = {"optimizer": {"_target_": OPTIMIZERS["adam"]}}
ALONE = {"penalty.l2": 0.0}
CONSTANT = {"scheduler": {"_target_": "torch.optim.lr_scheduler.ConstantLR"}}


@functools.cache
def default() -> dict[str, Any]:
    return plain(compose("train", ["data=breast_cancer", "optimizer=newton"]))


def parsed(changes: dict[str, Any]) -> None:
    """Parse the default configuration with other values at dotted keys."""
    config = copy.deepcopy(default())
    for key, value in changes.items():
        *path, name = key.split(".")
        functools.reduce(lambda node, part: node[part], path, config)[name] = value
    parse(config)


@pytest.mark.parametrize(
    ("one", "other", "keys"),
    [
        (FIRTH, {"penalty.l2": 0.5}, ["penalty.l2"]),
        (FIRTH, {"penalty.l1": 0.5}, ["penalty.l1"]),
        (FIRTH, ADAM, ["penalty=firth", "optimizer=newton"]),
        (ALONE, {"inference": "wald", "penalty.l2": 0.5}, ["inference=wald", "penalty.l2=0.5"]),
        (ALONE, {"covariance": "HC1", "penalty.l2": 0.5}, ["covariance=HC1", "penalty.l2=0.5"]),
        (ALONE | {"class_weight": "balanced"}, {"inference": "wald"}, ["inference=wald", "class_weight"]),
        (ALONE | {"inference": "profile"}, {"covariance": "HC1"}, ["covariance=HC1", "inference=wald"]),
        (FIRTH, {"covariance": "HC1"}, ["covariance=HC1", "penalty=firth"]),
        (ALONE, {"covariance": "cluster"}, ["covariance=cluster", "data.group"]),
        (NEWTON, {"penalty.l1": 0.1}, ["optimizer=newton", "penalty.l1", "proximal_newton"]),
        (NEWTON, CONSTANT, ["scheduler", "optimizer=newton"]),
        (NEWTON, {"loss": "mse"}, ["loss=mse", "optimizer=newton"]),
        (FIRTH, {"loss": "mse"}, ["loss=mse", "penalty=firth"]),
        *(
            (
                {"optimizer": {"_target_": OPTIMIZERS["adam"]}, "loss": "mse", "penalty.l2": 0.0},
                setting,
                [key, "loss=mse"],
            )
            for key, setting in (
                ("standard errors", {"inference": "wald"}),
                ("separation", {"separation": True}),
                ("certify_every", {"certify_every": 2}),
            )
        ),
    ],
)
def test_a_pair_is_refused_by_its_keys_and_the_first_alone_is_not(
    one: dict[str, Any], other: dict[str, Any], keys: list[str]
) -> None:
    parsed(one)
    with pytest.raises(UserError) as refused:
        parsed(one | other)
    assert all(key in str(refused.value) for key in keys), refused.value
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_solvers_take_what_they_can_solve(name: str) -> None:
    solves = issubclass(get_class(OPTIMIZERS[name]), Solver)
    optimizer = {"optimizer": {"_target_": OPTIMIZERS[name]}}
    for changes, is_valid in (
        ({"penalty.l1": 0.1}, name == "proximal_newton" or not (solves or name == "torch_lbfgs")),
        (CONSTANT, not solves),
        (FIRTH, name == "newton"),
        ({"loss": "mse"}, not solves),
    ):
        if is_valid:
            parsed(optimizer | changes)
        else:
            with pytest.raises(UserError, match="optimizer=" if changes is FIRTH else f"optimizer={name}"):
                parsed(optimizer | changes)
