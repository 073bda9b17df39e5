"""How a table that a run is applied to is read: as the run's own table was, unless settings say otherwise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from logreg.core.options.photos import FolderOptions
from logreg.core.options.tables import Dialect, ReadOptions
from logreg.core.rules import optional, rules_of, setting
from logreg.records.record import PREPROCESSING, read_record

READ = rules_of(ReadOptions)


@dataclass(frozen=True, kw_only=True)
class NewRows:
    """A table, or photos, that a run is applied to; None is as the run's own table was read, or inferred."""

    skip_bad: bool = setting(rules_of(FolderOptions)["skip_bad"])
    format: str | None = setting(READ["format"])
    delimiter: str | None = setting(READ["delimiter"])
    quote: str | None = setting(READ["quote"])
    header: bool | None = setting(READ["header"])
    encoding: str | None = setting(optional(READ["encoding"], READ["encoding"].words))
    missing: Sequence[str] | None = setting(optional(READ["missing"], READ["missing"].words))


def read_options(own: ReadOptions, given: NewRows | None = None, directory: Path | None = None) -> ReadOptions:
    """For a table that a run is applied to: what is given, else what the run's own table was read with.

    Args:
        own: those of the run's own table, but for its format: the new table may well be of another one.
        given: what a command was asked for; None is not given.
        directory: that of the run, whose record says how its own table was written.
    """
    values: dict[str, Any] = {"format": None, "names": (), "form": None}
    values |= {name: value for name in READ if (value := getattr(given, name, None)) is not None}
    if directory is not None:
        form, path = read_record(directory).data.get("form"), directory / PREPROCESSING
        if form is not None and path.is_file():
            columns = json.loads(path.read_text(encoding="utf-8"))["columns"]
            values |= {"form": Dialect(**form), "names": tuple(dict.fromkeys(each["feature"] for each in columns))}
    return replace(own, **values)
