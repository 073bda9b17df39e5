"""A configuration can name classes of trusted packages, and nothing else."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from logreg.core.build import build, build_network, optimizer_factory, scheduler_factory
from logreg.core.components import Component
from logreg.core.errors import UserError

REFUSED = [
    "torch.load",
    "torch.hub.load",
    "torch.nn.functional.relu",
    "torch.nn",
    "torch.jit.load",
    "torch.optim.SGD",  # a class, but no network
    "logreg.core.build.build",
    "logreg.core.provenance.subprocess.Popen",
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "torchvision.models.resnet18",
    "torch.nn.Nothing",
    "torch",
    "",
    "..",
    "torch..nn",
]


@pytest.mark.parametrize("target", REFUSED)
def test_no_network_is_made_of(target: str) -> None:
    with pytest.raises(UserError, match="model"):
        build(Component(target), nn.Module, "model", in_features=2)


@pytest.mark.parametrize("target", ["os.system", "torch.load", "subprocess.Popen"])
def test_targets_inside_arguments_are_held_against_the_same_list(target: str) -> None:
    inner = {
        "_target_": "torch.nn.Sequential",
        "_args_": [{"_target_": "torch.nn.Linear", "_args_": [{"_target_": target}]}],
    }
    with pytest.raises(UserError, match=target):
        build(Component.of(inner, "model"), nn.Module, "model")


def test_nested_networks_are_built() -> None:
    node = {
        "_target_": "torch.nn.Sequential",
        "_args_": [
            {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 1},
            {"_target_": "torch.nn.Sigmoid"},
        ],
    }
    network = build_network(Component.of(node, "model"), 3)
    assert [type(layer) for layer in network] == [nn.Linear, nn.Sigmoid]


def test_trusting_a_package_opens_it_for_classes_of_the_kind_only() -> None:
    with pytest.raises(UserError, match=r"trusted_packages=\[tests\]"):
        build(Component("tests.core.test_build.Custom"), Callback, "callbacks.mine")
    assert isinstance(build(Component("tests.core.test_build.Custom"), Callback, "callbacks.mine", ["tests"]), Custom)
    with pytest.raises(UserError, match="derived from Callback"):
        build(Component("os.system"), Callback, "callbacks.mine", ["os"])


class Custom(Callback):
    pass


@pytest.mark.parametrize(
    ("node", "named"),
    [
        ({"lr": 0.1, "momentun": 0.9}, "momentum"),
        ({"lr": "fast"}, r"optimizer.lr='fast'.*float"),
        ({"lr": 0.1, "momentum": -1.0}, "Invalid momentum"),
        ({"lr": 0.1, "nesterov": "yes"}, "nesterov"),
    ],
)
def test_settings_are_held_against_the_signature(node: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        optimizer_factory(Component("torch.optim.SGD", node))


def test_a_list_becomes_the_tuple_that_the_class_takes() -> None:
    optimizer = optimizer_factory(Component("torch.optim.Adam", {"lr": 1, "betas": [0.8, 0.9]}))(
        [nn.Parameter(torch.zeros(1))]
    )
    assert optimizer.defaults["betas"] == (0.8, 0.9)


def test_no_scheduler_by_default() -> None:
    assert scheduler_factory(None) is None
    with pytest.raises(UserError, match="scheduler"):
        scheduler_factory(Component("torch.optim.lr_scheduler.StepLR"))
