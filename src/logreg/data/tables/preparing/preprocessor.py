"""From raw columns to the model's features: fitted on training rows, stored as readable JSON, applied to any frame.

* a number: a missing value takes the median, then ``(x - mean) / scale``; a second feature says where values were
  missing, if any were;
* a string, a boolean or a declared categorical: one feature per level, one for all levels too rare to stand alone, one
  for missing values if there were any; a level that training did not see is none of them;
* a date: its parts, each a number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from logreg.core.errors import UserError, nearest
from logreg.data.features import FittedPreprocessor
from logreg.data.labels import Target
from logreg.data.tables.preparing.columns import Categorical, Column, NumberedColumns, Numeric
from logreg.data.tables.reading import kinds
from logreg.data.tables.reading.kinds import as_date, as_levels, as_numbers, level_expression

TRANSFORMED_AT_ONCE = 2**22  # elements of the matrix that `blocks` makes at a time


@dataclass(frozen=True)
class Preprocessor(FittedPreprocessor):
    """The fitted preprocessing of a run.

    Attributes:
        columns: in the order of the features; a date has several.
        left_out: raw columns that are not used, and why.
        sparse: rows are sparse and used as they are; ``columns`` then only names them.
    """

    columns: Sequence[Column]
    target: Target = field(default_factory=Target)
    left_out: dict[str, str] = field(default_factory=dict)
    sparse: bool = False

    @classmethod
    def fit(cls, x: np.ndarray, names: Sequence[str], standardize: bool, target: Target | None = None) -> Preprocessor:
        """For a table of numbers without missing values; standardises by mean and standard deviation (ddof 0)."""
        columns: list[Column] = [Numeric(name) for name in names]
        if standardize:
            means, deviations = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
            fills = np.median(x, axis=0) if len(x) else means
            scales = np.where(deviations > 0, deviations, 1.0)
            fitted = zip(names, means.tolist(), scales.tolist(), np.asarray(fills, dtype=float).tolist(), strict=True)
            columns = [Numeric(*values) for values in fitted]
        return cls(columns, target or Target())

    # --- names --------------------------------------------------------------------------------------------------------

    @cached_property
    def raw_columns(self) -> list[str]:
        """The columns that a frame must have."""
        return list(dict.fromkeys(column.feature for column in self.columns))

    @cached_property
    def features(self) -> list[tuple[str, str]]:
        """Column and level of every feature of the model; the level of a number is empty, of a date its part."""
        return [(column.feature, name) for column in self.columns for name in column.names]

    def feature(self, i: int) -> tuple[str, str]:
        """One of `features`."""
        return (self.columns[i].feature, "") if self.sparse else self.features[i]

    @property
    def width(self) -> int:
        """The number of features."""
        return len(self.columns) if self.sparse else len(self.features)

    def spans(self) -> Iterator[tuple[Column, int]]:
        """Every column with the number of its first feature."""
        first = 0
        for column in self.columns:
            yield column, first
            first += column.width

    def flags(self) -> Iterator[tuple[int, int]]:
        """First feature and width of what is 0 or 1: the levels of a column, an indicator of missing values."""
        for column, first in self.spans():
            if isinstance(column, Categorical):
                yield first, column.width
            elif column.indicator:
                yield first + 1, 1

    @cached_property
    def numeric(self) -> list[Numeric]:
        """The columns of numbers and of parts of dates."""
        return [column for column in self.columns if isinstance(column, Numeric)]

    # --- applying it --------------------------------------------------------------------------------------------------

    def read_as_text(self, frame: pl.DataFrame, missing: Sequence[str]) -> pl.DataFrame:
        """A frame with its texts as they are read from a text file, in which some stand for a missing value."""
        texts = [c for c in self.raw_columns if frame.schema.get(c) == pl.String]
        return frame.with_columns(kinds.cleaned(texts, missing)) if missing and texts else frame

    def check(self, columns: Sequence[str], key: str) -> None:
        """Hold the columns of a table against those that are needed.

        Raises:
            UserError: some are missing; names them.
        """
        absent = [name for name in self.raw_columns if name not in columns]
        if absent:
            more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
            hint = nearest(absent[0], columns) if len(absent) == 1 else ""
            raise UserError(
                f"{key}: the columns {', '.join(absent[:10])}{more} are missing{hint}; the run was trained with them."
            )

    def transform_numbers(self, x: np.ndarray) -> np.ndarray:
        """Features of raw rows (rows, columns) of numbers that has no missing values."""
        means, scales = np.array([c.mean for c in self.numeric]), np.array([c.scale for c in self.numeric])
        if not means.any() and (scales == 1).all():
            return x  # nothing to do, so no copy in float64
        return (np.asarray(x, dtype=np.float64) - means) / scales

    def transform(self, frame: pl.DataFrame, key: str = "frame", row: int = 0) -> np.ndarray:
        """The features of a frame of raw columns, (rows, features) float64.

        Raises:
            UserError: a column is missing, or is not what it was in training.
        """
        self.check(frame.columns, key)
        x = np.zeros((len(frame), self.width))
        for column, first in self.spans():
            if isinstance(column, Categorical):
                codes = column.codes(as_levels(frame[column.feature]))
                rows = np.flatnonzero(codes >= 0)
                x[rows, first + codes[rows]] = 1.0
                continue
            values = as_numbers(frame[column.feature], column.part, key, row)
            missing = np.isnan(values)
            x[:, first] = (values - column.mean) / column.scale
            if missing.any():
                x[missing, first] = column.filled
                if column.indicator:
                    x[missing, first + 1] = 1.0
        return x

    def blocks(self, frame: pl.DataFrame, key: str = "frame", row: int = 0) -> Iterator[np.ndarray]:
        """`transform`, in blocks of rows that are small whatever the number of features."""
        rows = max(1, TRANSFORMED_AT_ONCE // max(1, self.width))
        for first in range(0, len(frame), rows):
            yield self.transform(frame[first : first + rows], key, row + first)

    def logit_expression(self, weight: np.ndarray, bias: float, kinds: Mapping[str, pl.DataType]) -> pl.Expr:
        """``transform(frame) @ weight + bias`` as an expression over raw columns, without the matrix between.

        Args:
            kinds: the polars type of each raw column: a number, a boolean, a string or a date.
        """
        terms = [pl.lit(float(bias))]
        for column, first in self.spans():
            value = pl.col(column.feature)
            if isinstance(column, Categorical):
                effects = weight[first : first + column.width].tolist()
                terms.append(_effect(level_expression(value, kinds[column.feature]), column, effects))
                continue
            slope = float(weight[first]) / column.scale
            gap = column.filled * float(weight[first]) + (float(weight[first + 1]) if column.indicator else 0.0)
            if column.part is not None:
                value = getattr(value.cast(pl.Datetime("us")).dt, column.part)()
            term = (value.cast(pl.Float64) - column.mean) * slope
            terms.append(term.fill_nan(None).fill_null(gap))
        return sum(terms[1:], terms[0])

    def logits(
        self, frame: pl.DataFrame, weight: np.ndarray, bias: float, key: str = "frame", row: int = 0
    ) -> np.ndarray:
        """``transform(frame) @ weight + bias``, (rows,) float64.

        Args:
            row: how many rows of the table come before the frame, for errors.

        Raises:
            UserError: a column is missing, or is not what it was in training.
        """
        self.check(frame.columns, key)
        frame = frame.select(self.raw_columns)
        for column in self.columns:  # texts that should be numbers or dates
            series = frame[column.feature]
            if isinstance(column, Categorical):
                if series.dtype == pl.Object:
                    frame = frame.with_columns(as_levels(series))
            elif column.part is not None:
                frame = frame.with_columns(as_date(series, key, row))
            elif not series.dtype.is_numeric() or (series.dtype.is_float() and bool(series.is_infinite().any())):
                frame = frame.with_columns(pl.Series(column.feature, as_numbers(series, None, key, row)))
        return frame.select(self.logit_expression(weight, bias, frame.schema).alias("z"))["z"].to_numpy()

    @cached_property
    def raw_units(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and mean of every feature, (features,) each: features are ``(raw - mean) / scale``."""
        scale, mean = np.ones(self.width), np.zeros(self.width)
        for column, first in [] if self.sparse else self.spans():
            if isinstance(column, Numeric):  # an indicator is on top of the value that is filled in
                scale[first], mean[first] = column.scale, column.mean
        return scale, mean

    # --- the file -----------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """The content of ``preprocessing.json``."""
        content = {
            "target": asdict(self.target),
            "columns": {"numbered": len(self.columns)} if self.sparse else [asdict(column) for column in self.columns],
            "left_out": self.left_out,
            "sparse": self.sparse,
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Preprocessor:
        """From the content of ``preprocessing.json``."""
        return cls.from_content(json.loads(text))

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Preprocessor:
        """From ``preprocessing.json``, parsed."""
        target = content.get("target", {})
        columns = content["columns"]
        return cls(
            NumberedColumns(columns["numbered"]) if isinstance(columns, dict) else [_column(node) for node in columns],
            Target(target.get("column", ""), tuple(target.get("labels", ("0", "1")))),
            content.get("left_out", {}),
            content.get("sparse", False),
        )


def _column(node: str | Mapping[str, Any]) -> Column:
    if isinstance(node, str):
        return Numeric(node)
    return Categorical(**node) if node.get("kind") == "categorical" else Numeric(**node)


def _effect(level: pl.Expr, column: Categorical, effects: list[float]) -> pl.Expr:
    level = column.spelled(level)
    by_level = {value: effects[i] for value, i in column.position.items()}
    known = level.replace_strict(list(by_level), list(by_level.values()), default=0.0, return_dtype=pl.Float64)
    return pl.when(level.is_null()).then(effects[-1] if column.missing else 0.0).otherwise(known)
