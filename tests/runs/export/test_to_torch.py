"""An exported PyTorch program is the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor, nn

from logreg.core.errors import UserError
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.models import HandWritten, LogisticRegression, SequentialRegression
from logreg.records.record import PREPROCESSING
from tests.runs.export.runs import (
    ROWS,
    Hidden,
    closed_form,
    mixed,
    mixed_rows,
    run_of,
    written,
)


class Branching(nn.Module):
    """A network whose path depends on the values."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x if x.sum() > 0 else -x).sigmoid()


@pytest.mark.parametrize("network", [SequentialRegression, LogisticRegression, HandWritten, Hidden])
def test_the_program_is_the_run_for_any_number_of_rows(tmp_path: Path, network: Callable[[int], nn.Module]) -> None:
    run, frame = run_of(mixed(), network), mixed_rows()
    predict = written(run, "torch", tmp_path / "run.pt2")
    with torch.no_grad():
        expected = run.model.network(torch.from_numpy(run.preprocessor.transform(frame))).reshape(-1).numpy()
    for rows in (0, 1, 2, ROWS):
        assert predict(frame[:rows]) == pytest.approx(expected[:rows], abs=1e-12)


def test_the_program_takes_levels_by_their_place_and_carries_the_places(tmp_path: Path) -> None:
    run = run_of(mixed())
    written(run, "torch", tmp_path / "run.pt2")
    extra = {PREPROCESSING: "", "threshold": ""}
    program = torch.export.load(tmp_path / "run.pt2", extra_files=extra).module()
    assert Preprocessor.from_json(extra[PREPROCESSING]) == run.preprocessor
    assert float(extra["threshold"]) == 0.5
    nan = float("nan")
    # age, zip, never_missing, flag, town, size, dose, whole: "St. Ives" is the first rare town, after three others
    x = torch.tensor([[nan, nan, 1.0, 1.0, 3.0, -1.0, nan, 3.0], [30.0, 4.0, 2.0, -1.0, nan, 2.0, 0.0, nan]])
    frame = pl.DataFrame(
        {
            "age": [None, 30.0],
            "zip": [None, "8"],
            "never_missing": [1.0, 2.0],
            "flag": ["true", "unseen"],
            "town": ["St. Ives", None],
            "size": ["unseen", "XS"],
            "dose": [None, "0.5"],
            "whole": [3.0, None],
        }
    )
    assert program(x.double()).numpy() == pytest.approx(closed_form(run, frame), abs=1e-12)


def test_a_network_that_cannot_be_traced_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"format=torch: torch\.export cannot trace Branching"):
        written(run_of(mixed(), Branching), "torch", tmp_path / "run.pt2")
