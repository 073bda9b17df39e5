"""An exported ONNX model is the closed form on `Preprocessor.transform`, whatever the rows hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from logreg.core.errors import UserError
from logreg.data.tables.preparing.columns import Numeric
from logreg.data.tables.preparing.preprocessor import Preprocessor
from tests.runs.export.runs import (
    closed_form,
    mixed,
    mixed_rows,
    run_of,
    written,
)


def test_the_onnx_model_is_the_run_whatever_the_rows_hold(tmp_path: Path) -> None:
    frame = mixed_rows()
    run = run_of(mixed(), threshold=0.3)
    predict = written(run, "onnx", tmp_path / "run.onnx", [frame])
    expected = closed_form(run, frame)
    assert predict(frame) == pytest.approx(expected, abs=1e-6)
    assert predict(frame[:1]) == pytest.approx(expected[:1], abs=1e-6)

    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "run.onnx")
    types = {node.name: node.type for node in session.get_inputs()}
    strings = dict.fromkeys(("zip", "flag", "town", "size", "dose"), "tensor(string)")
    assert types == strings | dict.fromkeys(("age", "never_missing", "whole"), "tensor(float)")
    assert [(node.name, node.type, node.shape) for node in session.get_outputs()] == [
        ("probability", "tensor(float)", ["rows"]),
        ("prediction", "tensor(int64)", ["rows"]),
    ]
    by_hand = {
        "age": [[np.nan], [77.5]],
        "never_missing": [[0.25], [-1.0]],
        "whole": [[np.nan], [10]],
        "zip": [["7"], [""]],
        "flag": [["true"], ["perhaps"]],
        "town": [[""], ["Ulm"]],
        "size": [["XXL"], ["M"]],
        "dose": [["0.5"], [""]],
    }
    types_of = {"tensor(string)": object, "tensor(float)": np.float32}
    probability, prediction = session.run(None, {k: np.array(v, types_of[types[k]]) for k, v in by_hand.items()})
    rows = pl.DataFrame({k: [r[0] if r[0] == r[0] else None for r in v] for k, v in by_hand.items()}, strict=False)
    assert probability == pytest.approx(closed_form(run, rows), abs=1e-6)
    assert prediction.tolist() == (closed_form(run, rows) >= 0.3).astype(int).tolist()


def test_a_number_far_from_zero_is_a_double(tmp_path: Path) -> None:
    pre = Preprocessor([Numeric("far", 1e6, 0.5), Numeric("near", 1.0, 0.5), Numeric("year", 2000.0, 0.1)])
    run, random = run_of(pre), np.random.default_rng(0)
    far, near, year = 1e6 + random.normal(size=50), random.normal(size=50), random.integers(1990, 2010, size=50)
    frame = pl.DataFrame({"far": far, "near": near, "year": year})
    predict = written(run, "onnx", tmp_path / "run.onnx", [frame])
    assert predict(frame) == pytest.approx(closed_form(run, frame), abs=1e-6)

    import onnxruntime

    types = {node.name: node.type for node in onnxruntime.InferenceSession(tmp_path / "run.onnx").get_inputs()}
    # Whole numbers are not rounded, whatever their offset.
    assert types == {"far": "tensor(double)", "near": "tensor(float)", "year": "tensor(float)"}


def test_a_column_called_as_an_output_is_refused(tmp_path: Path) -> None:
    run = run_of(Preprocessor([Numeric("x"), Numeric("probability")]))
    with pytest.raises(UserError, match="probability"):
        written(run, "onnx", tmp_path / "run.onnx")
