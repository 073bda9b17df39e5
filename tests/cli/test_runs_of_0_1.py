"""Run directories made by version 0.1.0 give the numbers that version 0.1.0 gave of them.

They lie in ``tests/data/runs_0.1``, with what that version said of them in ``expected.json``. Only what users use is
imported or called here, so that the test outlives what the package looks like inside: `load_run`, and the commands.
"""

from __future__ import annotations

import contextlib
import csv
import html
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pytest
import skops.io
import torch
from PIL import Image
from sklearn.datasets import load_svmlight_file

from logreg import load_run
from tests.commands import ROOT, run_command

RUNS = ROOT / "tests" / "data" / "runs_0.1"

# The rows that each run is applied to, and the epochs up to which it is resumed; a job of a sweep is not resumed alone.
ROWS = {
    "toy": "points.csv", "interrupted": "points.csv", "table": "new.csv", "mse": "table.csv", "sparse": "sparse.libsvm",
    "photos_run": "photos", "isotonic": "numbers.csv", "inferred": "numbers.csv", "sweep/3": "numbers.csv",
}  # fmt: skip
EPOCHS = {
    "toy": 201, "interrupted": 227_800, "table": 200, "mse": 20, "sparse": 200, "photos_run": 9, "isotonic": 100,
    "inferred": 200,
}  # fmt: skip
FORMATS = {"points.csv": ["sklearn", "onnx", "torch"], "numbers.csv": ["sklearn", "onnx", "torch"]}
FORMATS |= {"sparse.libsvm": ["sklearn", "onnx", "torch"], "photos": ["onnx", "torch"]}
FORMATS |= {"new.csv": ["onnx", "torch"], "table.csv": ["onnx", "torch"]}  # no sklearn: they have dates
ENDINGS = {"sklearn": "skops", "onnx": "onnx", "torch": "pt2"}
SWEEP = ["data=table", "data.path=numbers.csv", "data.target=y", "data.split={train:0.6,val:0.2,test:0.2}"]
SWEEP += ["logger=csv", "penalty.l2=0.01,0.1,1", "seed=1,2", "figures=false", "hydra.sweep.subdir=${hydra.job.num}"]

OF_LEADERBOARD = ["job", "status", "penalty.l2", "seed", "train/loss", "val/loss", "val/auroc", "val/brier"]
OF_LEADERBOARD += ["test/loss", "test/accuracy", "setting", "mean", "low", "verdict", "error"]
RESUMED_METRICS = ("loss", "log_loss", "accuracy", "auroc", "brier", "calibration_error")

# Relative tolerances. Rounding differs between processors, and in float32 it adds up over many updates.
IN_DOUBLE, IN_SINGLE, TRAINED_IN_SINGLE = 1e-9, 1e-6, 1e-5
ALL_SINGLE = ("toy", "interrupted", "mse", "photos_run")


def call(script: str, *arguments: str) -> str:
    """Run a command in the working directory; returns what it printed."""
    process = run_command(script, *arguments, cwd=Path.cwd())
    assert process.returncode == 0, f"{script} {' '.join(arguments)}: {process.stdout}{process.stderr}"
    return process.stdout + process.stderr


# What is measured of a run, in the working directory. Each returns what `expected.json` holds.


def loaded(run: str) -> dict[str, Any]:
    """What `load_run` says, and the probabilities of rows."""
    loaded_run = load_run(run, checkpoint_of(run))
    assert set(dotted(json.loads(Path(run, "config.json").read_text()))) <= set(dotted(loaded_run.config))
    record = loaded_run.record
    assert loaded_run.metrics == json.loads(Path(run, "run.json").read_text())["metrics"]
    return {
        "status": record["status"],
        "updates": record["updates"],
        "epochs": record["epochs"],
        "threshold": loaded_run.model.threshold,
        "features": loaded_run.features,
        "inference": (record["inference"] or {}).get("log_likelihood"),
        "history": [len(loaded_run.history), loaded_run.history[-1]],
        "probabilities": shortened(loaded_run.predict_proba(rows_for_python(ROWS[run]))),
        "ones": int(loaded_run.predict(rows_for_python(ROWS[run])).sum()),
    }


def resumed(run: str) -> dict[str, Any]:
    """What comes of more epochs, with the settings that the run was started with."""
    target = f"{run}_resumed"
    overrides = [o for o in json.loads(Path(run, "run.json").read_text())["overrides"] if not o.startswith("epochs=")]
    newest = Path(run, "checkpoints", "last.ckpt")
    start = run if newest.is_file() else str(newest.with_name("best.ckpt"))  # where both are the same, one was kept
    call("train.py", *overrides, f"epochs={EPOCHS[run]}", f"resume={start}", f"hydra.run.dir={target}")
    resumed_run = load_run(target, checkpoint_of(target))
    result = {
        "status": resumed_run.record["status"],
        "threshold": resumed_run.model.threshold,
        "metrics": {
            name: value for name, value in resumed_run.metrics.items() if name.partition("/")[2] in RESUMED_METRICS
        },
        "losses": {name: last(resumed_run.history, name) for name in ("train/loss", "val/loss")},
        "coefficients": coefficients(target),
    }
    if run in ALL_SINGLE:  # a solver ends by its tolerance, so that rounding may cost or save it an update
        result |= {"updates": resumed_run.record["updates"], "epochs": resumed_run.record["epochs"]}
    return result


def evaluated(run: str) -> dict[str, Any]:
    """The run's own rows once more, which the script holds against the record; and a file."""
    own = call("scripts/evaluate.py", f"run={run}", f"checkpoint={checkpoint_of(run)}")
    equal = re.search(r"(\d+) metrics equal the recorded ones", own)
    assert equal, own
    output = f"{run.replace('/', '_')}_evaluation.json"
    target = ["data.target=label"] if ROWS[run] == "points.csv" else []
    call("scripts/evaluate.py", f"run={run}", f"data.path={ROWS[run]}", f"output={output}", "bootstrap=50", *target)
    content = json.loads(Path(output).read_text())
    compared = ("threshold", "metrics", "intervals", "confusion", "calibration", "checkpoint")
    return {"own metrics": int(equal[1]), **{key: content[key] for key in compared}}


def predicted(run: str) -> dict[str, Any]:
    """The file that predict.py writes."""
    output = f"{run.replace('/', '_')}_predictions.csv"
    call("scripts/predict.py", f"run={run}", f"data.path={ROWS[run]}", f"output={output}")
    rows = table(Path(output))
    return {
        "probabilities": shortened(probabilities_in(output)),
        "predictions": "".join(f"{row['prediction']:g}" for row in rows),
    }


def exported(run: str) -> dict[str, Any]:
    """The probabilities of the exported models: the largest distance from those of predict.py."""
    predicted(run)
    p, by_format = probabilities_in(f"{run.replace('/', '_')}_predictions.csv"), {}
    for form in FORMATS[ROWS[run]]:
        output = f"{run.replace('/', '_')}.{ENDINGS[form]}"
        call("scripts/export.py", f"run={run}", f"format={form}", f"output={output}")
        q = APPLY[form](Path(output), run)
        assert q.shape == p.shape
        # ONNX models say their probabilities in float32, and a run in float32 is exported to torch as it is.
        np.testing.assert_allclose(q, p, atol=1e-12 if form == "sklearn" else 3e-7, rtol=0)
        by_format[form] = q.tolist()[:4]
    return by_format


def reported(run: str) -> dict[str, Any]:
    """Which of the run's metrics and coefficients stand on its page, and that its predictions could be drawn."""
    output = f"{run.replace('/', '_')}.html"
    call("scripts/report.py", f"run={run}", f"output={output}")
    page = visible(Path(output))
    metrics = json.loads(Path(run, "run.json").read_text())["metrics"].values()
    shown = [f"{value:.4f}" for value in metrics] + [f"{values[0]:.6f}" for values in coefficients(run)]
    return {"redrawn": "not drawn again" not in page, "on the page": sorted({each for each in shown if each in page})}


MEASURES = {each.__name__: each for each in (loaded, resumed, evaluated, predicted, exported, reported)}


def swept(folder: Path) -> dict[str, Any]:
    """A sweep of which a job was lost, completed by sweep.resume: its leaderboard, its settings and its page."""
    shutil.copytree("sweep", folder)
    shutil.rmtree(folder / "3")
    arguments = ["-m", *SWEEP, f"sweep.resume={folder}", f"hydra.sweep.dir={folder}"]
    call("train.py", *arguments)
    call("scripts/report.py", f"sweep={folder}", "output=sweep.html")
    page, board = visible(Path("sweep.html")), table(folder / "leaderboard.csv")
    shown = [f"{row['val/loss']:.4f}" for row in board]
    return {
        "leaderboard": [{key: row[key] for key in OF_LEADERBOARD} for row in board],
        "settings": table(folder / "settings.csv"),
        "on the page": [each for each in shown if each in page],
    }


# What the measures need.


def shortened(p: np.ndarray) -> dict[str, Any]:
    """The first probabilities, and the sum of all."""
    return {"rows": len(p), "sum": float(p.sum()), "first": p[:15].tolist()}


def probabilities_in(path: str) -> np.ndarray:
    return np.array([row["probability"] for row in table(Path(path))])


def last(history: list[dict[str, float]], name: str) -> float | None:
    """The last value of a metric in the history."""
    return next((row[name] for row in reversed(history) if name in row), None)


def visible(page: Path) -> str:
    """What a page says in words and numbers."""
    text = re.sub(r"<(script|style|svg).*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", text))


def checkpoint_of(run: str) -> str:
    """The checkpoint that the recorded metrics belong to."""
    return str(json.loads(Path(run, "run.json").read_text())["evaluated"]["checkpoint"])


def dotted(config: Any, prefix: str = "") -> Iterator[str]:
    """The keys of a configuration, such as ``data.split.train``."""
    if not isinstance(config, dict):
        yield prefix
        return
    for key, value in config.items():
        yield from dotted(value, f"{prefix}.{key}")


def number(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text


def table(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file; what reads as a number is one, an empty cell is None."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def coefficients(run: str) -> list[list[Any]]:
    """The rows of coefficients.csv, standard errors included, without the names."""
    rows = table(Path(run, "coefficients.csv"))
    return [[value for value in row.values() if isinstance(value, float)] for row in rows[:6]]


def photos(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*/*.png"))


def frame(path: str) -> pl.DataFrame:
    return pl.read_csv(path, try_parse_dates=True)


def sparse_rows(path: str) -> Any:
    return load_svmlight_file(path, n_features=12)[0]


def rows_for_python(path: str) -> Any:
    """Rows as `predict_proba` takes them."""
    if path == "photos":
        return photos(path)
    return sparse_rows(path) if path.endswith("libsvm") else frame(path)


def by_sklearn(model: Path, run: str) -> np.ndarray:
    pipeline = skops.io.load(model, trusted=skops.io.get_untrusted_types(file=model))
    path = ROWS[run]
    return pipeline.predict_proba(sparse_rows(path) if path.endswith("libsvm") else pd.read_csv(path))[:, 1]


def by_onnx(model: Path, run: str) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    path, inputs = ROWS[run], session.get_inputs()
    if path == "photos":
        return session.run(["probability"], {inputs[0].name: pixels(path)})[0]
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64}
    if path.endswith("libsvm"):
        x = sparse_rows(path).toarray().astype(kinds[inputs[0].type])
        return session.run(["probability"], {inputs[0].name: x})[0]
    given = {}
    for node in inputs:
        series = frame(path)[node.name]
        if node.type == "tensor(string)":
            values = series.fill_null("").to_numpy().astype(object)
        else:
            values = numbers(series).astype(kinds[node.type])
        given[node.name] = values.reshape(-1, 1)
    return session.run(["probability"], given)[0]


def by_torch(model: Path, run: str) -> np.ndarray:
    program, path = torch.export.load(model).module(), ROWS[run]
    if path == "photos":
        return program(torch.from_numpy(pixels(path)))[0].numpy()
    if path.endswith("libsvm"):
        output = program(torch.from_numpy(sparse_rows(path).toarray()))
    else:
        columns = json.loads(Path(run, "preprocessing.json").read_text())["columns"]
        levels = {column["feature"]: [*column["levels"], *column["rare"]] for column in columns if "levels" in column}
        raw = {name: raw_column(frame(path)[name], levels.get(name)) for name in [c["feature"] for c in columns]}
        output = program(torch.from_numpy(np.stack(list(raw.values()), axis=1)))
    return (output[0] if isinstance(output, tuple) else output).numpy()


def raw_column(series: pl.Series, levels: list[str] | None) -> np.ndarray:
    """A column as the torch program takes it: numbers; or of a text the place of its level, -1 for others."""
    if levels is None:
        return numbers(series)
    return np.array([math.nan if t is None else levels.index(t) if t in levels else -1 for t in series], dtype=float)


def numbers(series: pl.Series) -> np.ndarray:
    """Numbers with NaN where they are missing; dates as seconds since 1970."""
    if series.dtype == pl.Date:
        series = series.cast(pl.Int32).cast(pl.Float64) * 86_400.0
    return series.cast(pl.Float64).fill_null(math.nan).to_numpy().copy()


def pixels(folder: str) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in photos(folder)])


APPLY = {"sklearn": by_sklearn, "onnx": by_onnx, "torch": by_torch}


def measured(run: str, measure: str) -> dict[str, Any]:
    return json.loads(json.dumps(MEASURES[measure](run)))


def differences(actual: Any, expected: Any, tolerance: float, where: str = "") -> Iterator[str]:
    """Where two results differ; numbers are compared to a relative tolerance, those near 0 to a tenth of it."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in expected:  # later versions may say more
            if key in actual:
                yield from differences(actual[key], expected[key], tolerance, f"{where}/{key}")
            else:
                yield f"{where}/{key} is not there"
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for place, (value, expected_value) in enumerate(zip(actual, expected, strict=True)):
            yield from differences(value, expected_value, tolerance, f"{where}[{place}]")
    elif isinstance(expected, float) and isinstance(actual, int | float):
        if not math.isclose(actual, expected, rel_tol=tolerance, abs_tol=tolerance / 10):
            yield f"{where}: {actual!r}, and it was {expected!r}"
    elif actual != expected:
        yield f"{where}: {actual!r}, and it was {expected!r}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the runs and their data as the working directory."""
    copy = tmp_path_factory.mktemp("old") / "runs"
    shutil.copytree(RUNS, copy)
    with contextlib.chdir(copy):
        yield copy


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return json.loads((RUNS / "expected.json").read_text(encoding="utf-8"))


CASES = [(run, measure) for run in ROWS for measure in MEASURES if measure != "resumed" or run in EPOCHS]
SLOW = [case for case in CASES if case[1] == "exported" and case[0] != "toy"]


@pytest.mark.parametrize(
    ("run", "measure"), [pytest.param(*case, marks=pytest.mark.slow) if case in SLOW else case for case in CASES]
)
def test_an_old_run_gives_the_same_numbers(folder: Path, expected: dict, run: str, measure: str) -> None:
    tolerance = IN_DOUBLE
    if run in ALL_SINGLE:
        tolerance = TRAINED_IN_SINGLE if measure == "resumed" else IN_SINGLE
    elif measure == "exported":
        tolerance = IN_SINGLE  # what ONNX models say
    assert list(differences(measured(run, measure), expected[run][measure], tolerance)) == []


@pytest.mark.slow
def test_an_old_sweep_can_be_completed_and_reported(folder: Path, expected: dict) -> None:
    completed = json.loads(json.dumps(swept(Path("sweep_resumed"))))
    assert list(differences(completed, expected["sweep"], IN_DOUBLE)) == []
