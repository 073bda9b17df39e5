"""The jobs of a sweep: read, ranked, and run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logreg.cli.configuration import job_directory
from logreg.records.jobs import failures, read_jobs, rerun_command, swept_keys
from logreg.records.record import Monitor, RunRecord, settings_of
from logreg.report.sweep import write_tables


@given(st.integers(0, 9999), st.text(max_size=300))
def test_a_jobs_directory_is_one_level_of_a_length_that_file_systems_take(number: int, overrides: str) -> None:
    name = job_directory(number, overrides)
    assert name.startswith(str(number))
    assert "/" not in name
    assert "\x00" not in name
    assert len(name.encode()) <= 100


def test_settings_of_overrides() -> None:
    overrides = ["lr=0.1", "+trainer.max_time=1", "name=a", "hydra.run.dir=x", "experiment=notebook/sequential"]
    expected = {"lr": "0.1", "trainer.max_time": "1", "name": "a", "experiment": "notebook/sequential"}
    assert settings_of(overrides) == expected


def job(folder: Path, number: int, score: float | None, status: str = "completed", mode: str = "min") -> None:
    metrics = {} if score is None else {"val/loss": score}
    record = RunRecord(status=status, metrics=metrics, monitor=Monitor("val/loss", mode))
    record.overrides = [f"lr={number}", "epochs=3"]
    record.write(folder / f"{number}_lr={number}")


@pytest.mark.parametrize(("mode", "order"), [("min", [2, 0, 1, 3]), ("max", [1, 0, 2, 3])])
def test_the_leaderboard_sorts_by_the_monitor_and_puts_failures_last(tmp_path: Path, mode: str, order: list) -> None:
    for number, score in enumerate([0.5, 0.7, 0.2]):
        job(tmp_path, number, score, mode=mode)
    job(tmp_path, 3, None, status="diverged", mode=mode)
    jobs = read_jobs(tmp_path)
    assert [ranked.number for ranked in jobs] == order
    assert swept_keys(jobs) == ["lr"]
    assert [ranked.number for ranked in failures(jobs)] == [3]
    write_tables(tmp_path, jobs)
    text = (tmp_path / "leaderboard.md").read_text()
    assert f"python train.py lr={order[0]} epochs=3" in text


def test_a_broken_record_is_a_failed_job_and_not_the_end_of_the_leaderboard(tmp_path: Path) -> None:
    job(tmp_path, 0, 0.5)
    (tmp_path / "1_x").mkdir()
    (tmp_path / "1_x" / "run.json").write_text('{"status": "comp')
    jobs = read_jobs(tmp_path)
    assert [ranked.record.status for ranked in jobs] == ["completed", "failed"]
    write_tables(tmp_path, jobs)


def test_the_rerun_command_survives_a_shell(tmp_path: Path) -> None:
    job(tmp_path, 0, 0.5)
    path = tmp_path / "0_lr=0" / "run.json"
    record = json.loads(path.read_text()) | {"overrides": ["data.split={train:0.5,val:0.5}", "name=a b"]}
    path.write_text(json.dumps(record))
    (best,) = read_jobs(tmp_path)
    assert rerun_command(best.record.overrides) == "python train.py 'data.split={train:0.5,val:0.5}' 'name=a b'"
