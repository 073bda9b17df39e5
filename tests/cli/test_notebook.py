"""The presets print the notebook's digits; the figures are those of the notebook, to its last printed digit."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from logreg import load_run
from tests.commands import run_command

TOLERANCE = 2e-6
HAND_WRITTEN = {0: 0.693147, 100: 0.134722, 200: 0.080643, 500: 0.037261, 1000: 0.019852}
HYPOTHESIS = [2.7648e-04, 3.1608e-02, 3.8977e-02, 9.5622e-01, 9.9823e-01, 9.9969e-01]
CONTINUED = [
    0.019834, 0.018149, 0.016730, 0.015517, 0.014469, 0.013554, 0.012748, 0.012033, 0.011394, 0.010819, 0.010300,
]  # fmt: skip
SEQUENTIAL = {
    0: (0.539713, 5), 10: (0.614853, 4), 20: (0.441875, 4), 30: (0.373145, 5), 40: (0.316358, 5), 50: (0.266094, 5),
    60: (0.220498, 6), 70: (0.182095, 6), 80: (0.157299, 6), 90: (0.144091, 6), 100: (0.134272, 6), 200: (0.080486, 6),
}  # fmt: skip
MODULE_CLASS = {
    0: (0.614994, 4), 10: (0.747550, 5), 20: (0.633216, 5), 30: (0.538123, 5), 40: (0.450406, 5), 50: (0.366382, 5),
    60: (0.287368, 5), 70: (0.219289, 5), 80: (0.173225, 6), 90: (0.151674, 6), 100: (0.140280, 6), 200: (0.082549, 6),
}  # fmt: skip
POINTS = [[1, 2], [2, 3], [3, 1], [4, 3], [5, 3], [6, 2]]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the four presets have been run, the first and its continuation as a newcomer would."""
    folder = tmp_path_factory.mktemp("notebook")
    for arguments in (
        ["experiment=notebook/hand_written"],
        ["experiment=notebook/hand_written_continued"],
        ["-m", "experiment=notebook/sequential,notebook/module_class", "hydra.sweep.dir=sweep", "figures=false"],
    ):
        process = run_command("train.py", *arguments, cwd=folder)
        assert process.returncode == 0, process.stderr
    return folder


def costs(directory: Path) -> dict[int, tuple[float, float]]:
    with (directory / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(row["step"]): (float(row["train/loss"]), float(row["train/accuracy"])) for row in rows}


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def test_hand_written(workplace: Path) -> None:
    directory = only(workplace, "outputs/runs/hand_written/*")
    history = costs(directory)
    for step, cost in HAND_WRITTEN.items():
        assert history[step][0] == pytest.approx(cost, abs=TOLERANCE)
    run = load_run(directory)
    assert run.predict_proba(POINTS) == pytest.approx(HYPOTHESIS, rel=5e-5)
    assert run.predict(POINTS).tolist() == [0, 0, 0, 1, 1, 1]
    assert run.record["metrics"]["train/loss"] == pytest.approx(CONTINUED[0], abs=TOLERANCE)


def test_hand_written_continued(workplace: Path) -> None:
    history = costs(only(workplace, "outputs/runs/hand_written_continued/*"))
    assert min(history) == 1001
    for number, cost in enumerate(CONTINUED):
        assert history[1001 + 100 * number][0] == pytest.approx(cost, abs=TOLERANCE)


@pytest.mark.parametrize(("job", "expected"), [(0, SEQUENTIAL), (1, MODULE_CLASS)])
def test_sequential_and_module_class(workplace: Path, job: int, expected: dict[int, tuple[float, int]]) -> None:
    history = costs(only(workplace, f"sweep/{job}_*"))
    for step, (cost, right) in expected.items():
        assert history[step][0] == pytest.approx(cost, abs=TOLERANCE)
        assert history[step][1] == right / 6


def test_the_run_directory_keeps_the_contract(workplace: Path) -> None:
    directory = only(workplace, "outputs/runs/hand_written/*")
    for name in (
        ".hydra/config.yaml", ".hydra/overrides.yaml", ".hydra/hydra.yaml", "run.json", "metrics.csv", "train.log",
        "checkpoints/last.ckpt", "checkpoints/best.ckpt", "figures/decision_boundary.png",
    ):  # fmt: skip
        assert (directory / name).is_file(), name
    assert len(list(directory.glob("events.out.tfevents.*"))) == 1
    record = json.loads((directory / "run.json").read_text())
    assert record["status"] == "completed"
    assert record["error"] is None
    assert record["overrides"] == ["experiment=notebook/hand_written"]
    assert (record["name"], record["seed"]) == ("hand_written", 1)
    assert (record["updates"], record["epochs"]) == (1001, 1001)
    assert set(record["seconds"]) == {"fit", "total"}
    assert record["data"]["rows"] == {"train": 6, "val": 0, "test": 0}
    assert {"features", "fingerprint"} <= set(record["data"])
    assert {"device", "versions", "git", "metrics"} <= set(record)
