"""A PyTorch program of any network, preprocessing included, saved by ``torch.export``.

Of a table it takes one float64 tensor ``x`` [rows, raw columns], the columns in the order of ``run.features``, and
returns probabilities [rows]. Where a value is missing, x is NaN; otherwise it holds

* of a number, the number;
* of a level, its place in ``[*levels, *rare]`` of preprocessing.json, -1 for a level that is not there;
* of a date, the seconds since 1970-01-01 00:00.

The rows of a sparse run are as they are, [rows, columns]. For photos see `logreg.runs.export.programs`.

The program carries preprocessing.json and the threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from logreg.data.images.preprocessor import ImagePreprocessor
from logreg.data.tables.preparing.columns import Categorical
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.records.record import PREPROCESSING
from logreg.runs.export.columns import date_part, level_spans, number_spans, raw_values
from logreg.runs.export.programs import DECODED, Calibrated, buffer, photo_program, quiet, traced
from logreg.runs.export.rows import RawRows
from logreg.runs.load import Run

THRESHOLD = "threshold"
EXAMPLE_ROWS = 3
MISSING = -2  # the code of a missing level


def write(run: Run, rows: object, path: Path) -> None:
    """Write the program of a run.

    Raises:
        UserError: torch.export cannot trace the network.
    """
    pre, model = run.preprocessor, run.model
    if isinstance(pre, Preprocessor):
        example = torch.zeros(EXAMPLE_ROWS, pre.width if pre.sparse else len(pre.raw_columns), dtype=torch.float64)
        preprocessing = nn.Identity() if pre.sparse else Preprocessing(pre)
        module = TablePipeline(preprocessing, Calibrated(model.network, model.calibration))
        program = traced(module, example, ["rows"], "torch", model.network)
    else:
        program = photo_program(run, "torch")
    extra = {PREPROCESSING: run.preprocessor.to_json(), THRESHOLD: repr(run.model.threshold)}
    with quiet(), path.open("wb") as file:  # given a name instead, torch would insist on the ending .pt2
        torch.export.save(program, file, extra_files=extra)


def load(run: Run, path: Path) -> Callable[[RawRows | np.ndarray], np.ndarray]:
    with quiet(), path.open("rb") as file:
        program = torch.export.load(file).module()

    @torch.no_grad()
    def predict(rows: RawRows | np.ndarray) -> np.ndarray:
        if isinstance(rows, np.ndarray):  # photos
            return program(torch.from_numpy(rows))[0].numpy()
        return program(torch.from_numpy(raw_matrix(rows, run.table_preprocessor))).numpy()

    return predict


def snippet(run: Run, path: str) -> str:
    if isinstance(run.preprocessor, ImagePreprocessor):
        return (
            "import numpy, torch\n"
            "from PIL import Image, ImageOps\n"
            f"image = numpy.array({DECODED})[None]  # 8 bits\n"
            f"probability, prediction = torch.export.load({path!r}).module()(torch.from_numpy(image))"
        )
    width = run.table_preprocessor.width if run.table_preprocessor.sparse else len(run.features)
    return (
        "import torch\n"
        f"program = torch.export.load({path!r}).module()\n"
        f"program(x)  # x: float64 (rows, {width}), see logreg.runs.export.to_torch"
    )


def raw_matrix(batch: RawRows, pre: Preprocessor) -> np.ndarray:
    """A batch of raw rows as the program takes it, (rows, raw columns) float64."""
    if not isinstance(batch, pl.DataFrame):
        return batch.toarray().astype(np.float64)
    return np.stack(list(raw_values(batch, pre, _places).values()), axis=1)


def _places(levels: pl.Series, column: Categorical) -> np.ndarray:
    """The place of each level in ``[*levels, *rare]``, (rows,) float64, -1 if it is none, NaN if missing."""
    place = column.spelled(levels).cast(pl.Enum(list(column.position)), strict=False).to_physical()
    places = place.cast(pl.Float64).fill_null(-1.0).to_numpy()
    return np.where(levels.is_null().to_numpy(), np.nan, places)


class TablePipeline(nn.Sequential):
    """Raw rows to probabilities, (rows,): the preprocessing in float64, and the classifier."""

    def forward(self, x: Tensor) -> Tensor:  # the input of the program is called as the argument
        return super().forward(x)


class Preprocessing(nn.Module):
    """`Preprocessor.transform` of (rows, raw columns), in tensors of all columns at once."""

    def __init__(self, pre: Preprocessor) -> None:
        super().__init__()
        place = {name: i for i, name in enumerate(pre.raw_columns)}
        spans = number_spans(pre)
        rows = [(place[c.feature], c.mean, c.scale, c.filled, first) for c, first in spans]
        numbers = np.array(rows).reshape(-1, 5).T
        self.number_columns = buffer(numbers[0], torch.int64)
        self.means, self.scales, self.filled = (buffer(row) for row in numbers[1:4])
        self.parts = [(i, column.part) for i, (column, _) in enumerate(spans) if column.part is not None]
        self.indicated = buffer([i for i, (column, _) in enumerate(spans) if column.indicator], torch.int64)
        features = [
            (place[column.feature], len(column.levels), code, first + i)
            for column, first in level_spans(pre)
            for i, code in enumerate([*range(column.width - column.missing), *[MISSING] * column.missing])
        ]
        levels = np.array(features).reshape(-1, 4).T
        self.level_columns = buffer(levels[0], torch.int64)
        self.first_rare, self.codes = buffer(levels[1]), buffer(levels[2])
        # `forward` puts numbers first, then indicators, then levels: this brings them into the order of the run.
        indicators = [first + 1 for column, first in spans if column.indicator]
        self.order = buffer(np.argsort([*numbers[4], *indicators, *levels[3]]), torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, raw columns) to (rows, features), float64."""
        numbers = x[:, self.number_columns]
        for i, part in self.parts:
            numbers[:, i] = date_part(numbers[:, i].clone(), part, torch.floor)
        missing = torch.isnan(numbers)
        standardised = torch.where(missing, self.filled, (numbers - self.means) / self.scales)
        places = torch.nan_to_num(x[:, self.level_columns], nan=MISSING)
        levels = torch.minimum(places, self.first_rare) == self.codes  # all rare levels have the code of the first
        flags = torch.cat([missing[:, self.indicated], levels], dim=1)
        return torch.cat([standardised, flags.to(x.dtype)], dim=1)[:, self.order]
