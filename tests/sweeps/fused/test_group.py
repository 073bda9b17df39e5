"""A group of jobs that memory or PyTorch will not take as it is."""

from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from logreg.core.errors import UserError
from logreg.core.settings import Settings, Vectorized
from logreg.sweeps.fused.composed_job import ComposedJob, check_space
from logreg.sweeps.fused.files import JobFiles
from logreg.sweeps.fused.fit import Fit
from logreg.sweeps.fused.group import FusedOptions, train_together
from tests.helpers import composed

OPTIONS = FusedOptions(Vectorized(memory=None, figures=0, dry_run=False), ".hydra", "train.log")


def jobs_in(directory: Path, count: int) -> tuple[dict[int, ComposedJob], dict[int, Settings]]:
    settings = {i: composed("data=breast_cancer", "optimizer=adam", "epochs=1", f"lr=0.{i + 1}") for i in range(count)}
    jobs = {i: ComposedJob(i, [f"lr=0.{i + 1}"], directory / str(i), {}, {}) for i in settings}
    return jobs, settings


def test_a_fit_that_is_too_large_is_made_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, sizes = Fit.run, []

    def limited(fit: Fit, progress: Any = None) -> None:
        sizes.append(int(fit.active.sum()))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        run(fit, progress)

    monkeypatch.setattr(Fit, "run", limited)
    jobs, settings = jobs_in(tmp_path, 8)
    with caplog.at_level(logging.INFO, "hydra.logreg"):
        records = dict(train_together(jobs, settings, OPTIONS))
    assert sorted(records) == list(range(8))
    assert sizes[0] == 8
    assert sum(size for size in sizes if size <= 3) == 8
    assert "they do not fit into memory together" in caplog.text
    for i in jobs:
        assert json.loads((tmp_path / str(i) / "run.json").read_text())["status"] == "completed"


def test_a_job_that_is_too_large_by_itself_is_left_for_a_run_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def never(fit: Fit, progress: Any = None) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    monkeypatch.setattr(Fit, "run", never)
    with caplog.at_level(logging.INFO, "hydra.logreg"):
        assert not list(train_together(*jobs_in(tmp_path, 2), OPTIONS))
    assert caplog.text.count("a job by itself, as it does not fit into memory with others") == 2


def test_a_signal_while_jobs_are_written_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = JobFiles.write

    def interrupted(file: JobFiles, *arguments: Any) -> None:
        if file.job.number == 1:
            os.kill(os.getpid(), signal.SIGINT)
        write(file, *arguments)

    monkeypatch.setattr(JobFiles, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(train_together(*jobs_in(tmp_path, 4), OPTIONS))
    records = [json.loads((tmp_path / str(i) / "run.json").read_text()) for i in range(4)]
    assert [record["status"] for record in records] == ["completed"] * 4
    assert all(record["seconds"]["total"] > record["seconds"]["fit"] > 0 for record in records)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            RuntimeError("vmap: data-dependent control flow"),
            "each by itself, as its model cannot be vectorized (vmap: data-dependent control flow)",
        ),
        (IndexError("no such thing"), "each by itself, as together they failed (IndexError: no such thing)"),
    ],
)
def test_whatever_happens_to_a_fit_its_jobs_are_left_for_runs_of_their_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    sentence: str,
) -> None:
    def broken(fit: Fit, progress: Any = None) -> None:
        raise error

    monkeypatch.setattr(Fit, "run", broken)
    with caplog.at_level(logging.INFO, "hydra.logreg"):
        assert not list(train_together(*jobs_in(tmp_path, 2), OPTIONS))
    assert sentence in caplog.text


def test_a_long_history_is_counted_before_training(tmp_path: Path) -> None:
    check_space(tmp_path, 10, 1000)
    with pytest.raises(UserError, match=r"10 jobs need 10,000,\d{3},\d{3} MB"):
        check_space(tmp_path, 10, 10**15)
