"""`python scripts/report.py` and ``report=true`` as a user starts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import ROOT, Command, assert_refused
from tests.report.page.test_sweep_page import write_job

REFUSED = [
    ([], ["run, sweep", "run=outputs/runs/", "sweep=outputs/sweeps/"]),
    (["run=sweep", "sweep=sweep"], ["run, sweep", "not both"]),
    (["run=nowhere"], ["run=nowhere", "no such directory"]),
    (["sweep=nowhere"], ["sweep=nowhere", "no such directory"]),
    (["run=sweep"], ["run=sweep", "this is a sweep", "use sweep=sweep"]),
    (["sweep=sweep/0_job"], ["sweep=sweep/0_job", "this is a run", "use run=sweep/0_job"]),
    (["run=empty"], ["run=empty", "run.json"]),
    (["sweep=empty"], ["sweep=empty", "run.json"]),
    (["sweep=failed"], ["sweep=failed", "none of its 2 jobs has completed"]),
    (["run=sweep/0_job/run.json"], ["run=sweep/0_job/run.json", "a file"]),
    (["sweep=sweep", "output=no/such/folder/page.html"], ["output=no/such/folder/page.html", "no folder"]),
    (["sweep=sweep", "output=empty"], ["output=empty", "directory"]),
    (["sweep=sweep", "output=page.pdf"], ["output=page.pdf", ".html"]),
    (["swep=sweep"], ["swep", "did you mean sweep"]),
]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name, score in (("sweep", 0.5), ("failed", None)):
        for number in range(2):
            write_job(tmp_path / name, number, {"lr": number + 1}, score)
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(("arguments", "parts"), REFUSED, ids=lambda value: " ".join(value))
def test_refused_at_once(command: Command, results: Path, arguments: list[str], parts: list[str]) -> None:
    before = sorted(results.rglob("*"))
    process = command("scripts/report.py", *arguments, without_torch=True)
    assert_refused(process, parts)
    assert sorted(results.rglob("*")) == before


def test_a_sweep_needs_no_torch(command: Command, results: Path) -> None:
    process = command("scripts/report.py", "sweep=sweep", "output=page.html", without_torch=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("report: page.html (")
    assert "<!doctype html>" in (results / "page.html").read_text()
    assert command("scripts/report.py", "sweep=sweep").returncode == 0
    assert (results / "sweep" / "report.html").read_text() == (results / "page.html").read_text()


def test_nothing_of_a_run_is_changed(command: Command, results: Path) -> None:
    run = results / "sweep" / "0_job"
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    process = command("scripts/report.py", "run=sweep/0_job")
    assert process.returncode == 0, process.stderr
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert "0.5000" in after.pop("report.html").decode()
    assert after == before


@pytest.mark.slow
def test_a_run_and_a_sweep_end_with_a_page_where_they_are_asked_for_one(command: Command, tmp_path: Path) -> None:
    process = command("train.py", "report=true", "epochs=5", "hydra.run.dir=run")
    assert process.returncode == 0, process.stderr
    assert "report:        run/report.html" in process.stdout
    assert (tmp_path / "run" / "report.html").is_file()
    for launcher in ("vectorized", "basic"):
        process = command("train.py", "-m", "report=true", "lr=0.1,1", "epochs=5", f"hydra.sweep.dir={launcher}",
                       f"hydra/launcher={launcher}")  # fmt: skip
        assert process.returncode == 0, process.stderr
        assert f"report: {launcher}/report.html" in process.stdout
        pages = sorted(tmp_path.glob(f"{launcher}/**/report.html"))
        assert pages == [tmp_path / launcher / "report.html"]  # and the jobs have none of their own
    process = command("train.py", "-m", "report=true", "lr=0.1,1", "epochs=5", "monitor=nope", "hydra.sweep.dir=none")
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert not list(tmp_path.glob("none/**/report.html"))


def test_report_is_true_or_false(command: Command) -> None:
    assert_refused(command("train.py", "report=later", without_torch=True), ["report=later", "true or false"])


def test_the_templates_are_part_of_the_package() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["logreg.report.page"]
    folder = ROOT / "src" / "logreg" / "report" / "page"
    carried = {path for pattern in patterns for path in folder.glob(pattern)}
    assert carried >= {path for path in folder.rglob("*") if path.suffix in (".html", ".css", ".js")}
    assert json.dumps(sorted(path.name for path in carried)) == '["base.html", "macros.html", "page.css", "page.js", ' \
        '"run.html", "sweep.html"]'  # fmt: skip
