"""What the commands that use a run are asked for: typed, with a rule for each key, as `logreg.core.settings`.

Nothing heavy is imported here.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from logreg.core.options.tables import RoleOptions
from logreg.core.rules import (
    Rule,
    check,
    check_names,
    choice,
    number,
    optional,
    part_of,
    rules_of,
    setting,
    text,
    texts,
    whole,
)
from logreg.records.checkpoints import CHECKPOINTS
from logreg.runs.export import FORMATS
from logreg.runs.reading import NewRows

NAMED = (str, int, float)  # what YAML makes of the name of a file
RUN, FILE = text("a run directory", NAMED), text("a file", NAMED)
ROLES = rules_of(RoleOptions)


@dataclass(frozen=True, kw_only=True)
class RowsToPredict(NewRows):
    path: str = setting(text("a table, a photo or a folder of photos", NAMED))
    keep: Sequence[str] = setting(texts("a list of columns, as in 'data.keep=[id]',"))


@dataclass(frozen=True, kw_only=True)
class LabelledRows(NewRows):
    """Rows that have labels; None is what the run's own table had."""

    path: str | None = setting(optional(text("a labelled table, or a folder of photos by class", NAMED)))
    target: str | None = setting(ROLES["target"])
    labels: Mapping[str, int] | None = setting(ROLES["labels"])
    weight: str | None = setting(ROLES["weight"])
    drop_missing_target: bool = setting(ROLES["drop_missing_target"])


@dataclass(frozen=True, kw_only=True)
class RowsToCompare:
    path: str | None = setting(optional(text("a table, or a folder of photos", NAMED)))


@dataclass(frozen=True, kw_only=True)
class _OfRun:
    run: str = setting(RUN)
    checkpoint: str | None = setting(optional(choice(*CHECKPOINTS), "best or last"))
    output: str | None = setting(optional(FILE))


@dataclass(frozen=True, kw_only=True)
class PredictSettings(_OfRun):
    """``scripts/predict.py``."""

    data: RowsToPredict


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(_OfRun):
    """``scripts/evaluate.py``; the last three are of the bootstrap."""

    data: LabelledRows
    bootstrap: int = setting(whole(1, words="a whole number, 1 or more,"))
    confidence: float = setting(number(above=0, below=1, words="a number between 0 and 1, such as 0.95,"))
    seed: int = setting(whole(0))


@dataclass(frozen=True, kw_only=True)
class ExportSettings(_OfRun):
    """``scripts/export.py``."""

    data: RowsToCompare
    format: str = setting(choice(*FORMATS))


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """``scripts/report.py``: the page of a run or of a sweep."""

    run: str | None = setting(optional(RUN))
    sweep: str | None = setting(optional(text("a sweep directory", NAMED)))
    output: str | None = setting(optional(FILE))


COMMANDS: dict[str, type] = {
    "evaluate": EvaluateSettings,
    "export": ExportSettings,
    "predict": PredictSettings,
    "report": ReportSettings,
}
Command = TypeVar("Command")


def rules_of_command(command: type) -> dict[str, Rule]:
    """The rules of a command by their dotted keys."""
    rows = typing.get_type_hints(command).get("data")
    return rules_of(command) | (rules_of(rows, "data.") if rows else {})


def parse(command: type[Command], config: Mapping[str, Any]) -> Command:
    """The settings of a command from its resolved configuration.

    Raises:
        UserError: names the first key that there is not, is needed, or whose value is not valid, and what would be.
    """
    check_names(config, [*(each.name for each in fields(command)), "trusted_packages"], "")  # type: ignore[arg-type]
    check(config, rules_of_command(command))
    rows, values = typing.get_type_hints(command).get("data"), config.get("data")
    if rows is None:
        return part_of(command, config, "")
    values = values if isinstance(values, Mapping) else {}
    check_names(values, [each.name for each in fields(rows)], "data")
    return part_of(command, config, "", data=part_of(rows, values, "data"))
