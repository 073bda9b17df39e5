"""Pages in headless Chromium: nothing is fetched, tables sort over all rows, narrow screens and paper have room."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logreg.cli.pages import write_run, write_sweep
from logreg.report.page.tables import shown_number
from tests.commands import run_command
from tests.report.page.serving import browser
from tests.report.page.test_charts import give_lesson
from tests.report.page.test_sweep_page import HOSTILE, write_job

pytestmark = [pytest.mark.browser, pytest.mark.slow]
JOBS = 1000


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sweep = tmp_path_factory.mktemp("sweep") / "sweep"
    random = np.random.default_rng(0)
    for number in range(JOBS):
        overrides = {"lr": f"{random.random():.4f}", "optimizer": random.choice(["sgd", "adam", HOSTILE])}
        write_job(sweep, number, overrides, None if number % 100 == 0 else 10.0 ** float(random.uniform(-9, 1)))
    write_sweep(sweep, sweep / "report.html")
    return sweep


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("profile"), "1400,1000", logs=True) as chromium:
        yield chromium


def opened(driver: Any, path: Path, width: int = 1400, scripts: bool = True) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    driver.get_log("browser"), driver.get_log("performance")
    driver.get(path.resolve().as_uri())


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with curves, held-out rows and coefficients, and with what a lesson leaves."""
    folder = tmp_path_factory.mktemp("completed")
    arguments = ("data=breast_cancer", "optimizer=adam", "epochs=20", "figures=false", "hydra.run.dir=run")
    process = run_command("train.py", *arguments, cwd=folder)
    assert process.returncode == 0, process.stderr
    give_lesson(folder / "run")
    write_run(folder / "run", folder / "run" / "report.html")
    return folder / "run"


def column(driver: Any, box: str, place: int) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((cell) => cell.textContent)"
    return driver.execute_script(script, f"#{box} tbody tr td:nth-child({place})")


def heads(driver: Any, box: str) -> list[Any]:
    return driver.find_elements("css selector", f"#{box} th button")


@pytest.mark.parametrize(("kind", "title"), [("sweep", "made up · sweep"), ("completed", "breast_cancer · run")])
def test_a_page_fetches_nothing_and_has_no_errors(
    driver: Any, request: pytest.FixtureRequest, kind: str, title: str
) -> None:
    opened(driver, request.getfixturevalue(kind) / "report.html")
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in sent if not url.startswith(("file:", "data:"))] == []
    assert driver.get_log("browser") == []
    assert driver.execute_script("return document.title") == f"{title} report"
    blocked = "return fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')"
    assert driver.execute_script(blocked) == "refused"
    assert any("Content Security Policy" in entry["message"] for entry in driver.get_log("browser"))


def test_sorting_is_over_all_rows(driver: Any, sweep: Path) -> None:
    opened(driver, sweep / "report.html")
    records = [json.loads(path.read_text()) for path in sweep.glob("*/run.json")]
    scores = sorted(record["metrics"]["val/loss"] for record in records if record["metrics"])
    names = [head.text for head in heads(driver, "leaderboard")]
    place = names.index("val/loss") + 1
    before = column(driver, "leaderboard", place)
    assert len(before) == 50
    assert [float(cell) for cell in before] == pytest.approx(scores[:50], rel=6e-3, abs=1e-6)
    heads(driver, "leaderboard")[place - 1].click()
    assert column(driver, "leaderboard", place) == before  # the script writes numbers as Python did
    heads(driver, "leaderboard")[place - 1].click()
    falling = [float(cell) for cell in column(driver, "leaderboard", place)]
    assert falling == pytest.approx(scores[:-51:-1], rel=6e-3, abs=1e-6)
    assert (
        heads(driver, "leaderboard")[place - 1].find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    )
    driver.find_element("css selector", "#leaderboard .pager button:last-child").click()
    assert "51–100 of 1,000" in driver.find_element("css selector", "#leaderboard .pager").text  # noqa: RUF001
    following = [float(cell) for cell in column(driver, "leaderboard", place)]
    assert following == pytest.approx(scores[-51:-101:-1], rel=6e-3, abs=1e-6)


def test_jobs_without_a_result_stay_last(driver: Any, sweep: Path) -> None:
    opened(driver, sweep / "report.html")
    names = [head.text for head in heads(driver, "leaderboard")]
    for name in ("rank", "val/loss"):
        for _ in range(2):
            heads(driver, "leaderboard")[names.index(name)].click()
            assert shown_number(None) not in column(driver, "leaderboard", names.index(name) + 1)
    heads(driver, "leaderboard")[names.index("status")].click()
    heads(driver, "leaderboard")[names.index("status")].click()
    assert column(driver, "leaderboard", names.index("status") + 1)[:10] == ["failed"] * 10


@pytest.mark.parametrize("width", [320, 400, 800, 1400])
def test_no_width_overflows(driver: Any, sweep: Path, width: int) -> None:
    opened(driver, sweep / "report.html", width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [320, 400, 1400])
def test_nor_does_the_page_of_a_completed_run(driver: Any, completed: Path, width: int) -> None:
    opened(driver, completed / "report.html", width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    headings = [each.text for each in driver.find_elements("css selector", "h2")]
    assert {"Curves", "Predictions", "Coefficients", "What this lesson shows"} <= set(headings)
    assert driver.get_log("browser") == []


def test_without_scripts_the_first_rows_are_there(driver: Any, sweep: Path) -> None:
    opened(driver, sweep / "report.html", scripts=False)
    rows = driver.find_elements("css selector", "#leaderboard tbody tr")
    assert len(rows) == 50
    assert "The first 50 of 1,000 rows. All are in leaderboard.csv." in driver.find_element("css selector", "body").text
    opened(driver, sweep / "report.html")


def test_a_run_prints_light_with_its_configuration(driver: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    record = {"status": "failed", "error": "it is long " * 60 + "x" * 500, "overrides": ["lr=1"], "name": "n" * 200}
    (run / "run.json").write_text(json.dumps(record))
    (run / "config.json").write_text(json.dumps({"lr": 1.0, "name": HOSTILE, "data": {"path": "/" + "d" * 300}}))
    write_run(run, run / "report.html")
    opened(driver, run / "report.html", 400)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 400
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    background = "return getComputedStyle(document.body).backgroundColor"
    assert driver.execute_script(background) == "rgb(20, 26, 33)"
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark | {"media": "print"})
    assert driver.execute_script(background) == "rgb(255, 255, 255)"
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    driver.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert driver.execute_script("return document.querySelector('details').open")
    printed = driver.execute_cdp_cmd("Page.printToPDF", {})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    assert driver.get_log("browser") == []
