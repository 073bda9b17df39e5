"""The page of a run, read with a parser and held against run.json, scikit-learn and the terminal's own sentences."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, average_precision_score, brier_score_loss, f1_score, log_loss, roc_auc_score

from logreg import load_run
from logreg.cli.assemble import make_data
from logreg.cli.pages import write_run
from logreg.records.record import read_settings
from logreg.report.page.run_page import NOTHING_HELD_OUT
from logreg.report.page.tables import shown_number
from tests.commands import run_command
from tests.report.page.pages import Page

SPLITS = {"training": "train", "validation": "val", "test": "test"}
HOSTILE = ["</script><script>alert(1)</script>", '"onmouseover="alert(1)', "$x_1$ & $", "it's \\frac{"]


def trained(folder: Path, *arguments: str, fails: bool = False) -> Path:
    process = run_command("train.py", *arguments, "hydra.run.dir=run", "figures=false", cwd=folder)
    assert fails or process.returncode == 0, process.stderr
    return folder / "run"


def page_of(run: Path) -> Page:
    output = run.parent / f"{run.name}.html"
    write_run(run, output)
    assert output.stat().st_size < 3_000_000
    return Page(output.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return trained(folder, "data=breast_cancer", "optimizer=adam", "epochs=20", "penalty.l2=0.001", "seed=2")


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return page_of(run)


def test_metrics_are_those_of_the_record(page: Page, run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    header, *rows = page.cells("metrics")
    on_page = {}
    for name, *cells in rows:
        for split, cell in zip(header[1:], cells, strict=True):
            if cell:
                on_page[f"{SPLITS[split]}/{name}"] = cell.split()[0]
    expected = {n: shown_number(v) for n, v in record["metrics"].items() if "brier_" not in n}
    assert on_page == expected
    titles = {tag["data-metric"]: tag["title"] for _, tag in page.tags if "data-metric" in tag}
    assert {name: float(str(value)) for name, value in titles.items()} == {
        name: record["metrics"][name] for name in ("test/accuracy", "test/auroc", "test/log_loss", "test/brier")
    }


def test_the_majority_class_is_scikit_learns_dummy(page: Page, run: Path) -> None:
    data = make_data(read_settings(run))
    y = {split: data.labels_of(split) for split in SPLITS.values()}
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((len(y["train"]), 1)), y["train"])
    header, *rows = page.cells("metrics")
    shown = {
        f"{SPLITS[split]}/{row[0]}": float(cell.split()[1])
        for row in rows
        for split, cell in zip(header[1:], row[1:], strict=True)
        if len(cell.split()) == 2
    }
    for split, labels in y.items():
        x = np.zeros((len(labels), 1))
        p, predicted = dummy.predict_proba(x)[:, 1], dummy.predict(x)
        expected = {"accuracy": accuracy_score(labels, predicted), "log_loss": log_loss(labels, p)}
        if split != "train":
            expected |= {"f1": f1_score(labels, predicted), "auroc": roc_auc_score(labels, p)}
            expected |= {"average_precision": average_precision_score(labels, p), "brier": brier_score_loss(labels, p)}
            expected |= {"loss": log_loss(labels, p), "calibration_error": abs(p[0] - labels.mean())}
        of_split = {name.partition("/")[2]: v for name, v in shown.items() if name.startswith(f"{split}/")}
        assert of_split == pytest.approx(expected, abs=5.1e-5)


def test_the_sentences_of_the_terminal_are_there(page: Page, run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    interval = record["intervals"]["test/accuracy"]
    assert f"interval {interval['low']:.4f} to {interval['high']:.4f}; the commoner label alone" in page.text
    assert record["optimality"]["sentence"] in page.text
    assert f"metrics of the best checkpoint, update {record['evaluated']['updates']:,}" in page.text
    assert "569 rows (341 training, 114 validation, 114 test), 30 features" in page.text
    assert "python train.py data=breast_cancer optimizer=adam epochs=20 penalty.l2=0.001 seed=2" in page.text
    assert record["git"] is None or record["git"]["commit"] in page.text
    assert record["versions"]["torch"] in page.text


def test_coefficients_are_those_of_the_file(page: Page, run: Path) -> None:
    with (run / "coefficients.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = page.islands["coefficients"]["columns"]
    names = [columns[0]["texts"][code] for code in columns[0]["codes"]]
    assert dict(zip(names, columns[1]["values"], strict=True)) == pytest.approx(
        {row["feature"]: float(row["coefficient"]) for row in rows}, rel=1e-6
    )
    sizes = [abs(value) for value in columns[2]["values"][1:]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(page.cells("coefficients")) == 1 + 20


def test_roc_and_reliability_are_drawn_of_the_rows_that_were_held_out(page: Page, run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    for title in ("ROC curve", "Precision and recall", "Reliability of the probabilities", "Largest coefficients"):
        assert title in [tag.get("aria-label") for name, tag in page.tags if name == "svg"]
    assert f"AUROC {record['metrics']['test/auroc']:.4f}" in page.text
    assert f"Average precision {record['metrics']['test/average_precision']:.4f}" in page.text
    assert "breast_cancer, test rows" in page.text


def test_the_page_asks_nobody_for_anything(page: Page) -> None:
    policy = next(str(tag["content"]) for name, tag in page.tags if tag.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")
    for _, attributes in page.tags:
        for key in ("src", "href", "data", "action", "srcset"):
            assert str(attributes.get(key) or "#").startswith(("#", "data:")), attributes
    assert "@import" not in page.html
    assert "url(http" not in page.html
    ids = [tag["id"] for _, tag in page.tags if "id" in tag]
    assert len(ids) == len(set(ids))


def test_a_run_whose_data_is_gone_says_so_and_shows_what_there_is(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "figures").mkdir()
    (copy / "figures" / "roc.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    record = json.loads((copy / "run.json").read_text())
    record["data"]["fingerprint"] = "sha256:other"
    (copy / "run.json").write_text(json.dumps(record))
    page = page_of(copy)
    assert "data has changed since it was trained" in page.text
    assert "figures are those that the run drew" in page.text
    assert sum(name == "img" for name, _ in page.tags) == 1
    shutil.rmtree(copy / "checkpoints")
    assert "kept no checkpoint" in page_of(copy).text
    assert "0.9" in page_of(copy).text


@pytest.mark.parametrize("status", ["failed", "diverged", "interrupted", "running"])
def test_a_run_without_metrics_has_a_page_without_empty_sections(tmp_path: Path, status: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    record: dict[str, Any] = {"status": status, "overrides": ["lr=1e30"], "name": "toy", "metrics": {}, "updates": 3}
    record["error"] = None if status == "running" else f"it stopped: {HOSTILE[0]} {HOSTILE[1]}"
    (run / "run.json").write_text(json.dumps(record))
    page = page_of(run)
    headings = [tag for tag, _ in page.tags if tag == "h2"]
    assert len(headings) == 1  # how it was run
    assert "python train.py lr=1e30" in page.text
    assert status in page.text
    assert (HOSTILE[0] in page.text) == (status != "running")
    assert len(page.scripts) == 1


ODD = [{"seconds": {"fit": "2"}}, {"optimality": {}}, {"updates": None}, {"overrides": None}, {"evaluated": None}]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_a_record_of_another_shape_has_a_page_of_what_is_as_it_should_be(odd: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    record = {"status": "completed", "overrides": [], "name": "toy", "metrics": {"train/loss": 0.25}, "updates": 3}
    (run / "run.json").write_text(json.dumps(record | odd))
    assert "0.25" in page_of(run).text


def test_metrics_that_are_not_finite_are_left_out(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    record = json.loads((copy / "run.json").read_text())
    record["metrics"]["test/log_loss"] = None
    (copy / "run.json").write_text(json.dumps(record))
    rows = {row[0]: row for row in page_of(copy).cells("metrics")}
    assert rows["log_loss"][3] == ""
    assert rows["log_loss"][2] != ""


@pytest.mark.slow
def test_the_six_points_have_their_boundary_and_no_held_out_numbers(tmp_path: Path) -> None:
    page = page_of(trained(tmp_path, "epochs=50"))
    assert "Decision boundary" in page.text
    assert "ROC curve" not in page.text
    assert "Reliability" not in page.text
    assert NOTHING_HELD_OUT in page.text
    assert page.cells("metrics")[0] == ["metric", "training"]
    assert float(page.cells("metrics")[3][1].split()[1]) == 0.5  # three of six points are of either label


@pytest.mark.slow
def test_two_features_with_held_out_rows_have_the_boundary_and_the_curves(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(200, 2))
    lines = [f"{a},{b},{int(a + random.normal() > 0)}" for a, b in x]
    (tmp_path / "two.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    arguments = ["data=table", f"data.path={tmp_path / 'two.csv'}", "data.target=y", "hydra.run.dir=run"]
    process = run_command("train.py", *arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    run = tmp_path / "run"
    names = {path.stem for path in (run / "figures").iterdir()}
    assert names == {"decision_boundary", "roc", "precision_recall", "reliability"}
    page = page_of(run)
    assert "No rows were held out" not in page.text
    record = json.loads((run / "run.json").read_text())
    assert f"AUROC {record['metrics']['test/auroc']:.4f}" in page.text
    assert f"Average precision {record['metrics']['test/average_precision']:.4f}" in page.text
    for title in ("Decision boundary", "ROC curve", "Precision and recall", "Reliability of the probabilities"):
        assert title in page.text


@pytest.mark.slow
def test_names_that_are_code_are_text(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 2))
    with (tmp_path / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([HOSTILE[0], HOSTILE[2], HOSTILE[3], "y"])
        for i, (a, b) in enumerate(x):
            label = int(a + random.normal() > 0)
            writer.writerow([a, b, HOSTILE[i % 4], label])
    run = trained(tmp_path, "data=table", f"data.path={tmp_path / 'table.csv'}", "data.target=y", "name='<b>$a$</b>'")
    (run / "run.json").write_text((run / "run.json").read_text().replace('"device": "cpu"', '"device": "<i>cpu"'))
    page = page_of(run)
    assert len(page.scripts) == 1
    assert not {"i", "b"} & {name for name, _ in page.tags}
    assert not any("onmouseover" in tag for _, tag in page.tags)
    assert "<b>$a$</b>" in page.text
    names = page.islands["coefficients"]["columns"][0]["texts"]
    assert {HOSTILE[0], HOSTILE[2], *(f"{HOSTILE[3]}={text}" for text in HOSTILE)} <= set(names)
    svg = next(i for i, (_, tag) in enumerate(page.tags) if tag.get("aria-label") == "Largest coefficients")
    assert svg
    assert HOSTILE[2] in page.text


@pytest.mark.slow
def test_weighted_rows_have_the_majority_of_their_weights(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "w", "y"])
        for _ in range(300):
            label = int(random.random() < 0.7)
            writer.writerow([random.normal() + label, 5.0 if label == 0 else random.integers(1, 3), label])
    arguments = ["data=table", f"data.path={tmp_path / 'table.csv'}", "data.target=y", "data.weight=w"]
    run = trained(tmp_path, *arguments)
    page = page_of(run)
    data = make_data(load_run(run).settings)
    y = {split: data.labels_of(split) for split in ("train", "test")}
    w = {split: data.own_weights(split) for split in ("train", "test")}
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((len(y["train"]), 1)), y["train"], w["train"])
    x = np.zeros((len(y["test"]), 1))
    row = next(row for row in page.cells("metrics") if row[0] == "log_loss")
    expected = log_loss(y["test"], dummy.predict_proba(x)[:, 1], sample_weight=w["test"])
    assert float(row[3].split()[1]) == pytest.approx(expected, abs=5.1e-5)
    row = next(row for row in page.cells("metrics") if row[0] == "accuracy")
    expected = accuracy_score(y["test"], dummy.predict(x), sample_weight=w["test"])
    assert float(row[3].split()[1]) == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.slow
def test_the_loss_of_the_majority_is_the_loss_that_was_minimised(tmp_path: Path) -> None:
    run = trained(tmp_path, "data=breast_cancer", "optimizer=adam", "epochs=3", "loss=mse")
    page, data = page_of(run), make_data(read_settings(run))
    assert "the mean squared error of the probabilities, not the log loss" in page.text
    share = data.labels_of("train").mean()
    rows = {row[0]: row for row in page.cells("metrics")}
    for place, split in ((2, "val"), (3, "test")):
        labels = data.labels_of(split)
        expected = brier_score_loss(labels, np.full(len(labels), share))
        assert float(rows["loss"][place].split()[1]) == pytest.approx(expected, abs=5.1e-5)
        expected = log_loss(labels, np.full(len(labels), share))
        assert float(rows["log_loss"][place].split()[1]) == pytest.approx(expected, abs=5.1e-5)
