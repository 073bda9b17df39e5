"""How a table that a run is applied to is read: as the run's own table was, unless settings say otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from logreg.core.options.tables import Dialect, ReadOptions
from logreg.records.record import PREPROCESSING, read_record


def read_options(own: ReadOptions, given: Mapping[str, Any], directory: Path | None = None) -> ReadOptions:
    """For a table that a run is applied to: what is given, else what the run's own table was read with.

    Args:
        own: those of the run's own table, but for its format: the new table may well be of another one.
        given: keys of ``data`` as a command has them; null is not given.
        directory: that of the run, whose record says how its own table was written.
    """
    names = ("format", "delimiter", "quote", "header", "encoding", "missing")
    values: dict[str, Any] = {"format": None, "names": (), "form": None}
    values |= {name: given[name] for name in names if given.get(name) is not None}
    if directory is not None:
        form, path = read_record(directory).data.get("form"), directory / PREPROCESSING
        if form is not None and path.is_file():
            columns = json.loads(path.read_text(encoding="utf-8"))["columns"]
            values |= {"form": Dialect(**form), "names": tuple(dict.fromkeys(each["feature"] for each in columns))}
    return replace(own, **values)
