"""The page of a sweep: its tables against the records of the jobs, what failed, and ten thousand jobs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from logreg.cli.pages import write_sweep
from logreg.core.errors import UserError
from logreg.records.jobs import read_jobs
from logreg.report.page.render import MOST_BYTES
from tests.report.page.pages import Page

HOSTILE = "</script><script>alert(1)</script>"


def write_job(sweep: Path, number: int, overrides: dict[str, Any], score: float | None, **further: Any) -> None:
    """The directory of a job, as a run leaves it; ``score`` None for one that failed."""
    directory = sweep / f"{number}_job"
    directory.mkdir(parents=True)
    metrics = {} if score is None else {"val/loss": score, "val/accuracy": 1 - score / 2, "train/loss": score / 2}
    record = {
        "status": "failed" if score is None else "completed",
        "error": f"no such luck {HOSTILE}" if score is None else None,
        "overrides": [f"{key}={value}" for key, value in overrides.items()],
        "name": "made up",
        "metrics": metrics,
        "monitor": {"metric": "val/loss", "mode": "min"},
        "data": {"rows": {"train": 80, "val": 20, "test": 0}, "features": 3},
        "seconds": {"fit": 0.5, "total": 1.0},
    }
    (directory / "run.json").write_text(json.dumps(record | further))
    if score is not None:
        steps = "\n".join(f"{step},{score + 1 / (1 + step)}" for step in range(0, 50, 5))
        (directory / "metrics.csv").write_text(f"step,val/loss\n{steps}\n")


def page_of(sweep: Path) -> Page:
    write_sweep(sweep, sweep / "report.html")
    assert (sweep / "report.html").stat().st_size < MOST_BYTES
    return Page((sweep / "report.html").read_text(encoding="utf-8"))


def measured_page_of(sweep: Path) -> Page:
    """The page of many jobs, and on the terminal what it took."""
    started = time.perf_counter()
    page = page_of(sweep)
    print(f"{time.perf_counter() - started:.1f} s, {(sweep / 'report.html').stat().st_size:,} bytes")
    return page


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three settings with four seeds each, of which one job failed."""
    sweep = tmp_path_factory.mktemp("sweep") / "sweep"
    random, number = np.random.default_rng(0), 0
    for optimizer, lr, level in (("adam", "0.1", 0.2), ("sgd", "0.1", 0.3), (HOSTILE, "1", 0.9)):
        for seed in range(4):
            fails = number == 11
            score = None if fails else level + 0.01 * float(random.normal())
            write_job(sweep, number, {"optimizer": optimizer, "lr": lr, "seed": seed, "epochs": 50}, score)
            number += 1
    return sweep


@pytest.fixture(scope="module")
def page(sweep: Path) -> Page:
    return page_of(sweep)


def test_the_leaderboard_has_every_job_best_first(page: Page, sweep: Path) -> None:
    jobs = read_jobs(sweep)
    header, *rows = page.cells("leaderboard")
    assert header == ["rank", "job", "status", "optimizer", "lr", "seed", "val/loss", "val/accuracy", "train/loss",
                      "setting", "seconds"]  # fmt: skip
    assert [int(row[1]) for row in rows] == [job.number for job in jobs]
    columns = dict(zip(header, page.islands["leaderboard"]["columns"], strict=True))
    scores = [job.score for job in jobs]
    assert columns["val/loss"]["values"][:-1] == pytest.approx(scores[:-1], rel=1e-6)
    assert columns["val/loss"]["values"][-1] is None
    assert rows[-1][:3] == ["–", "11", "failed"]  # noqa: RUF001
    assert {HOSTILE, "adam", "sgd"} == set(columns["optimizer"]["texts"])


def test_settings_have_mean_interval_and_verdict(page: Page, sweep: Path) -> None:
    header, *rows = page.cells("settings")
    assert header == ["rank", "optimizer", "lr", "n", "failed", "mean", "sd", "95 % from", "to", "verdict"]
    scores = np.array([job.score for job in read_jobs(sweep) if job.settings["optimizer"] == "adam"], dtype=float)
    mean, deviation = scores.mean(), scores.std(ddof=1)
    half = student.ppf(0.975, 3) * deviation * np.sqrt(1 / 4 + 20 / 80)  # each seed draws its split: Nadeau and Bengio
    assert [float(cell) for cell in rows[0][5:9]] == pytest.approx(
        [mean, deviation, mean - half, mean + half], abs=6e-5
    )
    assert [row[1] for row in rows] == ["adam", "sgd", HOSTILE]
    assert [row[-1] for row in rows] == ["best", "worse", "worse"]
    assert [row[4] for row in rows] == ["0", "0", "1"]


def test_it_says_what_failed_what_was_best_and_how_to_run_it(page: Page) -> None:
    assert "12 jobs: 11 completed, 1 failed" in page.text
    assert f"no such luck {HOSTILE}" in page.text
    assert "python train.py optimizer=adam lr=0.1 seed=0 epochs=50" in page.text
    assert "it differs from all 2 others" in page.text
    assert len(page.scripts) == 1
    titles = [tag.get("aria-label") for name, tag in page.tags if name == "svg"]
    assert titles[0] == "val/loss over updates"
    assert any("val/loss by optimizer, lr" in str(title) for title in titles)


def test_tags_that_all_jobs_have_stand_once_among_the_facts(tmp_path: Path) -> None:
    for number in range(2):
        write_job(tmp_path, number, {"lr": number, "epochs": 9, "tags": "[one,two]"}, 0.5, tags=["one", "two"])
    write_sweep(tmp_path, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("<dt>tags</dt>") == 1
    assert "<dt>tags</dt><dd>one, two</dd>" in text


def test_many_reasons_that_differ_in_numbers_are_one(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    write_job(sweep, 0, {"lr": 0}, 0.5)
    for i in range(1, 40):
        error = f"the training loss is not finite after {i:,} updates; a smaller lr usually helps."
        write_job(sweep, i, {"lr": i}, None, error=error, status="diverged")
    page = page_of(sweep)
    assert page.text.count("the training loss is not finite") == 1
    assert "39 jobs: 1, 2, 3, 4" in page.text


def test_a_record_that_cannot_be_read_changes_nothing_of_the_others(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for i, lr in enumerate(("0.1", "1", "10")):
        write_job(sweep, i, {"data": "toy", "lr": lr, "epochs": 50}, 0.5 + 0.1 * i)
    for number, content in ((3, "{"), (4, '{"status": "failed", "metrics": null, "monitor": null, "overrides": null}')):
        (sweep / f"{number}_x").mkdir()
        (sweep / f"{number}_x" / "run.json").write_text(content)
    page = page_of(sweep)
    header, *rows = page.cells("leaderboard")
    assert header[:4] == ["rank", "job", "status", "lr"]
    assert "epochs" not in header
    assert [row[1] for row in rows] == ["0", "1", "2", "3", "4"]
    assert "val/loss by lr" in " ".join(str(tag.get("aria-label")) for name, tag in page.tags if name == "svg")


@pytest.mark.parametrize("keys", [1, 2, 3, 6])
def test_any_number_of_swept_keys_has_a_chart(tmp_path: Path, keys: int) -> None:
    sweep = tmp_path / "sweep"
    random = np.random.default_rng(keys)
    for number in range(30):
        overrides = {f"penalty.l{i}": f"{10.0 ** -random.integers(0, 5):g}" for i in range(keys)}
        write_job(sweep, number, overrides, float(random.random()))
    page = page_of(sweep)
    titles = [str(tag.get("aria-label") or tag.get("alt")) for name, tag in page.tags if name in ("svg", "img")]
    assert len(titles) == 2
    assert "val/loss by penalty.l0" in titles[1]


def test_seeds_alone_are_shown_as_their_spread(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for seed in range(10):
        write_job(sweep, seed, {"seed": seed}, 0.1 + seed / 100)
    page = page_of(sweep)
    assert "val/loss of 10 repetitions" in page.text
    assert float(page.cells("settings")[1][2]) == pytest.approx(0.145)


def test_a_sweep_without_a_finished_job_is_refused(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for number in range(3):
        write_job(sweep, number, {"lr": number}, None)
    with pytest.raises(UserError, match=r"sweep=.*none of its 3 jobs has completed.*no such luck"):
        page_of(sweep)
    assert not (sweep / "report.html").exists()


def test_what_a_cross_validation_chose_is_there(sweep: Path) -> None:
    choice = {
        "rule": "best", "metric": "val/loss", "penalty": {"penalty.l2": "0.01"}, "mean": 0.2, "standard_error": 0.01,
        "best": {"penalty.l2": "0.01"}, "best_mean": 0.2, "best_standard_error": 0.01,
    }  # fmt: skip
    (sweep / "path.json").write_text(json.dumps(choice))
    try:
        assert "Cross-validation: chosen by val/loss: penalty.l2=0.01, 0.2 ± 0.01" in page_of(sweep).text
    finally:
        (sweep / "path.json").unlink()


def test_tables_are_cut_to_a_size_in_bytes_and_say_so(tmp_path: Path) -> None:
    """Four hundred settings of long values that escaping makes six times as long."""
    sweep = tmp_path / "sweep"
    random = np.random.default_rng(0)
    for number in range(800):
        overrides = {f"data.key{i}": f"{'<' * 200}{number // 2}_{i}" for i in range(14)}
        write_job(sweep, number, overrides | {"seed": number % 2}, float(random.random()))
    page = page_of(sweep)  # below 3 MB
    for name, total, rest in (
        ("settings", "400 settings", "settings.csv"),
        ("leaderboard", "800 jobs", "leaderboard.csv"),
    ):
        count = page.islands[name]["count"]
        assert 10 < count < 800
        assert all(len(c.get("codes") or c["values"]) == count for c in page.islands[name]["columns"])
        assert f"{count:,} of {total}" in page.text
        assert f"{rest} has all" in page.text
    assert "12 of 14 swept keys" in page.text
    assert "12 of 15 swept keys" in page.text


@pytest.mark.slow
def test_five_thousand_settings_of_fourteen_keys_make_a_small_page(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    random = np.random.default_rng(0)
    for number in range(10_000):
        setting = np.random.default_rng(number // 2)
        overrides = {f"data.key{i}": f"{setting.random():.8f}" for i in range(12)}
        overrides |= {f"data.text{i}": f"{setting.random():.8f}" * 30 for i in range(2)} | {"seed": number % 2}
        write_job(sweep, number, overrides, float(random.random()))
    page = measured_page_of(sweep)
    assert "of 5,000 settings" in page.text


@pytest.mark.slow
def test_ten_thousand_jobs_make_a_small_page(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    random = np.random.default_rng(0)
    for number in range(10_000):
        overrides = {"lr": f"{random.random():.5f}", "optimizer": random.choice(["sgd", "adam"]), "seed": number % 100}
        overrides |= {f"data.key{i}": f"{random.random():.6f}" for i in range(8)}
        write_job(sweep, number, overrides, None if number % 50 == 0 else float(random.random()))
    page = measured_page_of(sweep)  # below 3 MB
    data = page.islands["leaderboard"]
    assert data["count"] >= 5_000
    assert data["columns"][0]["values"][:3] == [1, 2, 3]
    assert len(page.cells("leaderboard")) == 51
