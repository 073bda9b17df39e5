"""TensorBoard's tabs for curves, texts, charts and pictures, in the real server and in a browser."""

from __future__ import annotations

import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from logreg.report.figures.boundary import TAG, moments
from logreg.report.tensorboard.events import CATEGORY
from tests.commands import run_command
from tests.report.page.serving import NODES, ask, browser, served, text_when

pytestmark = pytest.mark.slow
TITLES = ["loss", "accuracy", "log_loss", "f1", "auroc", "average_precision", "calibration_error", "brier"]
COPIES = 1500


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the six points, and a sweep that is two fits of two jobs."""
    folder = tmp_path_factory.mktemp("tabs")
    for arguments in (
        ["epochs=200", "hydra.run.dir=outputs/toy"],
        ["-m", "data=breast_cancer", "lr=0.01,0.1", "optimizer=sgd,adam", "epochs=3", "hydra.sweep.dir=outputs/sweep"],
    ):
        process = run_command("train.py", *arguments, cwd=folder)
        assert process.returncode == 0, process.stderr
    return folder / "outputs"


@pytest.fixture(scope="module")
def server(outputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(outputs, 6, tmp_path_factory.mktemp("tensorboard") / "log") as address:
        yield address


def jobs(server: str) -> list[str]:
    return [run for run in ask(f"{server}/data/runs") if run.startswith("sweep/") and run != "sweep/figures"]


def test_layouts_of_several_runs_are_merged_into_one_chart_a_metric(server: str) -> None:
    (category,) = ask(f"{server}/data/plugin/custom_scalars/layout")["category"]
    assert category["title"] == CATEGORY
    charts = {chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]}
    assert len(charts) == len(category["chart"])
    assert set(charts) == set(TITLES)
    for run in jobs(server):
        query = urllib.parse.urlencode({"run": run, "tag": charts["loss"][0]})
        answer = ask(f"{server}/data/plugin/custom_scalars/scalars?{query}")
        assert answer["regex_valid"]
        assert set(answer["tag_to_events"]) == {"train/loss", "val/loss"}


def test_every_run_has_its_curves_and_texts(server: str, outputs: Path) -> None:
    curves, texts = (ask(f"{server}/data/plugin/{name}/tags") for name in ("pr_curves", "text"))
    assert set(curves["toy"]) == {"precision_recall/train"}
    tested = [run for run in jobs(server) if "precision_recall/test" in curves[run]]
    assert len(tested) == 1  # the winner, which alone is measured on test rows
    for run in jobs(server):
        assert "precision_recall/val" in curves[run]
        query = urllib.parse.urlencode({"run": run, "tag": "precision_recall/val"})
        (curve,) = ask(f"{server}/data/plugin/pr_curves/pr_curves?{query}")[run]
        assert curve["true_positives"][0] + curve["false_positives"][0] == 114  # validation rows
        assert curve["recall"][0] == 1
        query = urllib.parse.urlencode({"run": run, "tag": "conclusion"})
        newest = ask(f"{server}/data/plugin/text/text?{query}")[-1]["text"]
        assert ("<th" in newest, newest.count("test</th>")) == (True, int(run in tested))
    assert all(sorted(tags) == ["conclusion", "configuration"] for run, tags in texts.items() if run != "sweep/figures")


def test_the_series_of_pictures_is_there_whole(server: str) -> None:
    query = urllib.parse.urlencode({"run": "toy", "tag": TAG, "sample": 0})
    images = ask(f"{server}/data/plugin/images/images?{query}")
    assert [image["step"] for image in images] == moments(200)


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


@pytest.mark.browser
def test_a_browser_shows_the_tabs(server: str, tmp_path: Path) -> None:
    sliders = f"{NODES} return nodes(document.body).filter(n => n.nodeName === 'PAPER-SLIDER').map(n => n.max);"
    with browser(tmp_path / "profile") as driver:
        text = text_when(driver, f"{server}/#custom_scalars", (CATEGORY, "auroc", "train/loss", "val/loss"))
        (tmp_path / "custom_scalars.png").write_bytes(driver.get_screenshot_as_png())
        for word in (CATEGORY, "loss", "accuracy", "auroc"):
            assert word in text, text
        text = text_when(driver, f"{server}/#pr_curves", ("precision_recall/train", "precision_recall/val", "step"))
        (tmp_path / "pr_curves.png").write_bytes(driver.get_screenshot_as_png())
        assert "precision_recall/val" in text, text
        text = text_when(driver, f"{server}/#text", ("conclusion", "completed after 200 updates", "run it again"))
        (tmp_path / "text.png").write_bytes(driver.get_screenshot_as_png())
        for word in ("conclusion", "completed after 200 updates", "completely separated", "python train.py"):
            assert word in text, text
        text = text_when(driver, f"{server}/#images", (TAG, "step"))
        (tmp_path / "images.png").write_bytes(driver.get_screenshot_as_png())
        assert TAG in text, text
        assert len(moments(200)) - 1 in driver.execute_script(sliders)
