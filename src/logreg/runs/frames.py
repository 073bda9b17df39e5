"""What a user hands to `predict_proba`: frames of raw columns, arrays, sparse matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from logreg.core.errors import UserError
from logreg.data.features import FittedPreprocessor
from logreg.data.images.preprocessor import ImagePreprocessor
from logreg.data.tables.preparing.preprocessor import TRANSFORMED_AT_ONCE, Preprocessor


def feature_blocks(
    rows: object, preprocessor: FittedPreprocessor, names: str, missing: Sequence[str], dtype: torch.dtype
) -> Iterator[Tensor]:
    """The features of raw rows, in blocks of (rows, features) of this type.

    Args:
        rows: see `logreg.runs.load.Run.predict_proba`.
        names: where the columns are listed, for errors.
        missing: the texts that stood for a missing value in the table of the run, if that was text.

    Raises:
        UserError: the rows are not of the form that the run was trained on.
    """
    if isinstance(preprocessor, ImagePreprocessor):
        yield from preprocessor.blocks(rows, dtype)
        return
    if preprocessor.sparse:
        blocks = _sparse_blocks(rows, preprocessor.width)
    else:
        assert isinstance(preprocessor, Preprocessor)
        frame = as_frame(rows, preprocessor.raw_columns, names)
        blocks = preprocessor.blocks(preprocessor.read_as_text(frame, missing))
    yield from (torch.as_tensor(block, dtype=dtype) for block in blocks)


def as_frame(rows: Any, columns: list[str], names: str) -> pl.DataFrame:
    """A polars frame with at least these columns."""
    if isinstance(rows, pl.LazyFrame):
        return rows.collect()
    if isinstance(rows, pl.DataFrame):
        return rows
    if isinstance(rows, Mapping):
        return pl.DataFrame(rows)
    if type(rows).__module__.partition(".")[0] == "pyarrow":
        return pl.DataFrame(pl.from_arrow(rows))
    if type(rows).__module__.partition(".")[0] == "pandas" and rows.ndim == 2:
        twice = [column for column in columns if list(rows.columns).count(column) > 1]
        if twice:
            raise UserError(f"predict_proba got a frame that has the column {twice[0]} more than once.")
        wanted = rows[[column for column in columns if column in rows.columns]]
        return pl.DataFrame({str(name): _from_pandas(wanted[name]) for name in wanted.columns})
    try:
        raw = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        kind = type(rows).__name__
        raise UserError(f"predict_proba got a {kind} that is no table of numbers; give a frame.") from error
    if raw.ndim != 2 or raw.shape[1] != len(columns):
        needed = f"a frame, or (rows, {len(columns)}) is needed, the columns of {names}"
        raise UserError(f"predict_proba got rows of shape {raw.shape}; {needed}.")
    return pl.DataFrame(raw, schema=columns)


def _from_pandas(column: Any) -> pl.Series:
    if column.dtype != object:
        return pl.from_pandas(column)
    texts = [None if gap else _text(value) for value, gap in zip(column, column.isna(), strict=True)]
    return pl.Series(texts, dtype=pl.String)


def _text(value: object) -> str:
    """What a text file would say: columns of objects mix texts, booleans, numbers and dates."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return str(value)


def _sparse_blocks(rows: object, width: int) -> Iterator[np.ndarray]:
    from scipy.sparse import csr_array, issparse

    if hasattr(rows, "columns"):
        raise UserError("predict_proba got a frame, and the run was trained on a sparse table; give a sparse matrix.")
    matrix: Any = csr_array(rows if issparse(rows) else np.asarray(rows, dtype=np.float64))  # type: ignore[arg-type]
    if matrix.ndim != 2 or matrix.shape[1] > width:
        most = f"at most {width} columns were there in training"
        raise UserError(f"predict_proba got rows of shape {matrix.shape}; {most}.")
    step = max(1, TRANSFORMED_AT_ONCE // width)
    for first in range(0, matrix.shape[0], step):
        block = matrix[first : first + step].toarray()
        yield np.pad(block, ((0, 0), (0, width - block.shape[1])))
