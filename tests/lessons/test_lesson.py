"""What the lessons say, held against autograd, torch.optim, scipy, scikit-learn and closed forms."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from scipy.optimize import minimize, minimize_scalar
from sklearn.svm import SVC

from logreg import BinaryClassifier, lessons
from logreg.core.errors import UserError
from logreg.data import InMemoryData, Table
from logreg.lessons.descent import (
    cost,
    descend,
    gradient,
    largest_curvature,
    mean_gradients,
    smallest_eigenvalues,
    surface,
    with_ones,
)
from logreg.lessons.gradients_accumulate import trace
from logreg.lessons.learning_rate import optimum
from logreg.lessons.lesson import Conclusion, Lesson, training_rows
from logreg.lessons.three_forms import forms, parameters
from logreg.lessons.weights_without_bound import angle, hard_margin
from logreg.models import HandWritten, RandomStart
from logreg.optim.losses import LOSSES
from logreg.records.jobs import Job
from logreg.records.record import RunRecord
from tests.helpers import breast_cancer, toy

X = np.array([[1, 2], [2, 3], [3, 1], [4, 3], [5, 3], [6, 2]], dtype=np.float64)
Y = np.array([0, 0, 0, 1, 1, 1], dtype=np.float64)
THETAS = np.random.default_rng(5).uniform(-4, 4, (20, 3))


class Overlapping(InMemoryData):
    """Four points that no line separates."""

    def load(self) -> Table:
        return Table(np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 0.0, 1.0]), ["x"])


def prepared(data: Any) -> Any:
    data.prepare_data()
    data.setup()
    return data


def conclusion(lesson: Lesson, data: Any = None) -> Conclusion:
    data = prepared(data or toy())
    return lesson.teach(data, BinaryClassifier(HandWritten(data.num_features)))


# --- pieces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_curvature_and_eigenvalues_are_those_of_autograd(name: str) -> None:
    x, y = torch.from_numpy(with_ones(X)), torch.from_numpy(Y)

    def mean_loss(theta: torch.Tensor) -> torch.Tensor:
        return LOSSES[name].of_rows(x @ theta, y).mean()

    eigenvalues = smallest_eigenvalues(LOSSES[name], THETAS, X, Y)
    for theta, smallest in zip(THETAS, eigenvalues, strict=True):
        hessian = torch.autograd.functional.hessian(mean_loss, torch.from_numpy(theta))
        assert smallest == pytest.approx(float(torch.linalg.eigvalsh(hessian)[0]), abs=1e-12)
        assert LOSSES[name].curvature(with_ones(X) @ theta, Y).shape == (6,)
    slopes = [torch.autograd.functional.jacobian(mean_loss, torch.from_numpy(theta)).numpy() for theta in THETAS]
    np.testing.assert_allclose(mean_gradients(LOSSES[name], THETAS, with_ones(X), Y), slopes, atol=1e-14)


def test_the_log_loss_is_convex_everywhere_and_the_squared_error_is_not() -> None:
    thetas = np.random.default_rng(0).uniform(-5, 5, (5000, 3))
    assert smallest_eigenvalues(LOSSES["log_loss"], thetas, X, Y).min() > -1e-14
    assert smallest_eigenvalues(LOSSES["mse"], thetas, X, Y).min() < -0.1


def test_the_surface_has_the_best_intercept() -> None:
    for name, loss in LOSSES.items():
        grid = surface(loss, X, Y, reach=4.0, points=5)
        assert grid.cost.shape == (5, 5)
        for theta, least in zip(grid.theta, grid.cost.ravel(), strict=True):
            z = X @ theta[:2]

            def mean(b: float, z: np.ndarray = z, loss: Any = loss) -> float:
                return float(loss.of_arrays(z + b, Y).mean())

            tried = np.linspace(-z.max() - 10, -z.min() + 10, 2001)
            around = tried[int(np.argmin([mean(b) for b in tried]))]
            best = minimize_scalar(
                mean, bounds=(around - 0.1, around + 0.1), method="bounded", options={"xatol": 1e-10}
            )
            assert least == pytest.approx(best.fun, abs=1e-6), (name, theta)
            assert least == pytest.approx(mean(theta[2]), abs=1e-15)


@pytest.mark.parametrize("zero", [True, False])
def test_descent_follows_torch_optim(zero: bool) -> None:
    network = HandWritten(2).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    for theta in descend(X, Y, lr=0.5, updates=30, l2=0.1, zero=zero):
        ours = np.append(network.W.detach().numpy().ravel(), network.b.detach().numpy())
        np.testing.assert_allclose(theta, ours, atol=1e-12)
        loss = F.binary_cross_entropy(network(x).squeeze(1), y) + 0.05 * network.W.square().sum()
        assert cost(theta, X, Y, 0.1) == pytest.approx(float(loss.detach()), abs=1e-12)
        if zero:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_the_top_eigenvalue_tells_which_step_is_stable() -> None:
    theta, least = optimum(X, Y, 0.01)
    assert np.abs(gradient(theta, with_ones(X), Y, 0.01)).max() < 1e-8
    stable = 2 / largest_curvature(theta, X, Y, 0.01)
    for factor, arrives in ((0.97, True), (1.05, False)):
        last = theta + 1e-4
        for _ in range(4000):
            last = last - factor * stable * gradient(last, with_ones(X), Y, 0.01)
        assert (abs(cost(last, X, Y, 0.01) - least) < 1e-9) is arrives


def test_hard_margins() -> None:
    free, counted = hard_margin(X, Y)
    sign = 2 * Y - 1
    constraint = {"type": "ineq", "fun": lambda t: sign * (with_ones(X) @ t) - 1}
    for margin, length in ((free, lambda t: t[:2] @ t[:2]), (counted, lambda t: t @ t)):
        best = minimize(
            length, np.array([2.0, 1.0, -8.0]), constraints=[constraint], options={"ftol": 1e-14, "maxiter": 500}
        )
        assert best.success
        np.testing.assert_allclose(margin, best.x, rtol=2e-3)
    np.testing.assert_allclose(free[:2], SVC(kernel="linear", C=1e8).fit(X, Y).coef_[0], rtol=1e-3)
    assert angle(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(45)


def test_a_random_start_lies_in_its_cube_and_follows_the_seed() -> None:
    torch.manual_seed(3)
    first = [p.clone() for p in RandomStart(4, 2.0).parameters()]
    torch.manual_seed(3)
    for parameter, theirs in zip(RandomStart(4, 2.0).parameters(), first, strict=True):
        assert torch.equal(parameter, theirs)
    many = torch.cat([torch.cat([p.detach().ravel() for p in RandomStart(4, 2.0).parameters()]) for _ in range(400)])
    assert many.abs().max() <= 2
    assert many.std() == pytest.approx(2 / math.sqrt(3), rel=0.05)


def test_three_forms_begin_alike() -> None:
    networks = forms(3, seed=4)
    values = [torch.cat([p.detach().reshape(-1) for p in parameters(network)]) for network in networks.values()]
    assert len(networks) == 3
    assert all(torch.equal(values[0], each) for each in values)
    assert values[0].abs().sum() > 0


# --- the lessons ------------------------------------------------------------------------------------------------------


def test_sigmoid() -> None:
    lesson = conclusion(lessons.Sigmoid(wrong=[0.5, 0.99]))
    half, sure = lesson.numbers["wrong"]
    assert half == pytest.approx(
        {"p": 0.5, "log_loss": math.log(2), "log_loss_slope": 0.5, "squared_error": 0.25, "squared_error_slope": 0.25}
    )
    assert sure["log_loss"] == pytest.approx(-math.log(0.01))
    assert sure["squared_error_slope"] == pytest.approx(2 * 0.99 * 0.99 * 0.01)
    assert set(lesson.figures) == {"sigmoid", "costs"}


def test_gradients_accumulate() -> None:
    lesson = conclusion(lessons.GradientsAccumulate(updates=400))
    n = lesson.numbers
    assert n["stored_minus_running_sum"] == 0
    assert n["equals_momentum_1"] is True
    assert n["cost_not_zeroed"] < 1e-6 < n["cost_zeroed"]
    assert n["overlapping_zeroed"][1] - n["overlapping_zeroed"][0] < 1e-6
    assert n["overlapping_not_zeroed"][1] - n["overlapping_not_zeroed"][0] > 0.05
    assert any("falls faster" in line for line in lesson.lines)
    # The notebook's printed costs.
    costs = trace(torch.from_numpy(X).float(), torch.from_numpy(Y).float(), 1.0, 201, zero=True).costs
    np.testing.assert_allclose(costs[[0, 100, 200]], [0.693147, 0.134722, 0.080643], atol=2e-6)


@pytest.mark.parametrize(
    ("lr", "sentence"),
    [(1.0, "momentum 1 never comes to rest"), (50.0, "neither comes to rest"), (1e-7, "both came to rest")],
)
def test_what_comes_to_rest_is_what_was_measured(lr: float, sentence: str) -> None:
    assert sentence in conclusion(lessons.GradientsAccumulate(lr=lr, updates=400)).lines[-1]


def test_three_forms() -> None:
    n = conclusion(lessons.ThreeForms(updates=200)).numbers
    assert n["apart"]["float32"]["module class"] == {"outputs": 0, "gradients": 0, "costs": 0}
    assert n["apart"]["float32"]["hand-written"]["outputs"] < 1e-6
    assert n["apart"]["float64"]["hand-written"]["costs"] < 1e-10
    assert n["order"] == ["Sequential", "0: Linear", "1: Sigmoid"]
    assert n["hooks"] == {"call": 1, "forward": 0, "inside": 2}


def test_weights_without_bound() -> None:
    n = conclusion(lessons.WeightsWithoutBound(updates=10_000)).numbers
    assert n["updates"] == [10, 100, 1000, 10_000]
    assert n["norm"] == sorted(n["norm"])
    assert n["cost"] == sorted(n["cost"], reverse=True)
    assert n["degrees_from_maximum_margin"] == sorted(n["degrees_from_maximum_margin"], reverse=True)
    assert n["degrees_from_maximum_margin"][-1] < 0.3
    # On these points w = (1, 1/2), b = -9/2 is the machine of maximum margin, whether the intercept counts or not.
    for key in ("maximum_margin", "free_intercept"):
        np.testing.assert_allclose(n[key], [1, 0.5, -4.5], rtol=2e-3)
    np.testing.assert_allclose(n["cost"][1:3], [0.134722, 0.019852], atol=2e-6)  # the notebook's
    theta, least = optimum(X, Y, 0.01)
    assert n["penalised_norm"][-1] == pytest.approx(float(np.linalg.norm(theta[:2])), rel=1e-6)
    assert n["penalised_cost"][-1] == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize(
    ("norms", "word"),
    [
        ([1.592, 1.599, 3.589, 6.072, 8.637], "like their logarithm, without"),  # of the six points
        ([1.79, 3.11, 6.10, 18.0, 52.9], "not yet as slowly"),  # of breast_cancer
        ([1.0, 3.0], "like their logarithm, without"),
        ([3.0, 2.0], "does not grow yet"),
    ],
)
def test_growth_is_called_logarithmic_where_every_decade_adds_the_same(norms: list[float], word: str) -> None:
    assert word in lessons.WeightsWithoutBound._growth(norms)


def test_a_direction_settles_within_a_degree() -> None:
    approach = lessons.WeightsWithoutBound._approach
    assert [approach(d) for d in ([1.0, 0.1], [18.7, 8.4], [8.0, 9.0])] == [
        "settles at",
        "is still on its way to",
        "is not yet on its way to",
    ]


def test_a_step_too_large_for_the_penalty_is_refused() -> None:
    with pytest.raises(UserError, match=r"lesson.l2=5: gradient descent with lesson.lr=1 diverges"):
        conclusion(lessons.WeightsWithoutBound(updates=1000, l2=5.0))


def job(**settings: str) -> Job:
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
    return Job(0, Path("none"), RunRecord(status="completed", overrides=overrides))


@pytest.mark.parametrize(
    ("lesson", "settings", "named"),
    [
        (lessons.LearningRate(), {"loss": "mse"}, "loss=mse: this lesson follows the log loss"),
        (lessons.LearningRate(), {"penalty__l1": "0.1"}, "penalty.l1=0.1: this lesson"),
        (lessons.SquaredErrorOrLogLoss(), {"penalty__l2": "0.1"}, "penalty.l2=0.1: this lesson"),
    ],
)
def test_lessons_of_sweeps_refuse_what_their_optimum_is_not_of(lesson: Any, settings: Any, named: str) -> None:
    data = toy()
    data.setup()
    with pytest.raises(UserError, match=named):
        lesson.teach(data, [job(penalty__l2="0.0"), job(**settings)])


def test_weights_of_overlapping_labels_are_refused() -> None:
    with pytest.raises(UserError, match="lesson: after all updates some rows are still on the wrong side"):
        conclusion(lessons.WeightsWithoutBound(updates=200), Overlapping("overlapping", split={"train": 1.0}))


@pytest.mark.parametrize("lesson", [lessons.Sigmoid, lessons.ThreeForms, lessons.GradientsAccumulate])
def test_a_lesson_takes_other_data(lesson: Any) -> None:
    settings = {} if lesson is lessons.Sigmoid else {"updates": 200, "lr": 0.1}
    assert conclusion(lesson(**settings), breast_cancer(batch_size=None)).lines


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: lessons.Sigmoid(wrong=[1.0]), "wrong"),
        (lambda: lessons.Sigmoid(wrong=[]), "wrong"),
        (lambda: lessons.GradientsAccumulate(updates=199), "updates=199"),
        (lambda: lessons.WeightsWithoutBound(l2=0), "l2=0"),
        (lambda: lessons.WeightsWithoutBound(updates=99), "updates=99"),
        (lambda: lessons.LearningRate(l2=0), "l2=0"),
        (lambda: lessons.SquaredErrorOrLogLoss(reach=0), "reach=0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()


def test_a_conclusion_is_printed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lesson = lessons.Sigmoid()
    taught = conclusion(lesson)
    taught.write(lesson, tmp_path, Console(width=200))
    saved = json.loads((tmp_path / "lesson.json").read_text())
    assert saved["lesson"] == "Sigmoid"
    assert saved["conclusion"] == list(taught.lines)
    printed = capsys.readouterr().out
    assert all(line in printed for line in taught.lines)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"lesson_sigmoid.png", "lesson_costs.png"}
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1


def test_rows_are_those_that_the_model_sees() -> None:
    x, y = training_rows(prepared(toy(standardize=True)))
    np.testing.assert_allclose(x, (X - X.mean(0)) / X.std(0), atol=1e-6)
    assert y.tolist() == Y.tolist()
