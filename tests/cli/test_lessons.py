"""The lessons as a learner starts them: each shows what the top of its file says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.commands import ROOT, Command, assert_refused, run_command

LESSONS = sorted(path.stem for path in (ROOT / "conf" / "experiment" / "lessons").glob("*.yaml"))
FIGURES = {
    "gradients_accumulate": {"costs"},
    "learning_rate": {"curves", "heat_map"},
    "sigmoid": {"costs", "sigmoid"},
    "squared_error_or_log_loss": {"cost_surface", "curvature"},
    "three_forms": {"three_forms"},
    "weights_without_bound": {"weights"},
}


def test_there_are_the_six_lessons() -> None:
    assert set(LESSONS) == set(FIGURES)
    for name in LESSONS:
        head = (ROOT / "conf" / "experiment" / "lessons" / f"{name}.yaml").read_text().splitlines()[2]
        assert head.startswith("# What to see: ")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lessons")
    for name in LESSONS:
        where = (f"hydra.run.dir={name}", f"hydra.sweep.dir={name}")
        process = run_command("train.py", f"experiment=lessons/{name}", *where, cwd=folder)
        assert process.returncode == 0, process.stderr
        (folder / f"{name}.txt").write_text(process.stdout)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_prints_its_conclusion_and_leaves_its_figures(learned: Path, name: str) -> None:
    lesson = json.loads((learned / name / "lesson.json").read_text())
    printed = (learned / f"{name}.txt").read_text().partition("what this lesson shows\n")[2]
    assert [line for line in printed.splitlines() if line] == [
        *(f"  {line}" for line in lesson["conclusion"]),
        *sorted((f"  figures/lesson_{figure}.png" for figure in FIGURES[name]), key=printed.index),
    ]
    figures = {path.stem.removeprefix("lesson_") for path in (learned / name / "figures").glob("lesson_*.png")}
    assert figures == FIGURES[name]
    events = EventAccumulator(str(learned / name))
    events.Reload()
    assert {f"lesson_{figure}" for figure in figures} <= set(events.Tags()["images"])


@pytest.mark.slow
def test_the_squared_error_leaves_starts_on_plateaus_and_the_log_loss_none(learned: Path) -> None:
    numbers = json.loads((learned / "squared_error_or_log_loss" / "lesson.json").read_text())["numbers"]
    assert numbers["jobs"]["log_loss"]["starts"] == numbers["jobs"]["mse"]["starts"] == 1000
    assert numbers["jobs"]["log_loss"]["stuck"] == 0
    assert numbers["jobs"]["log_loss"]["reached"] == 1000
    assert 500 < numbers["jobs"]["mse"]["stuck"] < 620
    assert 0 < numbers["jobs"]["mse"]["left_later"] < numbers["jobs"]["mse"]["stuck"]
    assert 0 < numbers["jobs"]["mse"]["stuck_in_no_minimum"] <= numbers["jobs"]["mse"]["stuck"]
    assert numbers["smallest_eigenvalue"]["log_loss"] > -1e-12 > -0.1 > numbers["smallest_eigenvalue"]["mse"]


@pytest.mark.slow
def test_the_predicted_border_of_gradient_descent_holds(learned: Path) -> None:
    lesson = json.loads((learned / "learning_rate" / "lesson.json").read_text())
    numbers = lesson["numbers"]
    assert numbers["predicted_largest_stable_lr"] == pytest.approx(3.5046, abs=1e-3)
    assert numbers["optimum"] == pytest.approx(0.0775284, abs=1e-6)
    assert numbers["arrived"]["sgd"][-1] == pytest.approx(3.16228)
    assert any(line.endswith("the prediction holds") for line in lesson["conclusion"])
    assert set(numbers["costs"]["0.01"]) == {"sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad"}
    assert all(len(costs) == 25 for costs in numbers["costs"]["0.01"].values())
    leaderboard = (learned / "learning_rate" / "leaderboard.csv").read_text()
    assert "diverged" in leaderboard  # which is part of what there is to see, and no failure


def test_a_lesson_over_a_run_ends_each_job_of_a_sweep(command: Command, tmp_path: Path) -> None:
    lesson = ("experiment=lessons/three_forms", "lesson.updates=20", "epochs=10")
    process = command("train.py", "-m", *lesson, "seed=1,2", "hydra.sweep.dir=s")
    assert process.returncode == 0, process.stderr
    assert len(list(tmp_path.glob("s/*/lesson.json"))) == 2


@pytest.mark.slow
def test_a_sweeps_lesson_takes_other_settings(command: Command, tmp_path: Path) -> None:
    lesson = ("experiment=lessons/squared_error_or_log_loss", "seed=range(20)", "model.spread=0.7", "epochs=200")
    process = command("train.py", *lesson, "hydra.sweep.dir=s")
    assert process.returncode == 0, process.stderr
    assert "no start with loss=mse is stuck on a plateau" in process.stdout
    assert "from -0.7 to 0.7" in process.stdout


HELD_OUT = ("data=breast_cancer", "monitor=val/log_loss")  # in other rows with every seed
WRONG = [
    (["experiment=lessons/sigmoids"], ["experiment=lessons/sigmoids", "lessons/sigmoid"]),
    (["experiment=lessons/sigmoid", "lesson.wrong=[2.0]"], ["lesson: Sigmoid refused", "between 0 and 1"]),
    (["experiment=lessons/sigmoid", "lesson.wrong=many"], ["lesson.wrong"]),
    (["experiment=lessons/learning_rate", "sweep.lesson.l2=0"], ["sweep.lesson: LearningRate refused", "l2=0"]),
    (["experiment=lessons/learning_rate", "sweep.lesson._target_=logreg.lessons.Sigmoid"], ["SweepLesson"]),
    (["experiment=lessons/weights_without_bound", "lesson._target_=os.system"], ["lesson._target_=os.system"]),
    (["experiment=lessons/three_forms", "loss=mse"], ["loss=mse", "follows the log loss"]),
    (["experiment=lessons/three_forms", "class_weight=balanced"], ["class_weight"]),
]


@pytest.mark.parametrize(("arguments", "parts"), WRONG)
def test_what_is_wrong_is_said_before_anything_is_trained(
    command: Command, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    process = command("train.py", *arguments)
    assert_refused(process, parts)
    assert "training" not in process.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            ["experiment=lessons/learning_rate", "penalty.l2=0.1", "lr=0.1,1", "optimizer=sgd"],
            ["penalty.l2=0.01", "completed jobs"],
        ),
        (["experiment=lessons/squared_error_or_log_loss", "loss=mse", "seed=1,2"], ["loss=log_loss and loss=mse"]),
        (["experiment=lessons/squared_error_or_log_loss", "seed=1,2", *HELD_OUT], ["same training rows"]),
    ],
)
def test_jobs_that_a_lesson_cannot_use_are_named(command: Command, arguments: list[str], parts: list[str]) -> None:
    process = command("train.py", *arguments, "epochs=5")
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    (error,) = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: sweep.lesson: ")
    assert all(part in error for part in parts)
