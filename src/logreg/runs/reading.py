"""How a table that a run is applied to is read: as the run's own table was, unless settings say otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from logreg.core.options.tables import MISSING, Dialect, ReadOptions
from logreg.records.record import PREPROCESSING, read_record


def read_options(run: Mapping[str, Any], given: Mapping[str, Any], directory: Path | None = None) -> ReadOptions:
    """For a table that a run is applied to: what is given, else what the run's own table was read with.

    Args:
        run: the ``data`` node of its configuration.
        directory: that of the run, whose record says how its own table was written.
    """
    names = ("format", "delimiter", "quote", "header", "encoding", "missing")
    values: dict[str, Any] = {name: given[name] if given.get(name) is not None else run.get(name) for name in names}
    if given.get("format") is None:
        values["format"] = None  # the new table may well be of another one
    values["encoding"], values["missing"] = values["encoding"] or "utf-8", tuple(values["missing"] or MISSING)
    form, columns = _form_and_columns(directory) if directory is not None else (None, ())
    return ReadOptions(**values, zero_based=bool(run.get("zero_based")), names=columns, form=form)


def _form_and_columns(directory: Path) -> tuple[Dialect | None, tuple[str, ...]]:
    """How the table of a run was written, and the columns that the run needs."""
    form = read_record(directory).data.get("form")
    path = directory / PREPROCESSING
    if form is None or not path.is_file():
        return None, ()
    columns = json.loads(path.read_text(encoding="utf-8"))["columns"]
    return Dialect(**form), tuple(dict.fromkeys(column["feature"] for column in columns))
