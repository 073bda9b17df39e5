"""A sweep's outputs in the real TensorBoard server, asked over HTTP and looked at in a browser."""

from __future__ import annotations

import json
import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from logreg.report.figures.boundary import TAG, moments
from logreg.report.tensorboard.events import CATEGORY, framed
from tests.commands import run_command
from tests.report.page.serving import NODES, ask, browser, served, text_when

METRICS = {"final/train/loss", "final/train/accuracy", "final/val/loss", "final/val/auroc"}
TITLES = ["loss", "accuracy", "log_loss", "f1", "auroc", "average_precision", "calibration_error", "brier"]
COPIES = 1500  # of a run's event file


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    arguments = ["-m", "data=breast_cancer", "lr=0.01,0.1", "optimizer=sgd,adam", "epochs=3", "hydra.sweep.dir=sweep"]
    process = run_command("train.py", *arguments, cwd=folder)
    assert process.returncode == 0, process.stderr
    return folder / "sweep"


@pytest.fixture(scope="module")
def server(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(sweep, 5, tmp_path_factory.mktemp("tensorboard") / "log") as address:  # four jobs, and their figures
        yield address


def test_the_server_has_every_run_and_its_scalars(server: str, sweep: Path) -> None:
    runs = ask(f"{server}/data/runs")
    assert sorted(runs) == sorted(["figures", *(path.parent.name for path in sweep.glob("*/run.json"))])
    runs = [run for run in runs if run != "figures"]
    tags = ask(f"{server}/data/plugin/scalars/tags")
    for run in runs:
        assert {"train/loss", "train/accuracy", "val/loss", "val/auroc", *METRICS} <= set(tags[run])
        record = json.loads((sweep / run / "run.json").read_text())
        assert ("final/test/accuracy" in tags[run]) == ("test/accuracy" in record["metrics"])
        query = urllib.parse.urlencode({"run": run, "tag": "val/loss"})
        points = ask(f"{server}/data/plugin/scalars/scalars?{query}")
        assert [point[1] for point in points] == [0, 11, 22, 33]  # 341 rows in batches of 32: 11 updates a pass


def test_the_server_has_the_figures(server: str) -> None:
    images = ask(f"{server}/data/plugin/images/tags")
    assert any(tag.startswith("sweep/val_loss_by_lr") for tag in images.pop("figures"))
    assert all({"roc", "precision_recall", "reliability"} <= set(tags) for tags in images.values())


def test_the_hparams_tab_has_the_swept_keys_and_the_final_metrics(server: str, sweep: Path) -> None:
    experiment = ask(f"{server}/data/plugin/hparams/experiment", {"experimentName": ""})
    names = {info["name"] for info in experiment["hparamInfos"]}
    assert {"lr", "optimizer", "seed", "epochs", "data", "model", "data.batch_size", "penalty.l2"} <= names
    metrics = [info["name"] for info in experiment["metricInfos"]]
    assert {metric["tag"] for metric in metrics} >= METRICS
    assert not any("hp_metric" in metric["tag"] for metric in metrics)
    body = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING", "STATUS_UNKNOWN"],
        "colParams": [{"metric": metric} for metric in metrics],
        "startIndex": 0,
        "sliceSize": 100,
    }
    groups = ask(f"{server}/data/plugin/hparams/session_groups", body)["sessionGroups"]
    assert len(groups) == 4
    assert len({tuple(sorted(group["hparams"])) for group in groups}) == 1
    settings = {(group["hparams"]["lr"], group["hparams"]["optimizer"]) for group in groups}
    assert settings == {(lr, optimizer) for lr in (0.01, 0.1) for optimizer in ("sgd", "adam")}
    for group in groups:
        (session,) = group["sessions"]
        assert session["status"] == "STATUS_SUCCESS"
        record = json.loads((sweep / session["name"] / "run.json").read_text())
        values = {value["name"]["tag"]: value["value"] for value in session["metricValues"]}
        for name, expected in record["metrics"].items():
            assert values[f"final/{name}"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.browser
def test_a_browser_shows_the_sweep_in_the_hparams_table(server: str, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as driver:
        text = text_when(driver, f"{server}/#hparams", ("optimizer", "adam", "sgd", "0.01"))
        (tmp_path / "hparams.png").write_bytes(driver.get_screenshot_as_png())
    for word in ("lr", "optimizer", "adam", "sgd", "0.01", "0.1", "final/"):
        assert word in text, text
    assert "hp_metric" not in text


def test_records_are_framed_as_tensorboards_own_writer_frames_them(tmp_path: Path) -> None:
    """The oracle computes its checksums in Python; lengths around those at which C code changes its way."""
    contents = [(bytes(range(256)) * 400)[:length] for length in (0, 1, 7, 8, 63, 64, 65, 4096, 100_000)]
    writer = RecordWriter((tmp_path / "expected").open("wb"))
    for content in contents:
        writer.write(content)
    writer.close()
    assert b"".join(map(framed, contents)) == (tmp_path / "expected").read_bytes()


@pytest.fixture(scope="module")
def outputs(sweep: Path) -> Path:
    """The sweep, which is two fits of two jobs, beside a run of the six points."""
    process = run_command("train.py", "epochs=200", "hydra.run.dir=toy", cwd=sweep.parent)
    assert process.returncode == 0, process.stderr
    return sweep.parent


@pytest.fixture(scope="module")
def address(outputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the sweep and of the run."""
    with served(outputs, 6, tmp_path_factory.mktemp("tensorboard") / "log") as address:
        yield address


def jobs(server: str) -> list[str]:
    return [run for run in ask(f"{server}/data/runs") if run.startswith("sweep/") and run != "sweep/figures"]


@pytest.mark.slow
def test_layouts_of_several_runs_are_merged_into_one_chart_a_metric(address: str) -> None:
    (category,) = ask(f"{address}/data/plugin/custom_scalars/layout")["category"]
    assert category["title"] == CATEGORY
    charts = {chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]}
    assert len(charts) == len(category["chart"])
    assert set(charts) == set(TITLES)
    for run in jobs(address):
        query = urllib.parse.urlencode({"run": run, "tag": charts["loss"][0]})
        answer = ask(f"{address}/data/plugin/custom_scalars/scalars?{query}")
        assert answer["regex_valid"]
        assert set(answer["tag_to_events"]) == {"train/loss", "val/loss"}


@pytest.mark.slow
def test_every_run_has_its_curves_and_texts(address: str, outputs: Path) -> None:
    curves, texts = (ask(f"{address}/data/plugin/{name}/tags") for name in ("pr_curves", "text"))
    assert set(curves["toy"]) == {"precision_recall/train"}
    tested = [run for run in jobs(address) if "precision_recall/test" in curves[run]]
    assert len(tested) == 1  # the winner, which alone is measured on test rows
    for run in jobs(address):
        assert "precision_recall/val" in curves[run]
        query = urllib.parse.urlencode({"run": run, "tag": "precision_recall/val"})
        (curve,) = ask(f"{address}/data/plugin/pr_curves/pr_curves?{query}")[run]
        assert curve["true_positives"][0] + curve["false_positives"][0] == 114  # validation rows
        assert curve["recall"][0] == 1
        query = urllib.parse.urlencode({"run": run, "tag": "conclusion"})
        newest = ask(f"{address}/data/plugin/text/text?{query}")[-1]["text"]
        assert ("<th" in newest, newest.count("test</th>")) == (True, int(run in tested))
    assert all(sorted(tags) == ["conclusion", "configuration"] for run, tags in texts.items() if run != "sweep/figures")


@pytest.mark.slow
def test_the_series_of_pictures_is_there_whole(address: str) -> None:
    query = urllib.parse.urlencode({"run": "toy", "tag": TAG, "sample": 0})
    images = ask(f"{address}/data/plugin/images/images?{query}")
    assert [image["step"] for image in images] == moments(200)


@pytest.mark.slow
def test_a_layout_among_thousands_of_runs_is_found(tmp_path: Path) -> None:
    """Of a fit of thousands of jobs one has the layout; here all have, which is the most there is to merge."""
    small = tmp_path / "small"
    process = run_command("train.py", "epochs=20", "figures=false", f"hydra.run.dir='{small}'", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    (source,) = small.glob("events.out.tfevents.*")
    for i in range(COPIES):
        (tmp_path / "many" / str(i)).mkdir(parents=True)
        shutil.copy(source, tmp_path / "many" / str(i))
    with served(tmp_path / "many", COPIES, tmp_path / "log") as address:
        (category,) = ask(f"{address}/data/plugin/custom_scalars/layout")["category"]
        assert [chart["title"] for chart in category["chart"]] == ["loss", "accuracy"]


@pytest.mark.slow
@pytest.mark.browser
def test_a_browser_shows_the_tabs(address: str, tmp_path: Path) -> None:
    sliders = f"{NODES} return nodes(document.body).filter(n => n.nodeName === 'PAPER-SLIDER').map(n => n.max);"
    with browser(tmp_path / "profile") as driver:
        text = text_when(driver, f"{address}/#custom_scalars", (CATEGORY, "auroc", "train/loss", "val/loss"))
        (tmp_path / "custom_scalars.png").write_bytes(driver.get_screenshot_as_png())
        for word in (CATEGORY, "loss", "accuracy", "auroc"):
            assert word in text, text
        text = text_when(driver, f"{address}/#pr_curves", ("precision_recall/train", "precision_recall/val", "step"))
        (tmp_path / "pr_curves.png").write_bytes(driver.get_screenshot_as_png())
        assert "precision_recall/val" in text, text
        text = text_when(driver, f"{address}/#text", ("conclusion", "completed after 200 updates", "run it again"))
        (tmp_path / "text.png").write_bytes(driver.get_screenshot_as_png())
        for word in ("conclusion", "completed after 200 updates", "completely separated", "python train.py"):
            assert word in text, text
        text = text_when(driver, f"{address}/#images", (TAG, "step"))
        (tmp_path / "images.png").write_bytes(driver.get_screenshot_as_png())
        assert TAG in text, text
        assert len(moments(200)) - 1 in driver.execute_script(sliders)
