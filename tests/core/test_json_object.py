"""Dataclasses of a JSON file are read as a JSON schema of their fields would take them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import fastjsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logreg.core.json_object import JsonObject


@dataclass(eq=False)
class Point(JsonObject):
    x: float
    label: str = ""


@dataclass(eq=False)
class Drawing(JsonObject):
    name: str = "a drawing"
    visible: bool = True
    scale: float | None = 1.0
    sizes: list[float] = field(default_factory=list)
    points: dict[str, Point] = field(default_factory=dict)
    origin: Point | None = None
    notes: Any = None


NUMBER, TEXT = {"type": "number"}, {"type": "string"}
POINT = {"type": "object", "properties": {"x": NUMBER}, "required": ["x"]}
SCHEMAS: dict[str, dict[str, Any]] = {  # of the values that a field takes
    "name": TEXT,
    "visible": {"type": "boolean"},
    "scale": {"type": ["number", "null"]},
    "sizes": {"type": "array"},
    "points": {"type": "object"},
    "origin": {"anyOf": [POINT, {"type": "null"}]},
    "notes": {},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "label", "q"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def is_valid(value: object, schema: dict[str, Any]) -> bool:
    try:
        fastjsonschema.validate(schema, value)
    except fastjsonschema.JsonSchemaValueException:
        return False
    return True


@given(st.dictionaries(st.sampled_from([*SCHEMAS, "of tomorrow"]), JSON))
def test_a_field_takes_what_is_of_its_type_and_else_has_its_default(content: dict[str, Any]) -> None:
    drawing = Drawing.from_json(content)
    assert drawing is not None
    for name, schema in SCHEMAS.items():
        value, default = content.get(name), getattr(Drawing(), name)
        if name not in content or not is_valid(value, schema):
            assert getattr(drawing, name) == default
        elif name in ("name", "visible", "scale", "notes"):
            assert getattr(drawing, name) == value
    sizes, points = content.get("sizes"), content.get("points")
    if isinstance(sizes, list):
        assert drawing.sizes == [size for size in sizes if is_valid(size, NUMBER)]
    if isinstance(points, dict):
        assert {name: point.x for name, point in drawing.points.items()} == {
            name: point["x"] for name, point in points.items() if is_valid(point, POINT)
        }


@given(
    st.builds(
        Drawing,
        name=st.text(),
        scale=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        sizes=st.lists(st.floats(-1, 1)),
        points=st.dictionaries(st.text(), st.builds(Point, x=st.floats(-1, 1), label=st.text())),
        origin=st.none() | st.builds(Point, x=st.just(0.5)),
    )
)
def test_an_object_comes_back_from_its_file_and_is_a_mapping_of_its_fields(drawing: Drawing) -> None:
    content = dataclasses.asdict(drawing)
    assert Drawing.from_json(json.loads(json.dumps(drawing, default=dict))) == drawing
    assert json.loads(json.dumps(drawing, default=dict)) == json.loads(json.dumps(content))
    assert list(drawing) == list(content)
    assert len(drawing) == len(content)
    assert drawing["name"] == drawing.name
    with pytest.raises(KeyError):
        drawing["from_json"]  # an attribute, and no field


@pytest.mark.parametrize("content", [None, [], "x", {}, {"x": "1"}, {"x": None}, {"x": True}, {"label": "a"}])
def test_what_lacks_a_field_without_a_default_is_no_object(content: object) -> None:
    assert Point.from_json(content) is None
