"""An exported run: loaded again, it is the closed form on `Preprocessor.transform`, whatever the rows hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array, random_array
from torch import Tensor, nn

from logreg.cli.configuration import compose, plain
from logreg.core.errors import UserError
from logreg.data.labels import Target
from logreg.data.tables.columns import DATE_PARTS, TIME_PARTS, Categorical, Numeric
from logreg.data.tables.preprocessor import Preprocessor
from logreg.models import HandWritten, LogisticRegression, SequentialRegression
from logreg.optim.objective import linear_coefficients
from logreg.records.record import CONFIG, PREPROCESSING, Evaluated, RunRecord
from logreg.runs.export import FORMATS, check_request, export_run
from logreg.runs.export import rows as rows_module
from logreg.runs.export.dates import date_part, seconds_of
from logreg.runs.export.linear import numbers_of
from logreg.runs.load import Run
from logreg.training.classifier import BinaryClassifier
from tests.commands import Command
from tests.helpers import run_with

ROWS = 200
DATES = Preprocessor(
    [
        Numeric("x", 1.0, 2.0),
        *(Numeric("day", 5.0, 3.0, 7.0, indicator=part == "year", part=part) for part in DATE_PARTS),
        *(Numeric("moment", 5.0, 3.0, 7.0, part=part) for part in DATE_PARTS + TIME_PARTS),
    ]
)


def mixed() -> Preprocessor:
    """Every kind of column but dates."""
    return Preprocessor(
        [
            Numeric("age", 40.5, 12.25, 38.0, indicator=True),
            Categorical("zip", ["1", "2", "30"], ["7", "8"], missing=True),
            Numeric("never_missing", -3.0, 0.5, 2.0),
            Categorical("flag", ["false", "true"], [], missing=True),
            Categorical("town", ["Bonn", "Köln", "None"], ["St. Ives", "Ulm"], missing=True),
            Categorical("size", ["L", "M"], ["XS"]),
            Categorical("dose", ["0.5", "1", "2.25"], []),
            Numeric("whole", 10.0, 4.0, 9.0, indicator=True),
        ],
        Target("sick", ("no", "yes")),
    )


def mixed_rows(rows: int = ROWS) -> pl.DataFrame:
    """Raw rows with known, rare, unseen and missing levels, and gaps in all numbers."""
    random = np.random.default_rng(0)

    def some(values: list[Any]) -> list[Any]:
        return [values[i] for i in random.integers(len(values), size=rows)]

    return pl.DataFrame(
        {
            "town": some(["Bonn", "Köln", "None", "St. Ives", "Ulm", "Atlantis", "", None]),
            "age": some([None, 20.25, 38.0, 77.5, -4.0]),
            "zip": some([1, 2, 30, 7, 8, 99, None]),
            "flag": some([True, False, None]),
            "size": some(["L", "M", "XS", "XXL", None]),
            "dose": some([0.5, 1.0, 2.25, 3.0, None]),
            "whole": some([1, 10, 19, None]),
            "never_missing": random.normal(size=rows),
        }
    )


def run_of(
    pre: Preprocessor, network: Callable[[int], nn.Module] = SequentialRegression, threshold: float = 0.5
) -> Run:
    """A run with drawn coefficients, as if it had been trained in float64."""
    torch.manual_seed(0)
    module = network(pre.width).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    model = BinaryClassifier(module, threshold=threshold)
    return run_with(model, pre)


def closed_form(run: Run, frame: pl.DataFrame) -> np.ndarray:
    pair = linear_coefficients(run.model.network)
    assert pair is not None
    weight, bias = (parameter.reshape(-1).numpy() for parameter in pair)
    return 1 / (1 + np.exp(-(run.preprocessor.transform(frame) @ weight + bias)))


def written(run: Run, format: str, path: Path, rows: Any = ()) -> Any:
    """The export's probabilities as a function of batches."""
    import importlib

    for package in FORMATS[format].packages:
        pytest.importorskip(package)
    module = importlib.import_module(FORMATS[format].module)
    module.write(run, rows, path)
    return module.load(run, path)


# --- scikit-learn -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    skops = pytest.importorskip("skops.io")
    path = tmp_path_factory.mktemp("export") / "run.skops"
    written(run_of(mixed()), "sklearn", path)
    return skops.load(path, trusted=[])


def as_pandas(frame: pl.DataFrame) -> Any:
    return frame.to_pandas()


def as_objects(frame: pl.DataFrame) -> Any:
    pd = pytest.importorskip("pandas")
    return pd.DataFrame({name: pd.Series(frame[name].to_list(), dtype=object) for name in frame.columns})


def nullable(frame: pl.DataFrame) -> Any:
    pd = pytest.importorskip("pandas")
    found = as_objects(frame)
    types = {"age": "Float64", "zip": "Int64", "dose": "Float64", "whole": "Int64", "never_missing": "Float64"}
    for name, dtype in types.items():
        found[name] = pd.array([None if v is None else v for v in found[name]], dtype=dtype)
    return found.astype({"town": "str", "size": "str"})


def texts(frame: pl.DataFrame) -> Any:
    return as_pandas(frame.with_columns(pl.col("zip", "flag").cast(pl.String)))


def texts_with_points(frame: pl.DataFrame) -> Any:
    """Whole numbers as a file of floats writes them."""
    return texts(frame.with_columns(pl.col("zip").cast(pl.Float64)))


def texts_with_capitals(frame: pl.DataFrame) -> Any:
    return as_pandas(frame.with_columns(pl.col("flag").cast(pl.String).str.to_uppercase()))


def categories(frame: pl.DataFrame) -> Any:
    return as_pandas(frame).astype({"town": "category", "zip": "category", "flag": "category"})


def shuffled_with_others(frame: pl.DataFrame) -> Any:
    found = as_pandas(frame)
    found["other"] = "nothing to see here"
    return found[sorted(found.columns, reverse=True)]


@pytest.mark.parametrize(
    "form",
    [as_pandas, as_objects, nullable, texts, texts_with_points, texts_with_capitals, categories, shuffled_with_others],
)
def test_a_pandas_frame_is_preprocessed_as_in_the_run(pipeline: Any, form: Callable[[pl.DataFrame], Any]) -> None:
    frame = mixed_rows()
    found = pipeline.predict_proba(form(frame))
    assert found[:, 1] == pytest.approx(closed_form(run_of(mixed()), frame), abs=1e-12)


def test_a_frame_of_one_row_is_preprocessed_as_in_the_run(pipeline: Any) -> None:
    frame = mixed_rows()
    expected = closed_form(run_of(mixed()), frame)
    for form in (as_pandas, as_objects, nullable):
        found = form(frame)
        for i in range(0, ROWS, 10):  # a column of nothing but NaN is of another dtype than one of texts
            assert pipeline.predict_proba(found[i : i + 1])[0, 1] == pytest.approx(expected[i], abs=1e-12)


def test_booleans_without_gaps(pipeline: Any) -> None:
    frame = mixed_rows().filter(pl.col("flag").is_not_null())
    found = as_pandas(frame)
    assert found["flag"].dtype == bool
    expected = closed_form(run_of(mixed()), frame)
    assert pipeline.predict_proba(found)[:, 1] == pytest.approx(expected, abs=1e-12)
    assert pipeline.predict_proba(found.astype({"flag": "boolean"}))[:, 1] == pytest.approx(expected, abs=1e-12)


def test_float32_columns_cost_no_more_than_their_own_digits(pipeline: Any) -> None:
    frame = mixed_rows().with_columns(pl.col("age", "whole", "never_missing").cast(pl.Float32))
    expected = closed_form(run_of(mixed()), frame)
    assert pipeline.predict_proba(as_pandas(frame))[:, 1] == pytest.approx(expected, abs=1e-12)


def test_a_gap_that_scikit_learn_cannot_see_is_no_level_but_an_error(pipeline: Any) -> None:
    frame = mixed_rows()
    with pytest.raises(TypeError, match="NA"):
        pipeline.predict_proba(as_pandas(frame).astype({"town": "string"}))
    # Where the run has no feature for missing values, it is as good as unseen.
    found = pipeline.predict_proba(as_pandas(frame).astype({"size": "string"}))
    assert found[:, 1] == pytest.approx(closed_form(run_of(mixed()), frame), abs=1e-12)


def test_the_pipeline_is_a_fitted_classifier_of_0_and_1(pipeline: Any) -> None:
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(pipeline)
    assert pipeline.classes_.tolist() == [0, 1]
    frame = mixed_rows()
    expected = (closed_form(run_of(mixed()), frame) >= 0.5).astype(int)
    assert pipeline.predict(as_pandas(frame)).tolist() == expected.tolist()
    assert len(pipeline[:-1].get_feature_names_out()) == pipeline[-1].coef_.shape[1]


def test_the_pipeline_predicts_by_the_runs_threshold(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    run, frame = run_of(mixed(), threshold=0.8), mixed_rows()
    written(run, "sklearn", tmp_path / "run.skops")
    found = skops.load(tmp_path / "run.skops", trusted=[])
    expected = closed_form(run, frame)
    assert found.predict(as_pandas(frame)).tolist() == (expected >= 0.8).astype(int).tolist()
    assert found.predict_proba(as_pandas(frame))[:, 1] == pytest.approx(expected, abs=1e-12)


def test_dates_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"format=sklearn: .* the dates in day, moment"):
        written(run_of(DATES), "sklearn", tmp_path / "run.skops")


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (["1", "-2", "007", "x"], {"1": 1, "-2": -2}),
        (["0.5", "1e3", "nan", "1", "1.0"], {"0.5": 0.5, "1": 1}),
        (["false", "true", "maybe"], {"false": False, "true": True}),
        (["true", "1"], {"1": 1}),
        (["a"], {}),
    ],
)
def test_levels_that_numbers_stand_for(levels: list[str], expected: dict[str, Any]) -> None:
    assert numbers_of(levels) == expected


# --- ONNX -------------------------------------------------------------------------------------------------------------


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


# --- PyTorch ----------------------------------------------------------------------------------------------------------


class Hidden(nn.Module):
    """A network that no linear format can hold."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).sigmoid()


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


# --- dates ------------------------------------------------------------------------------------------------------------


def moments() -> pl.Series:
    """Moments from 1800 to 2200, the ends of Februaries and years, and moments before 1970, among them."""
    random = np.random.default_rng(0)
    found = [datetime(1800, 1, 1) + timedelta(microseconds=int(i)) for i in random.integers(0, 126 * 10**14, size=500)]
    found += [datetime(year, 2, 28) + timedelta(days=i) for year in (1800, 1900, 2000, 2023, 2024) for i in range(3)]
    found += [datetime(year, 12, 31, 23, 59, 59, 999999) for year in (1899, 1969, 1999, 2099)]
    return pl.Series("moment", found)


@pytest.mark.parametrize("part", DATE_PARTS + TIME_PARTS)
def test_the_parts_of_dates_are_those_of_polars(part: str) -> None:
    column = moments()
    expected = getattr(column.dt, part)().to_numpy()
    assert date_part(seconds_of(column, "test"), part, np.floor).tolist() == expected.tolist()


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_dates_are_preprocessed_as_in_the_run(tmp_path: Path, format: str) -> None:
    column = moments()
    gaps = pl.Series([i % 7 == 0 for i in range(len(column))])
    frame = pl.DataFrame({"moment": column, "day": column.reverse().cast(pl.Date), "x": np.arange(len(column))})
    frame = frame.with_columns(pl.when(gaps).then(None).otherwise(pl.col(c)).alias(c) for c in ("moment", "day"))
    run = run_of(DATES)
    for parameter in run.model.parameters():
        parameter *= 0.01
    predict = written(run, format, tmp_path / "run", [frame])
    assert predict(frame) == pytest.approx(closed_form(run, frame), abs=1e-6)


# --- sparse runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_a_sparse_run(tmp_path: Path, format: str) -> None:
    pre = Preprocessor([Numeric(f"column_{i + 1}") for i in range(30)], sparse=True)
    run = run_of(pre)
    x = csr_array(random_array((40, 30), density=0.2, rng=np.random.default_rng(0)))
    predict = written(run, format, tmp_path / "run", [x])
    assert predict(x) == pytest.approx(run.predict_proba(x), abs=1e-6)


# --- the whole way, from a run directory ------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Path:
    mixed_rows().with_columns(pl.lit("yes").alias("sick")).write_csv(tmp_path / "table.csv")
    return tmp_path / "table.csv"


def directory_of(run: Run, folder: Path, data: dict[str, Any]) -> Path:
    """What a training would have left of the run."""
    (folder / "checkpoints").mkdir(parents=True)
    RunRecord(status="completed", evaluated=Evaluated("last")).write(folder)
    model = {"_target_": f"{type(run.model.network).__module__}.{type(run.model.network).__name__}"}
    config = plain(compose("train", ())) | {"model": model, "metrics": {}, "data": data}
    (folder / CONFIG).write_text(json.dumps(config))
    (folder / PREPROCESSING).write_text(run.preprocessor.to_json())
    checkpoint = {"state_dict": run.model.state_dict(), "global_step": 1, "logreg": {}}
    torch.save(checkpoint, folder / "checkpoints" / "last.ckpt")
    return folder


def of_table(path: Path) -> dict[str, Any]:
    return {"_target_": "logreg.data.TableData", "path": str(path), "target": "sick", "categorical": ["zip", "dose"]}


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_is_compared_on_all_rows_and_takes_its_name_at_last(tmp_path: Path, table: Path, format: str) -> None:
    for package in FORMATS[format].packages:
        pytest.importorskip(package)
    folder = directory_of(run_of(mixed()), tmp_path / "run", of_table(table))
    output = tmp_path / f"model.{format}"
    output.write_text("an older one")
    export = export_run(folder, format, output)
    assert export.rows == export.total == ROWS
    assert export.difference <= 1e-6
    assert export.size == output.stat().st_size
    assert f"{ROWS} rows" in str(export)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([output.name, "run", "table.csv"])


def test_the_lines_that_load_an_export_work(tmp_path: Path, table: Path) -> None:
    run = run_of(mixed())
    folder = directory_of(run, tmp_path / "run", of_table(table))
    snippet = export_run(folder, "torch", tmp_path / "model.pt2").snippet
    found: dict[str, Any] = {"x": torch.zeros(4, len(run.features), dtype=torch.float64)}
    exec(snippet, found)
    assert found["program"](found["x"]).shape == (4,)


def test_an_export_that_differs_is_not_left_behind(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = directory_of(run_of(mixed()), tmp_path / "run", of_table(table))
    output = tmp_path / "model.pt2"
    output.write_text("an older one")
    honest = Run.predict_proba
    for wrong in (lambda p: p + 2e-6, lambda p: p * np.nan, lambda p: p[:-1]):
        monkeypatch.setattr(Run, "predict_proba", lambda self, rows, wrong=wrong: wrong(honest(self, rows)))
        with pytest.raises(UserError, match=r"format=torch: the probabilities of the export differ"):
            export_run(folder, "torch", output)
        assert output.read_text() == "an older one"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt2", "run", "table.csv"]


def test_a_table_that_is_gone_may_be_replaced_by_another(tmp_path: Path, table: Path) -> None:
    folder = directory_of(run_of(mixed()), tmp_path / "run", of_table(table))
    other = table.rename(tmp_path / "moved.csv")
    with pytest.raises(UserError, match=r"data\.path=.*table\.csv: there is no such file\. Give data\.path=<table>"):
        export_run(folder, "torch", tmp_path / "model.pt2")
    assert export_run(folder, "torch", tmp_path / "model.pt2", data_path=str(other)).rows == ROWS
    pl.read_csv(other).drop("town").write_csv(other)
    with pytest.raises(UserError, match=r"data\.path=.*moved\.csv: the columns town are missing"):
        export_run(folder, "torch", tmp_path / "model.pt2", data_path=str(other))


def test_a_network_that_is_not_linear_is_for_torch_only(tmp_path: Path, table: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = directory_of(run_of(mixed(), Hidden), tmp_path / "run", of_table(table))
    with pytest.raises(UserError, match=r"format=onnx: Hidden is not a linear model.*format=torch can"):
        export_run(folder, "onnx", tmp_path / "model.onnx", trusted=["tests"])
    export = export_run(folder, "torch", tmp_path / "model.pt2", trusted=["tests"])
    assert export.difference <= 1e-6


@pytest.mark.parametrize("name", ["ToyData", "BreastCancerData"])
def test_a_table_that_a_program_makes(tmp_path: Path, name: str) -> None:
    from logreg import data as sources

    source = getattr(sources, name)("name")
    source.setup()
    settings = {"_target_": f"logreg.data.{name}", "name": "name"}
    folder = directory_of(run_of(source.preprocessor), tmp_path / "run", settings)
    assert export_run(folder, "torch", tmp_path / "model.pt2").rows == len(source.source.y)


def test_a_text_file_that_is_not_what_its_beginning_says(tmp_path: Path) -> None:
    rows = 1500  # more than are looked at to find out what a column holds
    whole = [str(i % 50) for i in range(rows - 1)]
    frame = pl.DataFrame({"x": [*whole, "0.5"], "level": [*whole, "a text"], "y": ["1", "0"] * (rows // 2)})
    frame.write_csv(tmp_path / "table.csv")
    pre = Preprocessor([Numeric("x", 25.0, 14.0), Categorical("level", ["0", "1"], ["a text"])])
    folder = directory_of(
        run_of(pre), tmp_path / "run", {**of_table(tmp_path / "table.csv"), "target": "y", "categorical": ["level"]}
    )
    assert export_run(folder, "torch", tmp_path / "model.pt2").rows == rows


def test_a_large_table_is_compared_on_rows_from_all_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MOST_ROWS", 100)
    frames = [pl.DataFrame({"i": range(first, first + 37)}) for first in range(0, 370, 37)]
    found = rows_module.ComparedRows(lambda: iter(frames), 370, width=1)
    for _ in range(2):
        assert pl.concat(list(found))["i"].to_list() == list(range(0, 370, 4))
    assert found.count == 93


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "format", "output", "named"),
    [
        (None, "onnx", "model", "run: "),
        ("run", None, "model", "format: one of sklearn, onnx, torch"),
        ("run", "onxx", "model", r"format=onxx: .*did you mean onnx"),
        ("run", "torch", None, "output: "),
        ("run", "torch", "", "output=: "),
        ("run", "torch", ".", r"output=\.: this is a folder"),
        ("run", "torch", "no/such/model", "output=no/such/model: there is no folder no/such"),
    ],
)
def test_a_request_that_is_refused_at_once(run: Any, format: Any, output: Any, named: str) -> None:
    with pytest.raises(UserError, match=named):
        check_request(run, format, output)


def test_packages_that_are_not_there_are_named_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_request("run", "torch", "model")
    with pytest.raises(
        UserError, match=r"format=onnx needs the packages onnx and onnxruntime: pip install .*\[export\]"
    ):
        check_request("run", "onnx", "model")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "run: "),
        (
            ["run=x", "format=onxx", "output=m"],
            "format=onxx: one of sklearn, onnx, torch is needed (did you mean onnx?)",
        ),
        (["run=x", "format=torch"], "output: "),
        (["run=x", "format=torch", "output=no/m"], "output=no/m: there is no folder no"),
        (["run=x", "format=torch", "output=m"], "x is not a run directory"),
        (["run=x", "formt=torch"], "formt: there is no such key (did you mean format?)"),
    ],
)
def test_the_command_refuses_in_a_sentence_and_without_torch(
    command: Command, arguments: list[str], named: str
) -> None:
    done = command("scripts/export.py", *arguments, without_torch=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_command_says_what_it_wrote_and_how_to_load_it(command: Command, tmp_path: Path, table: Path) -> None:
    directory_of(run_of(mixed()), tmp_path / "run", of_table(table))
    done = command("scripts/export.py", "run=run", "format=torch", "output=model.pt2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "wrote model.pt2" in done.stdout
    assert "torch.export.load('model.pt2')" in done.stdout
    assert len(done.stdout.strip().splitlines()) <= 7
