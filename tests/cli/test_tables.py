"""Tables from the command line, as a user would: train, evaluate, predict."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score

from logreg import load_run
from logreg.core.build import build_data
from logreg.core.options.data import DataSettings
from logreg.data import TableData
from logreg.evaluation.coefficients.separation import CONSTANT
from logreg.runs.load import Run
from tests.commands import ROOT, Command, assert_refused, run_command
from tests.data.tables.people import people
from tests.helpers import shared_file

SHARED = ROOT.parent / "shared" / "data"


def test_a_separated_column_is_named(tmp_path: Path) -> None:
    table = shared_file("endometrial.csv")
    arguments = ["data=table", f"data.path={table}", "data.target=HG", "optimizer=newton", "penalty.l2=0"]
    process = run_command("train.py", *arguments, "hydra.run.dir=run", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "quasi-completely separated by NV (+): its maximum-likelihood estimate is infinite" in process.stdout
    optimality = json.loads((tmp_path / "run" / "run.json").read_text())["optimality"]
    separation = optimality["separation"]  # of standardised columns: the direction shifts the intercept too
    assert (separation["kind"], set(separation["direction"]) - {CONSTANT}) == ("quasi-complete", {"NV"})
    assert optimality["converged"] is False


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a table, and rows that it has never seen."""
    folder = tmp_path_factory.mktemp("tables")
    frame = people(900)
    frame[:600].to_csv(folder / "train.csv", index=False)
    frame[600:].to_csv(folder / "new.csv", index=False)
    arguments = ["data=table", "data.path=train.csv", "data.target=bought", "threshold=max_f1", "hydra.run.dir=run"]
    process = run_command("train.py", *arguments, cwd=folder)
    assert process.returncode == 0, process.stderr
    assert "bought: 1 is yes" in process.stderr
    assert "column id is left out" in process.stderr
    return folder


def test_a_run_says_what_it_did(trained: Path) -> None:
    record = json.loads((trained / "run" / "run.json").read_text())
    assert record["data"]["rows"] == {"train": 480, "val": 60, "test": 60}
    assert record["data"]["labels"] == {"no": 0, "yes": 1}
    assert set(record["data"]["left_out"]) == {"id", "planet"}
    assert record["threshold_rule"]["rule"] == "max_f1"
    assert 0 < record["threshold"] < 1
    rows = list(csv.DictReader((trained / "run" / "coefficients.csv").open()))
    assert list(rows[0]) == ["feature", "level", "coefficient", "coefficient_standardised"]
    coefficients = {(row["feature"], row["level"]): row for row in rows}
    preprocessing = json.loads((trained / "run" / "preprocessing.json").read_text())
    age = next(c for c in preprocessing["columns"] if c["feature"] == "age")
    age_row = coefficients["age", ""]
    assert float(age_row["coefficient"]) * age["scale"] == pytest.approx(float(age_row["coefficient_standardised"]))
    assert coefficients["city", "Ulm"]["coefficient"] == coefficients["city", "Ulm"]["coefficient_standardised"]
    config = json.loads((trained / "run" / "config.json").read_text())
    assert config["penalty"]["l2"] == 1 / 480


def test_predictions_have_a_row_for_each_row_in_order(trained: Path) -> None:
    process = run_command(
        "scripts/predict.py", "run=run", "data.path=new.csv", "output=p.csv", "data.keep=[id]", cwd=trained
    )
    assert process.returncode == 0, process.stderr
    assert "300 predictions" in process.stdout
    new = pd.read_csv(trained / "new.csv")
    out = pd.read_csv(trained / "p.csv")
    assert list(out) == ["id", "probability", "prediction"]
    assert out.id.tolist() == new.id.tolist()
    run = load_run(trained / "run")
    for frame in (new, pl.from_pandas(new), new[new.columns[::-1]].drop(columns="bought")):
        np.testing.assert_allclose(out.probability, run.predict_proba(frame), atol=1e-9)
    assert (out.prediction == (out.probability >= run.model.threshold)).all()

    pl.from_pandas(new).write_parquet(trained / "new.parquet")
    process = run_command("scripts/predict.py", "run=run", "data.path=new.parquet", "output=p.parquet", cwd=trained)
    assert process.returncode == 0, process.stderr
    np.testing.assert_allclose(pd.read_parquet(trained / "p.parquet").probability, out.probability, atol=1e-12)

    process = run_command("scripts/predict.py", "run=run", "data.path=new.csv", "output=-", cwd=trained)
    assert process.stdout.splitlines()[0] == "probability,prediction"
    assert len(process.stdout.splitlines()) == 301


def test_an_evaluation_has_metrics_intervals_baseline_and_confusion(trained: Path) -> None:
    process = run_command("scripts/evaluate.py", "run=run", "data.path=new.csv", cwd=trained)
    assert process.returncode == 0, process.stderr
    assert "majority class" in process.stdout
    result = json.loads((trained / "run" / "evaluation.json").read_text())
    new = pd.read_csv(trained / "new.csv")
    y = (new.bought == "yes").to_numpy()
    run = load_run(trained / "run")
    p = run.predict_proba(new)
    assert result["metrics"]["auroc"] == pytest.approx(roc_auc_score(y, p), abs=1e-6)
    assert result["metrics"]["f1"] == pytest.approx(f1_score(y, run.predict(new)), abs=1e-6)
    for name, (low, high) in result["intervals"].items():
        assert low <= result["metrics"][name] <= high, name
    majority = json.loads((trained / "run" / "run.json").read_text())["data"]["label_counts"]["train"]
    share = (~y).mean() if majority[0] > majority[1] else y.mean()
    assert result["baseline"]["accuracy"] == pytest.approx(share)
    assert result["confusion"]["true_positive"] == int((y & (p >= run.model.threshold)).sum())
    assert sum(result["confusion"].values()) == 300
    again = run_command("scripts/evaluate.py", "run=run", cwd=trained)
    assert again.returncode == 0, again.stderr
    assert "metrics equal the recorded ones exactly" in again.stdout


def test_labels_of_a_new_table_are_recognised_or_said(trained: Path) -> None:
    new = pd.read_csv(trained / "new.csv")
    new.assign(bought=new.bought + ".").to_csv(trained / "stop.csv", index=False)
    assert run_command("scripts/evaluate.py", "run=run", "data.path=stop.csv", cwd=trained).returncode == 0
    new.assign(bought=new.bought.map({"yes": "ja", "no": "nein"})).to_csv(trained / "german.csv", index=False)
    process = run_command("scripts/evaluate.py", "run=run", "data.path=german.csv", cwd=trained)
    assert_refused(process, ["data.labels", "'no' (0)"])
    labels = 'data.labels={"ja":1,"nein":0}'
    process = run_command("scripts/evaluate.py", "run=run", "data.path=german.csv", labels, cwd=trained)
    assert process.returncode == 0, process.stderr


WRONG = [
    (["scripts/predict.py", "run=run", "data.path=new.csv", "output=p.txt"], ["output=p.txt", ".csv or .parquet"]),
    (["scripts/predict.py", "run=run", "data.path=new.csv", "output=no/p.csv"], ["output=no/p.csv", "no folder"]),
    (["scripts/predict.py", "run=run", "data.path=none.csv", "output=p9.csv"], ["data.path=none.csv", "no such file"]),
    (["scripts/predict.py", "run=run", "output=p9.csv"], ["data.path"]),
    (["scripts/predict.py", "run=run", "data.path=short.csv", "output=p9.csv"], ["short.csv", "age, income"]),
    (["scripts/predict.py", "run=run", "data.path=words.csv", "output=p9.csv"], ["words.csv", "age"]),
    (["scripts/predict.py", "run=run", "data.path=new.csv", "output=p9.csv", "data.keep=[idd]"], ["data.keep", "idd"]),
    (["scripts/predict.py", "run=nowhere", "data.path=new.csv", "output=p9.csv"], ["nowhere", "run directory"]),
    (["scripts/evaluate.py", "run=run", "data.path=new.csv", "data.target=sold"], ["data.target=sold", "bought"]),
    (["scripts/evaluate.py", "run=run", "data.path=gaps.csv"], ["data.target=bought", "3 rows", "drop_missing_target"]),
    (["scripts/evaluate.py", "run=run", "data.path=new.csv", "confidence=2"], ["confidence=2", "between 0 and 1"]),
]


@pytest.mark.parametrize(("arguments", "parts"), WRONG, ids=lambda value: " ".join(value)[:60])
def test_a_table_that_does_not_fit_the_run(trained: Path, arguments: list[str], parts: list[str]) -> None:
    new = pd.read_csv(trained / "new.csv")
    new.drop(columns=["age", "income"]).to_csv(trained / "short.csv", index=False)
    new.assign(age="old").to_csv(trained / "words.csv", index=False)
    new.assign(bought=new.bought.where(new.index > 2)).to_csv(trained / "gaps.csv", index=False)
    assert_refused(run_command(*arguments, cwd=trained), parts)
    assert not (trained / "p9.csv").exists()
    assert not list(trained.glob(".*.part"))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["data=table", "data.path=none.csv", "data.target=y"], ["data.path=none.csv", "no such file"]),
        (["data=table", "data.target=y"], ["data.path", "churn.csv"]),
        (["data=table", "data.path=t.csv"], ["data.target", "a, y"]),
        (["data=table", "data.path=t.csv", "data.target=yy"], ["data.target=yy", "did you mean y?"]),
        (["data=table", "data.path=t.csv", "data.target=y", "threshold=max_f"], ["threshold=max_f", "max_youden"]),
        (["data=table", "data.path=t.csv", "data.target=y", "data.folds=5"], ["data.folds", "data.fold"]),
        (["data=table", "data.path=t.csv", "data.target=y", "data.exclude=a"], ["data.exclude=a", "list"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_a_table_that_cannot_be_trained_on(
    command: Command, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    (tmp_path / "t.csv").write_text("a,y\n" + "1.5,0\n2.5,1\n" * 20)
    assert_refused(command("train.py", *arguments, "hydra.run.dir=run"), parts)


def test_a_sweep_over_folds(command: Command, tmp_path: Path) -> None:
    people(300).to_csv(tmp_path / "t.csv", index=False)
    arguments = ["data=table", "data.path=t.csv", "data.target=bought", "data.folds=3", "data.fold=0,1,2"]
    process = command("train.py", "-m", *arguments, "figures=false", "hydra.sweep.dir=sweep")
    assert process.returncode == 0, process.stderr
    rows = list(csv.DictReader((tmp_path / "sweep" / "leaderboard.csv").open()))
    assert sorted(row["data.fold"] for row in rows) == ["0", "1", "2"]
    assert all(row["status"] == "completed" for row in rows)


FILES = [
    ("spector.csv", "GRADE"),
    ("lbw.csv", "low"),
    ("endometrial.csv", "HG"),
    ("sex2.csv", "case"),
    ("titanic_survival.csv", "survived"),
    ("wa_churn.csv", "churn"),
    ("wa_churn.parquet", "churn"),
    ("adult_train.csv", "column_15"),
    ("adult_test.csv", "column_15"),
    ("heart_scale.svm", None),
    ("a9a.svm", None),
    ("a9a.t.svm", None),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "target"), FILES, ids=[name for name, _ in FILES])
def test_the_reference_files_train_predict_evaluate_and_export(command: Command, name: str, target: str | None) -> None:
    if not SHARED.is_dir():
        pytest.skip("the reference files are not beside this checkout")
    path = f"data.path={SHARED / name}"
    target_setting = [f"data.target={target}"] if target else []
    process = command("train.py", "data=table", path, *target_setting, "figures=false", "hydra.run.dir=run")
    assert process.returncode == 0, process.stderr
    for arguments in (["scripts/predict.py", "output=p.csv"], ["scripts/evaluate.py", "bootstrap=20"]):
        process = command(arguments[0], "run=run", path, arguments[1])
        assert process.returncode == 0, process.stderr
    for form in ("sklearn", "onnx", "torch"):  # each compares its probabilities with the run's
        process = command("scripts/export.py", "run=run", f"format={form}", f"output=run.{form}")
        assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_the_census_and_churn_are_predicted_as_well_as_scikit_learn_does(command: Command, tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("the reference files are not beside this checkout")
    paths = [f"data.path={SHARED / 'adult_train.csv'}", f"data.test_path={SHARED / 'adult_test.csv'}"]
    arguments = ["data=table", *paths, "data.target=column_15", "optimizer=lbfgs", "figures=false"]
    process = command("train.py", *arguments, "hydra.run.dir=adult")
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / "adult" / "run.json").read_text())["metrics"]["test/auroc"] >= 0.904
    run = load_run(tmp_path / "adult")
    assert run.record["metrics"]["test/auroc"] == pytest.approx(scikit_learn_auroc(run), abs=0.001)
    churn = ["data=table", f"data.path={SHARED / 'wa_churn.csv'}", "data.target=churn", "figures=false"]
    process = command("train.py", "-m", *churn, "data.folds=5", "data.fold=range(5)", "hydra.sweep.dir=sweep")
    assert process.returncode == 0, process.stderr
    process = command("train.py", *churn, "hydra.run.dir=churn")
    assert process.returncode == 0, process.stderr
    run = load_run(tmp_path / "churn")
    assert run.record["metrics"]["test/auroc"] == pytest.approx(scikit_learn_auroc(run), abs=0.001)
    rows = list(csv.DictReader((tmp_path / "sweep" / "leaderboard.csv").open()))
    assert np.mean([float(row["val/auroc"]) for row in rows]) >= 0.84


def scikit_learn_auroc(run: Run) -> float:
    """On test rows, of scikit-learn's LogisticRegression on the features that the run was trained on."""
    data = build_data(DataSettings.of({**run.config["data"], "cache_dir": str(run.directory / "cache")}))
    assert isinstance(data, TableData)
    data.setup()
    x, y = data.tensors("train")
    test, labels = data.tensors("test")
    model = LogisticRegression(C=1.0, max_iter=1000, tol=1e-6).fit(x.numpy(), y.numpy())
    return float(roc_auc_score(labels.numpy(), model.decision_function(test.numpy())))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """A million rows of 40 numbers, 320 MB as float64: anonymous memory is that of the imports and a few batches."""
    random = np.random.default_rng(0)
    frame = pl.DataFrame({f"x{i}": random.normal(size=1_000_000) for i in range(40)})
    frame.with_columns(y=pl.Series(random.integers(0, 2, 1_000_000))).write_parquet(tmp_path / "t.parquet")
    del frame
    code = f"""
import runpy, sys, threading, time
peak = 0
def watch():
    global peak
    while True:
        line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
        peak = max(peak, int(line.split()[1]))
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
sys.argv = ["train.py", "data=table", "data.path=t.parquet", "data.target=y", "epochs=1", "hydra.run.dir=run"]
try:
    runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
finally:
    print("peak", peak)
"""
    import subprocess
    import sys

    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert process.returncode == 0, process.stderr
    peak = re.search(r"peak (\d+)", process.stdout)
    assert peak is not None
    assert int(peak[1]) < 1.5 * 2**20


# --- columns carried along, and files that are written as the run's own -----------------------------------------------


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table whose columns have blanks, leading zeros and words that may mean a missing value."""
    folder = tmp_path_factory.mktemp("plain")
    random = np.random.default_rng(0)
    codes = random.choice(["NA", "DE", "?"], 300)
    drawn = zip(codes, random.random(300), strict=True)
    rows = [f'{i:05d},{code},"  {i} ",{x:.3f},{int(x > 0.5)}' for i, (code, x) in enumerate(drawn)]
    (folder / "t.csv").write_text("\n".join(["id,code,padded,x,y", *rows]) + "\n")
    words = [f"{random.choice(['a', 'b'])},{random.choice(['c', 'd'])},{random.choice(['p', 'q'])}" for _ in range(200)]
    (folder / "words.csv").write_text("\n".join(words) + "\n")
    cities = [f"{city},{int(city == 'New York')}" for city in random.choice(["New York", "San Jose"], 200)]
    (folder / "city.csv").write_text("\n".join(["city,y", *cities]) + "\n")
    for name, arguments in (
        ("run", ["data.path=t.csv", "data.target=y", "data.features=[code,x]"]),
        ("words", ["data.path=words.csv", "data.target=column_1"]),
        ("city", ["data.path=city.csv", "data.target=y"]),
    ):
        process = run_command(
            "train.py", "data=table", *arguments, "figures=false", f"hydra.run.dir={name}", "epochs=2", cwd=folder
        )
        assert process.returncode == 0, process.stderr
    return folder


def test_kept_columns_come_out_as_they_are_written(plain_run: Path) -> None:
    arguments = ["run=run", "data.path=t.csv"]
    carried = run_command(
        "scripts/predict.py", *arguments, "data.keep=[id,code,padded]", "output=kept.csv", cwd=plain_run
    )
    assert carried.returncode == 0, carried.stderr
    run_command("scripts/predict.py", *arguments, "output=bare.csv", cwd=plain_run)
    given = list(csv.DictReader((plain_run / "t.csv").open()))
    written = list(csv.DictReader((plain_run / "kept.csv").open()))
    bare = list(csv.DictReader((plain_run / "bare.csv").open()))
    names = ("id", "code", "padded")
    assert [[row[name] for name in names] for row in written] == [[row[name] for name in names] for row in given]
    assert [row["probability"] for row in written] == [row["probability"] for row in bare]


@pytest.mark.parametrize(
    ("run", "text", "rows"),
    [
        ("words", "a,c,p\nb,d,q\n", 2),
        ("words", "a,c,p\n", 1),
        ("city", "city\nNew York\nSan Jose\n", 2),
        ("city", "n;city\n1;New York\n", 1),
    ],
)
def test_a_small_new_file_is_read_as_the_runs_own(plain_run: Path, run: str, text: str, rows: int) -> None:
    (plain_run / "new.csv").write_text(text)
    process = run_command("scripts/predict.py", f"run={run}", "data.path=new.csv", "output=-", cwd=plain_run)
    assert process.returncode == 0, process.stderr
    assert len(process.stdout.splitlines()) == rows + 1


def test_a_frame_has_missing_values_where_a_file_has_them(plain_run: Path) -> None:
    run = load_run(plain_run / "run")
    frame = pd.read_csv(plain_run / "t.csv", keep_default_na=False, dtype={"code": str})
    run_command("scripts/predict.py", "run=run", "data.path=t.csv", "output=file.csv", cwd=plain_run)
    expected = [float(row["probability"]) for row in csv.DictReader((plain_run / "file.csv").open())]
    np.testing.assert_allclose(run.predict_proba(frame), expected, rtol=1e-12)


def test_a_sparse_table_of_two_columns_trains_with_figures(tmp_path: Path) -> None:
    (tmp_path / "two.svm").write_text("+1 1:1 2:1\n-1 1:0.5\n+1 2:.3\n-1 1:2 2:-1\n" * 9)
    process = run_command("train.py", "data=table", "data.path=two.svm", "hydra.run.dir=run", "epochs=2", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert list((tmp_path / "run" / "figures").glob("*.png"))


def test_an_evaluation_refuses_a_label_of_2_as_training_does(trained: Path) -> None:
    process = run_command(
        "scripts/evaluate.py", "run=run", "data.path=new.csv", 'data.labels={"yes":1,"no":2}', cwd=trained
    )
    assert_refused(process, ["data.labels: 'no' is 2; 0 or 1 is needed"])
