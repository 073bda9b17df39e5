"""Predictions for a table of any size: a row out for each row in, in order, in constant memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_matrix

from logreg.core.errors import UserError
from logreg.data.tables.preparing.columns import Categorical
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.data.tables.reading import kinds
from logreg.data.tables.reading.kinds import level_expression
from logreg.data.tables.reading.source import MOST_READINGS, Source, WrongKinds, row_bar
from logreg.optim.objective import linear_coefficients
from logreg.runs.load import Run
from logreg.runs.predictions import RESULTS, STDOUT, Scorer, output_file, to_file, to_parquet, to_stdout

log = logging.getLogger(__name__)

UNSEEN_REPORTED = 0.05  # the share of such values from which on they are reported
FITTING = {  # kinds of columns by what the run has; texts are tried, and named where they are no numbers or dates
    "numbers": ("integer", "float", "boolean", "string", "empty"),
    "dates": ("date", "datetime", "string", "empty"),
}


class Predictor(Scorer):
    """A run's model and preprocessing, applied to raw columns."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.preprocessor = run.table_preprocessor
        pair = linear_coefficients(run.model.network)
        self.linear = None
        if pair is not None and not self.preprocessor.sparse:
            weight, bias = (parameter.double().reshape(-1).numpy() for parameter in pair)
            self.linear = weight, float(bias[0])

    def expressions(self, dtypes: Mapping[str, pl.DataType]) -> list[pl.Expr]:
        """Probability and prediction over raw columns; null where a value is infinite."""
        assert self.linear is not None
        z = self.preprocessor.logit_expression(*self.linear, dtypes)
        p = 1 / (1 + (-z).exp())  # the sigmoid as an expression, which polars has no function for
        if (calibration := self.calibration) is not None:
            p = z.map_batches(
                lambda column: pl.Series(calibration.probabilities(column.to_numpy())), pl.Float64, is_elementwise=True
            )
        probability = pl.when(z.is_finite()).then(p)
        return [probability.alias(RESULTS[0]), (probability >= self.threshold).cast(pl.Int8).alias(RESULTS[1])]

    @torch.no_grad()
    def logits(self, frame: pl.DataFrame, key: str, row: int = 0) -> np.ndarray:
        """(rows,) float64, before calibration, of rows before which ``row`` others stand in the table."""
        if self.linear is not None:
            return self.preprocessor.logits(frame, *self.linear, key=key, row=row)
        dtype = next(self.run.model.parameters()).dtype
        blocks = self.preprocessor.blocks(frame, key, row)
        logits = [self.run.model.logits(torch.as_tensor(x, dtype=dtype)).double().numpy() for x in blocks]
        return np.concatenate(logits) if logits else np.empty(0)

    @torch.no_grad()
    def sparse_logits(self, x: csr_matrix) -> np.ndarray:
        """(rows,) float64, of a scipy CSR matrix; columns beyond those of the training rows count for nothing."""
        width, model = self.preprocessor.width, self.run.model
        dtype = next(model.parameters()).dtype
        x = x[:, :width] if x.shape[1] > width else x
        starts, places, values = (torch.as_tensor(part) for part in (x.indptr, x.indices, x.data))
        size = x.shape[0], width
        rows = torch.sparse_csr_tensor(starts, places, values.to(dtype), size, check_invariants=False)
        return model.logits(rows).double().numpy()


class UnseenLevels:
    """Counts the values that training did not see: they are none of the levels, which a user may want to know."""

    def __init__(self, preprocessor: Preprocessor) -> None:
        self.columns = [column for column in preprocessor.columns if isinstance(column, Categorical)]
        self.unseen, self.rows = dict.fromkeys((column.feature for column in self.columns), 0), 0

    def expressions(self, dtypes: Mapping[str, pl.DataType]) -> list[pl.Expr]:
        return [
            column.unseen(level_expression(pl.col(column.feature), dtypes[column.feature])).alias(f"unseen {i}")
            for i, column in enumerate(self.columns)
        ]

    def add(self, frame: pl.DataFrame) -> None:
        if self.columns:
            self.count(frame.select(self.expressions(frame.schema)).row(0), len(frame))

    def count(self, unseen: Sequence[int], rows: int) -> None:
        self.rows += rows
        for column, count in zip(self.columns, unseen, strict=True):
            self.unseen[column.feature] += count

    def report(self, key: str) -> None:
        for name, count in self.unseen.items():
            if count > UNSEEN_REPORTED * self.rows:
                message = "%s: %.0f %% of the values of column %s are levels that training did not see"
                log.warning(message, key, 100 * count / self.rows, name)


def matching(source: Source, run: Run, keep: Sequence[str] = (), as_written: bool = True) -> Source:
    """The source with its columns read as the run needs them.

    Args:
        keep: columns that are carried along.
        as_written: with the blanks around them, and with the texts that stand for missing values.

    Raises:
        UserError: columns are missing, or hold something else than in training.
    """
    if (source.format == "libsvm") != run.table_preprocessor.sparse:
        what = "a sparse LIBSVM table" if run.table_preprocessor.sparse else "a table with columns"
        raise UserError(f"{source.key}: the run was trained on {what}, and this file is {source.format}.")
    if run.table_preprocessor.sparse:
        if keep:
            raise UserError("data.keep: the columns of a LIBSVM file cannot be carried along; leave it out.")
        return source
    run.table_preprocessor.check(list(source.columns), source.key)
    for column in keep:
        if list(keep).count(column) > 1:
            raise UserError(f"data.keep: {column} is named more than once.")
        if column not in source.columns:
            has = ", ".join(list(source.columns)[:12])
            raise UserError(f"data.keep: {source.key} has no column {column}; it has {has}.")
    if source.format != "csv":
        for spec in run.table_preprocessor.columns:
            kind = source.columns[spec.feature]
            needed = "levels" if isinstance(spec, Categorical) else "numbers" if spec.part is None else "dates"
            if kind == "other" or kind not in FITTING.get(needed, (kind,)):
                raise UserError(f"{source.key}: column {spec.feature} holds {kind}s; the run was trained on {needed}.")
        return source
    # A sample of text does not show the kind of a column; the run does.
    wanted: dict[str, str] = {c: kinds.VERBATIM if c in keep and as_written else "string" for c in source.columns}
    for spec in run.table_preprocessor.columns:
        if not isinstance(spec, Categorical) and spec.feature not in keep:
            is_date = source.columns[spec.feature] == "date"
            wanted[spec.feature] = "float" if spec.part is None else "date" if is_date else "datetime"
    texts = tuple(c for c, kind in wanted.items() if kind in ("string", kinds.VERBATIM))
    options = replace(source.options, text=texts)
    return replace(source, columns=wanted, options=options)


def predict_table(run: Run, source: Source, output: str, keep: list[str] | None = None) -> int:
    """Write ``keep``, ``probability`` and ``prediction`` for every row of a source.

    Args:
        output: a ``.csv`` or ``.parquet`` file, which appears when it is complete, or ``-`` for CSV on standard output.

    Returns:
        The number of rows.

    Raises:
        UserError: the source does not fit the run, or the output cannot be written.
    """
    predictor, keep = Predictor(run), keep or []
    for column in set(keep) & set(RESULTS):
        raise UserError(f"data.keep: {column} is what the prediction itself writes; leave it out.")
    source = matching(source, run, keep)
    if output == STDOUT:
        return to_stdout(_outputs(predictor, source, keep))
    with output_file(output, source.files, "the table itself") as part:
        if output.endswith(".parquet"):
            return _to_parquet(predictor, source, keep, part)
        return to_file(_outputs(predictor, source, keep), part, parquet=False)


def scored(predictor: Predictor, source: Source, others: Sequence[str]) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    """Batches of a source that `matching` has returned: its columns ``others``, and the logit of each row.

    A LIBSVM source has one other column, ``label``.

    Raises:
        UserError: the source cannot be read, or a value is not what it was in training.
    """
    with row_bar([source], "predicting") as bar:
        if source.format == "libsvm":
            batches = _scored_sparse(predictor, source)
        else:
            batches = _scored_columns(predictor, source, list(others))
        for frame, z in batches:
            bar.update(len(z))
            yield frame, z


def _scored_sparse(predictor: Predictor, source: Source) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    widest = predictor.preprocessor.width
    for x, y in source.sparse_blocks():
        if x.shape[1] > widest:
            widest = x.shape[1]
            message = "%s has %d columns; those beyond the %d of the training rows are left out"
            log.warning(message, source.key, widest, predictor.preprocessor.width)
        yield pl.DataFrame({"label": y}), predictor.sparse_logits(x)


def _scored_columns(
    predictor: Predictor, source: Source, others: list[str]
) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    columns = list(dict.fromkeys([*others, *predictor.preprocessor.raw_columns]))
    # Columns that are both written and read.
    both = [c for c in predictor.preprocessor.raw_columns if source.columns[c] == kinds.VERBATIM]
    scored_rows = 0
    levels = UnseenLevels(predictor.preprocessor)
    for _ in range(MOST_READINGS):
        try:
            read_rows = 0
            for frame in source.batches(columns):
                fresh = frame[max(0, scored_rows - read_rows) :]  # a text file may be read from its start again
                read_rows += len(frame)
                if len(fresh):
                    read = fresh.with_columns(kinds.cleaned(both, source.options.absent)) if both else fresh
                    levels.add(read)
                    z = predictor.logits(read, source.key, scored_rows)
                    scored_rows += len(fresh)
                    yield fresh.select(others), z
            levels.report(source.key)
            return
        except WrongKinds as wrong:
            for spec in predictor.preprocessor.columns:
                kind = wrong.source.columns[spec.feature]
                changed = kind in ("string", "boolean") and source.columns[spec.feature] != kind
                if changed and not isinstance(spec, Categorical):
                    what = "numbers" if spec.part is None else "dates"
                    where = f"{source.key}: column {spec.feature}"
                    raise UserError(f"{where} holds {kind}s; the run was trained on {what} there.") from None
            source = wrong.source
    raise UserError(f"{source.key}: the file cannot be read consistently; set data.delimiter and data.quote.")


def _outputs(predictor: Predictor, source: Source, keep: Sequence[str]) -> Iterator[pl.DataFrame]:
    for frame, z in scored(predictor, source, keep):
        yield pl.concat([frame.select(keep), predictor.results(z)], how="horizontal")


def _to_parquet(predictor: Predictor, source: Source, keep: Sequence[str], part: Path) -> int:
    lazy = source.lazy()
    if lazy is not None and predictor.linear is not None:
        dtypes = lazy.collect_schema()
        texts = [c for c in predictor.preprocessor.columns if not isinstance(c, Categorical)]
        if all(source.columns[c.feature] not in ("string", "empty", "boolean") for c in texts):
            try:
                lazy.select(*keep, *predictor.expressions(dtypes)).sink_parquet(part, statistics=True)
            except pl.exceptions.PolarsError:
                return to_parquet(_outputs(predictor, source, keep), part)  # says which file is damaged
            counted = pl.scan_parquet(part).select(pl.len(), pl.col(RESULTS[0]).null_count().alias("gaps"))
            rows, gaps = counted.collect().row(0)
            if not gaps:
                levels = UnseenLevels(predictor.preprocessor)
                if levels.columns:
                    levels.count(lazy.select(levels.expressions(dtypes)).collect(engine="streaming").row(0), rows)
                    levels.report(source.key)
                return int(rows)
            # Something is infinite: reading batch by batch says where.
    return to_parquet(_outputs(predictor, source, keep), part)
