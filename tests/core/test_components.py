"""A node with a ``_target_`` as a component, and back; and what every ``_target_`` is held against."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from logreg.core.build import build
from logreg.core.components import PACKAGES, TARGET, Component, check_targets, components_of
from logreg.core.errors import UserError

NAMES = st.sampled_from(["a", "b", "c"])
TARGETS = st.sampled_from(["torch.nn.Linear", "logreg.models.SequentialRegression", "os.system", "subprocess.Popen"])
NODES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(NAMES, inner, max_size=3),
        st.builds(lambda target, rest: {TARGET: target, **rest}, TARGETS, st.dictionaries(NAMES, inner, max_size=3)),
    ),
    max_leaves=8,
)
COMPONENTS = st.builds(
    lambda target, rest: {TARGET: target, **rest}, TARGETS, st.dictionaries(NAMES, NODES, max_size=3)
)


@given(COMPONENTS)
def test_a_component_is_the_node_that_it_was_read_from(node: dict[str, Any]) -> None:
    component = Component.of(node, "key")
    assert component.as_node() == node
    assert Component.of(component.as_node(), "key") == component
    assert component.without("a").as_node() == {name: value for name, value in node.items() if name != "a"}


def test_a_nested_network_is_the_one_that_hydra_makes() -> None:
    linear = {TARGET: "torch.nn.Linear", "in_features": 3, "out_features": 2}
    inner = {TARGET: "torch.nn.Sequential", "_args_": [linear, {TARGET: "torch.nn.Softplus", "beta": 2}]}
    node = {TARGET: "torch.nn.Sequential", "_args_": [inner, {TARGET: "torch.nn.Linear", "_args_": [2, 1]}]}
    assert str(build(Component.of(node, "model"), nn.Module, "model")) == str(instantiate(node))


@given(COMPONENTS)
def test_every_target_is_held_against_the_list_however_deep_it_stands(node: dict[str, Any]) -> None:
    def targets(inner: Any) -> list[str]:
        items = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ()
        own = [inner[TARGET]] if isinstance(inner, dict) and TARGET in inner else []
        return own + [target for item in items for target in targets(item)]

    foreign = {target.partition(".")[0] for target in targets(node)} - set(PACKAGES)
    if not foreign:
        check_targets(node, [])
        return
    check_targets(node, sorted(foreign))
    for package in foreign:
        with pytest.raises(UserError, match=rf"trusted_packages=\[{package}\]"):
            check_targets(node, sorted(foreign - {package}))


def test_an_entry_of_a_group_that_is_null_is_switched_off() -> None:
    group = {"a": {TARGET: "torch.nn.ReLU"}, "b": None}
    assert components_of(group, "callbacks") == {"a": Component("torch.nn.ReLU")}
    with pytest.raises(UserError, match=r"^callbacks\.c: a _target_ that names a class is needed here\.$"):
        components_of(group | {"c": {"patience": 3}}, "callbacks")
    with pytest.raises(UserError, match=r"^callbacks=early: a group takes the name of a file in conf/callbacks\.$"):
        components_of("early", "callbacks")
