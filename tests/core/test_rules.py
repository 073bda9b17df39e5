"""A rule says three times what a value may be: as a check, as a JSON schema and in words."""

from __future__ import annotations

import math

import fastjsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logreg.core.errors import UserError
from logreg.core.rules import Rule, check, choice, either, flag, lookup, mapping, number, optional, text, texts, whole

RULES = {
    "above": number(above=0, words="a number above 0"),
    "between": number(least=0, below=1, words="a number from 0 to below 1"),
    "most": number(most=2.5, words="a number up to 2.5"),
    "whole": whole(0),
    "digit": whole(1, 9, "a digit"),
    "choice": choice("min", "max"),
    "flag": flag(),
    "text": text("a text"),
    "label": text("a label", (str, int, float, bool)),
    "texts": texts("a list of texts"),
    "mapping": mapping("a mapping"),
    "either": either(whole(2), choice("auto")),
    "optional": optional(number(least=0, words="a number, 0 or more,")),
}
# JSON has no NaN, takes 1.0 for a whole number, and Python takes True for 1.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.floats(-3, 3).filter(lambda value: not value.is_integer()),
    st.sampled_from(["", "min", "max", "auto", "3"]),
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=2), SCALARS, max_size=2)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@given(value=VALUES)
def test_the_check_is_that_of_the_schema(rule: Rule, value: object) -> None:
    try:
        fastjsonschema.validate(dict(rule.schema), value)
    except fastjsonschema.JsonSchemaValueException:
        assert not rule.allows(value)
    else:
        assert rule.allows(value) or (isinstance(value, list) and None in value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1"])
def test_what_is_no_number_is_none_whatever_the_bounds(value: object) -> None:
    assert not number(words="a number").allows(value)
    assert not whole(0).allows(value)


def test_the_first_key_that_is_wrong_is_named_as_it_is_typed() -> None:
    rules = {"a.b": whole(1), "c": optional(flag()), "d": choice("x", "y", "z")}
    check({"a": {"b": 1}, "c": None}, rules)  # what is absent has its default
    check({"a.b": 2, "a": {"b": 0}}, rules)  # a dotted key comes before the nested one
    for values, sentence in [
        ({"a": {"b": 0}, "d": "w"}, "a.b=0: a whole number above 0 is needed."),
        ({"a": {"b": None}}, "a.b=null: a whole number above 0 is needed."),
        ({"c": "yes"}, "c=yes: true or false, or null is needed."),
        ({"d": True}, "d=true: one of x, y, z is needed."),
    ]:
        with pytest.raises(UserError) as refused:
            check(values, rules)
        assert str(refused.value) == sentence


@given(
    st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1), max_leaves=8)
)
def test_every_leaf_is_looked_up_by_its_dotted_key(node: object) -> None:
    def leaves(inner: object, path: str = "") -> dict[str, object]:
        if not isinstance(inner, dict):
            return {path: inner}
        return {key: leaf for name, item in inner.items() for key, leaf in leaves(item, f"{path}.{name}").items()}

    if isinstance(node, dict):
        for key, leaf in leaves(node).items():
            assert lookup(node, key[1:]) == leaf
            assert lookup(node, f"{key[1:]}.x", "absent") == "absent"
