"""Dataclasses that are objects of a JSON file, and are read whatever else the file holds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from logreg.core.numbers import is_finite

_OTHER_TYPE = object()  # what a reader returns for a value of another type than its field
_Reader = Callable[[Any], object]  # from a value of the file to that of the field


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
        readers, required = _fields(cls)
        values = _known({name: read(content[name]) for name, read in readers.items() if name in content})
        return cls(**values) if required <= values.keys() else None

    def __getitem__(self, key: str) -> Any:
        if key not in _fields(type(self))[0]:
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(_fields(type(self))[0])

    def __len__(self) -> int:
        return len(_fields(type(self))[0])


@functools.cache
def _fields(cls: type) -> tuple[dict[str, _Reader], set[str]]:
    """How each field is read, and which have no default."""
    # Takes longer than reading a record does, and a sweep has a hundred thousand of them: hence the cache.
    hints, missing = get_type_hints(cls), dataclasses.MISSING
    fields = dataclasses.fields(cls)
    required = {each.name for each in fields if each.default is missing and each.default_factory is missing}
    return {each.name: _reader_of(hints[each.name]) for each in fields}, required


def _reader_of(hint: Any) -> _Reader:
    """Of lists and dictionaries the items of their type are read: a metric that was not finite is null in the file."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (inner,) = (_reader_of(each) for each in arguments if each is not NoneType)
        return lambda value: None if value is None else inner(value)
    if origin is list:
        item = _reader_of(arguments[0])
        return _if_any(list | tuple, lambda items: list(_known(dict(enumerate(map(item, items)))).values()))
    if origin is dict:
        item = _reader_of(arguments[1])
        return _if_any(Mapping, lambda items: _known({key: item(value) for key, value in items.items()}))
    if hint is float:
        return lambda value: float(value) if is_finite(value) else _OTHER_TYPE
    if hint is int:  # a seed may have more digits than a float
        return lambda value: (value if isinstance(value, int) else int(value)) if is_finite(value) else _OTHER_TYPE
    if hint in (Any, object):
        return lambda value: value
    if issubclass(hint, JsonObject):
        return lambda value: _OTHER_TYPE if (content := hint.from_json(value)) is None else content
    return _if_any(hint, lambda value: value)


def _if_any(kind: Any, read: _Reader) -> _Reader:
    return lambda value: read(value) if isinstance(value, kind) else _OTHER_TYPE


def _known(values: dict[Any, object]) -> dict[Any, Any]:
    """Those that are of their type."""
    return {key: value for key, value in values.items() if value is not _OTHER_TYPE}
