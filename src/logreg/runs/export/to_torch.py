"""A PyTorch program of any network, preprocessing included, saved by ``torch.export``.

It takes one float64 tensor ``x`` [rows, raw columns], the columns in the order of ``run.features``, and returns
probabilities [rows]. Where a value is missing, x is NaN; otherwise it holds

* of a number, the number;
* of a level, its place in ``[*levels, *rare]`` of preprocessing.json, -1 for a level that is not there;
* of a date, the seconds since 1970-01-01 00:00.

The rows of a sparse run are as they are, [rows, columns]. The program carries preprocessing.json and the threshold.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from logreg.core.errors import UserError
from logreg.data.tables.columns import Categorical, Numeric
from logreg.data.tables.preprocessor import Preprocessor
from logreg.data.tables.values import as_levels, as_numbers
from logreg.evaluation.calibration import Calibration, IsotonicCalibration, SigmoidCalibration
from logreg.optim.objective import logit_function
from logreg.records.record import PREPROCESSING
from logreg.runs.export.dates import date_part, seconds_of
from logreg.runs.export.rows import Batch
from logreg.runs.load import Run

THRESHOLD = "threshold"
EXAMPLE_ROWS = 3  # torch.export takes 0 and 1 for constants


def write(run: Run, rows: object, path: Path) -> None:
    """Write the program of a run.

    Raises:
        UserError: torch.export cannot trace the network.
    """
    pre = run.table_preprocessor
    width = pre.width if pre.sparse else len(pre.raw_columns)
    example = torch.zeros(EXAMPLE_ROWS, width, dtype=torch.float64)
    module = Pipeline(pre, run.model.network, run.model.calibration).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("rows")},))
        except Exception as error:  # whatever the network does that cannot be traced
            name, what = type(run.model.network).__name__, " ".join(str(error).split())[:200]
            raise UserError(
                f"format=torch: torch.export cannot trace {name} ({type(error).__name__}: {what})."
            ) from error
        save_program(program, run, path)


def save_program(program: torch.export.ExportedProgram, run: Run, path: Path) -> None:
    """Write a program with the run's preprocessing and threshold beside it."""
    extra = {PREPROCESSING: run.preprocessor.to_json(), THRESHOLD: repr(run.model.threshold)}
    with path.open("wb") as file:  # by its name, torch would ask for one that ends in .pt2
        torch.export.save(program, file, extra_files=extra)


def load_program(path: Path) -> nn.Module:
    with path.open("rb") as file:
        return torch.export.load(file).module()


def load(run: Run, path: Path) -> Callable[[Batch], np.ndarray]:
    program = load_program(path)

    @torch.no_grad()
    def predict(batch: Batch) -> np.ndarray:
        return program(torch.from_numpy(raw_matrix(batch, run.table_preprocessor))).numpy()

    return predict


def snippet(run: Run, path: str) -> str:
    width = run.table_preprocessor.width if run.table_preprocessor.sparse else len(run.features)
    return (
        "import torch\n"
        f"program = torch.export.load({path!r}).module()\n"
        f"program(x)  # x: float64 (rows, {width}), see logreg.runs.export.to_torch"
    )


def raw_matrix(batch: Batch, pre: Preprocessor) -> np.ndarray:
    """A batch of raw rows as the program takes it, (rows, raw columns) float64."""
    if not isinstance(batch, pl.DataFrame):
        return batch.toarray().astype(np.float64)
    columns: dict[str, np.ndarray] = {}
    for column in pre.columns:
        series = batch[column.feature]
        if isinstance(column, Categorical):
            levels = as_levels(series)
            place = column.spelled(levels).cast(pl.Enum(list(column.position)), strict=False).to_physical()
            values = place.cast(pl.Float64).fill_null(-1.0).to_numpy().copy()
            values[levels.is_null().to_numpy()] = np.nan
            columns[column.feature] = values
        else:
            values = as_numbers(series, None, "frame") if column.part is None else seconds_of(series, "frame")
            columns[column.feature] = values
    return np.stack([columns[name] for name in pre.raw_columns], axis=1)


class Pipeline(nn.Module):
    """Raw rows to probabilities: the preprocessing in float64, the network in its own precision, the calibration."""

    def __init__(self, pre: Preprocessor, network: nn.Module, calibration: Calibration | None = None) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = nn.Identity() if pre.sparse else Preprocessing(pre)
        self.dtype = next(network.parameters()).dtype
        self.calibration = None if calibration is None else CALIBRATIONS[calibration.method](calibration)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities, (rows,)."""
        x = self.preprocessing(x).to(self.dtype)
        if self.calibration is None:
            return self.network(x).reshape(-1)
        return self.calibration(logit_function(self.network)(x).reshape(-1).double())


class SigmoidModule(nn.Module):
    """`SigmoidCalibration` of logits, (rows,) float64."""

    def __init__(self, calibration: SigmoidCalibration) -> None:
        super().__init__()
        self.slope, self.intercept = calibration.slope, calibration.intercept

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * z + self.intercept)


class IsotonicModule(nn.Module):
    """`IsotonicCalibration` of logits, (rows,) float64."""

    knots: Tensor
    values: Tensor
    slopes: Tensor

    def __init__(self, calibration: IsotonicCalibration) -> None:
        super().__init__()
        for name in ("knots", "values", "slopes"):
            self.register_buffer(name, torch.tensor(np.array(getattr(calibration, name)), dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        z = torch.minimum(torch.maximum(z, self.knots[0]), self.knots[-1])
        below = torch.searchsorted(self.knots, z, right=True) - 1
        return self.values[below] + self.slopes[below] * (z - self.knots[below])


CALIBRATIONS: dict[str, Callable[..., nn.Module]] = {"sigmoid": SigmoidModule, "isotonic": IsotonicModule}


class Preprocessing(nn.Module):
    """`Preprocessor.transform` of (rows, raw columns), in tensors of all columns at once."""

    number_places: Tensor
    means: Tensor
    scales: Tensor
    filled: Tensor
    gaps: Tensor
    level_places: Tensor
    lows: Tensor
    highs: Tensor
    is_missing: Tensor
    order: Tensor

    def __init__(self, pre: Preprocessor) -> None:
        super().__init__()
        place = {name: i for i, name in enumerate(pre.raw_columns)}
        spans = list(pre.spans())
        numbers = [(column, first) for column, first in spans if isinstance(column, Numeric)]
        gaps = [(i, first + 1) for i, (column, first) in enumerate(numbers) if column.indicator]
        self.parts = [(i, column.part) for i, (column, _) in enumerate(numbers) if column.part is not None]
        self._keep("number_places", [place[column.feature] for column, _ in numbers], torch.int64)
        self._keep("means", [column.mean for column, _ in numbers])
        self._keep("scales", [column.scale for column, _ in numbers])
        self._keep("filled", [column.filled for column, _ in numbers])
        self._keep("gaps", [i for i, _ in gaps], torch.int64)
        levels = [
            (place[column.feature], low, high, first + i)
            for column, first in spans
            if isinstance(column, Categorical)
            for i, (low, high) in enumerate(_ranges(column))
        ]
        self._keep("level_places", [place for place, *_ in levels], torch.int64)
        self._keep("lows", [low for _, low, _, _ in levels])
        self._keep("highs", [high for _, _, high, _ in levels])
        self._keep("is_missing", [low > high for _, low, high, _ in levels], torch.bool)
        # The order in which `forward` puts the features together, turned into that of the run.
        order = [first for _, first in numbers] + [first for _, first in gaps] + [first for *_, first in levels]
        self._keep("order", np.argsort(order).tolist(), torch.int64)

    def _keep(self, name: str, values: list, dtype: torch.dtype = torch.float64) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """(rows, raw columns) to (rows, features), float64."""
        numbers = x[:, self.number_places]
        for i, part in self.parts:
            numbers[:, i] = date_part(numbers[:, i].clone(), part, torch.floor)
        missing = torch.isnan(numbers)
        scaled = torch.where(missing, self.filled, (numbers - self.means) / self.scales)
        codes = x[:, self.level_places]
        levels = ((codes >= self.lows) & (codes <= self.highs)) | (torch.isnan(codes) & self.is_missing)
        return torch.cat([scaled, missing[:, self.gaps].to(x.dtype), levels.to(x.dtype)], dim=1)[:, self.order]


def _ranges(column: Categorical) -> list[tuple[int, int]]:
    """For each feature of a column the first and the last place of its levels; for missing values there is none."""
    own = [(i, i) for i in range(len(column.levels))]
    rare = [(len(own), len(own) + len(column.rare) - 1)] if column.rare else []
    return [*own, *rare, *([(0, -1)] if column.missing else [])]
