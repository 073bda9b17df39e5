"""Dataclasses that are objects of a JSON file, and are read whatever else the file holds."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints


class _OtherTypeError(Exception):
    """A value is of another type than its field."""


_Reader = Callable[[object], object]  # from a value of the file to that of the field; raises `_OtherTypeError`


class JsonObject(Mapping[str, Any]):
    """Base of dataclasses that stand in a JSON file; their fields can be read by key, too: ``record["status"]``.

    Derive with ``@dataclass(eq=False)``: one is equal to a dictionary with the same content.

    Files outlive versions and are edited by hand, so that a reader takes what it knows: other keys are ignored, and a
    value of another type than its field's is left at the field's default.
    """

    @classmethod
    def from_json(cls, content: object) -> Self | None:
        """The object, or None where ``content`` is none, or lacks a field that has no default."""
        if not isinstance(content, Mapping):
            return None
        values, optional = {}, {}
        for name, (read, has_default) in _fields(cls).items():
            try:
                values[name] = read(content[name])
            except (KeyError, _OtherTypeError):
                optional[name] = has_default
        return cls(**values) if all(optional.values()) else None

    def __getitem__(self, key: str) -> Any:
        if key not in _fields(type(self)):
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(_fields(type(self)))

    def __len__(self) -> int:
        return len(_fields(type(self)))


@functools.cache
def _fields(cls: type) -> dict[str, tuple[_Reader, bool]]:
    """How each field is read, and whether it has a default."""
    # Takes longer than reading a record does, and a sweep has a hundred thousand of them: hence the cache.
    hints = get_type_hints(cls)
    missing = dataclasses.MISSING
    return {
        field.name: (
            _reader_of(hints[field.name]),
            field.default is not missing or field.default_factory is not missing,
        )
        for field in dataclasses.fields(cls)
    }


def _reader_of(hint: object) -> _Reader:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (inner,) = (_reader_of(each) for each in arguments if each is not NoneType)
        return lambda value: None if value is None else inner(value)
    if origin is list:
        return functools.partial(_list, _reader_of(arguments[0]))
    if origin is dict:
        return functools.partial(_dict, _reader_of(arguments[1]))
    if isinstance(hint, type) and issubclass(hint, JsonObject):
        return functools.partial(_object, hint)
    return _SCALARS[hint]


def _list(read: _Reader, value: object) -> list[object]:
    """The items that are of their type."""
    if not isinstance(value, list | tuple):
        raise _OtherTypeError
    return list(_dict(read, dict(enumerate(value))).values())


def _dict(read: _Reader, value: object) -> dict[object, object]:
    """The values that are of their type: a metric that was not finite is null in the file."""
    if not isinstance(value, Mapping):
        raise _OtherTypeError
    values = {}
    for key, item in value.items():
        try:
            values[key] = read(item)
        except _OtherTypeError:
            continue
    return values


def _object(cls: type[JsonObject], value: object) -> JsonObject:
    if (content := cls.from_json(value)) is None:
        raise _OtherTypeError
    return content


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _OtherTypeError
    return float(value)


def _integer(value: object) -> int:
    number = _number(value)
    return value if isinstance(value, int) else int(number)  # a seed may have more digits than a float


def _exactly(kind: type, value: object) -> object:
    if not isinstance(value, kind):
        raise _OtherTypeError
    return value


_SCALARS: dict[object, _Reader] = {
    float: _number,
    int: _integer,
    str: functools.partial(_exactly, str),
    bool: functools.partial(_exactly, bool),
    object: functools.partial(_exactly, object),
    Any: functools.partial(_exactly, object),
}
