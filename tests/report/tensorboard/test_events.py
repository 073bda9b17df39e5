"""A sweep's outputs in the real TensorBoard server, asked over HTTP and looked at in a browser."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from logreg.report.tensorboard.events import framed
from tests.commands import run_command
from tests.report.page.serving import ask, browser, served, text_when

METRICS = {"final/train/loss", "final/train/accuracy", "final/val/loss", "final/val/auroc"}


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
