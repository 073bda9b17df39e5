"""Updates, held against torch.optim in a bare loop and scikit-learn's optimum."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as ScikitLearn
from torch import nn

from logreg.models import HandWritten, LogisticRegression, SequentialRegression
from logreg.optim.objective import linear_coefficients
from tests.helpers import breast_cancer, column, fit, toy
from tests.training.bare_loop import bare_loop

OPTIMIZERS: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.SGD, {"lr": 0.1}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (torch.optim.Adam, {"lr": 0.02, "amsgrad": True, "weight_decay": 0.01}),
    (torch.optim.AdamW, {"lr": 0.02}),
    (torch.optim.RMSprop, {"lr": 0.02, "momentum": 0.5, "centered": True}),
    (torch.optim.Adagrad, {"lr": 0.1}),
    (torch.optim.NAdam, {"lr": 0.02}),
]


def assert_follows(history: list[dict[str, float]], losses: list[float]) -> None:
    ours = column(history, "train/loss")
    assert sorted(ours) == list(range(len(losses)))
    for step, expected in enumerate(losses):
        assert math.isclose(ours[step], expected, rel_tol=2e-4, abs_tol=2e-6), (step, ours[step], expected)


@pytest.mark.parametrize("full_batch", [True, False])
@pytest.mark.parametrize(("cls", "settings"), OPTIMIZERS)
def test_every_optimizer_follows_torch_optim(tmp_path: Path, cls: Any, settings: dict, full_batch: bool) -> None:
    data = breast_cancer(batch_size=None if full_batch else 50, split={"train": 1.0})
    make = functools.partial(cls, **settings)
    _, classifier, history = fit(tmp_path, data, 12, make, l2=0.01)
    losses, network = bare_loop(data, 12, make, l2=0.01)
    assert_follows(history, losses)
    torch.testing.assert_close(classifier.network[0].weight, network[0].weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "scheduler",
    [
        functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=10),
        functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.8),
        functools.partial(torch.optim.lr_scheduler.StepLR, step_size=3, gamma=0.5),
    ],
)
def test_a_scheduler_steps_once_a_pass(tmp_path: Path, scheduler: Any) -> None:
    data = breast_cancer(split={"train": 1.0})
    make = functools.partial(torch.optim.SGD, lr=0.2)
    _, _, history = fit(tmp_path, data, 10, make, scheduler=scheduler)
    assert_follows(history, bare_loop(data, 10, make, scheduler=scheduler)[0])


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradient_clipping_works_as_in_automatic_optimization(tmp_path: Path, algorithm: str) -> None:
    clip = {
        "norm": functools.partial(nn.utils.clip_grad_norm_, max_norm=0.05),
        "value": functools.partial(nn.utils.clip_grad_value_, clip_value=0.05),
    }[algorithm]
    data = breast_cancer(split={"train": 1.0})
    make = functools.partial(torch.optim.SGD, lr=0.5)
    trainer = {"gradient_clip_val": 0.05, "gradient_clip_algorithm": algorithm}
    _, _, history = fit(tmp_path, data, 4, make, **trainer)
    losses = bare_loop(data, 4, make, clip=clip)[0]
    assert_follows(history, losses)
    assert abs(losses[-1] - bare_loop(data, 4, make)[0][-1]) > 1e-3  # the clipping did something


def test_accumulated_gradients_make_one_update_of_several_batches(tmp_path: Path) -> None:
    data = breast_cancer(batch_size=50, split={"train": 1.0})  # 12 batches a pass, so groups of 5, 5 and 2
    make = functools.partial(torch.optim.SGD, lr=0.2)
    record, _, history = fit(tmp_path, data, 5, make, accumulate_grad_batches=5)
    losses = bare_loop(data, 5, make, accumulate=5)[0]
    assert_follows(history, losses)
    assert record.updates == len(losses) == 15


def test_a_network_without_a_closed_form_trains_by_autograd(tmp_path: Path) -> None:
    data = breast_cancer(split={"train": 1.0})
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(30, 1), nn.Dropout(0.0), nn.Sigmoid())
    make = functools.partial(torch.optim.Adam, lr=0.01)
    _, _, history = fit(tmp_path, data, 5, make, network=network)
    assert_follows(history, bare_loop(data, 5, make)[0])


@pytest.mark.parametrize("form", [HandWritten, SequentialRegression, LogisticRegression])
@pytest.mark.parametrize("l2", [1e-3, 1e-2, 1.0])
def test_lbfgs_reaches_scikit_learns_optimum(tmp_path: Path, form: Any, l2: float) -> None:
    data = breast_cancer(batch_size=None, split={"train": 0.8, "test": 0.2})
    make = functools.partial(
        torch.optim.LBFGS, lr=1.0, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )
    _, classifier, _ = fit(tmp_path, data, 100, make, network=form(30), l2=l2, precision="64-true")
    x, y = (part.numpy() for part in data.tensors("train"))
    oracle = ScikitLearn(C=1 / (len(y) * l2), tol=1e-12, solver="newton-cholesky").fit(x, y)
    weight, bias = linear_coefficients(classifier.network)
    np.testing.assert_allclose(weight.detach().numpy().ravel(), oracle.coef_.ravel(), rtol=1e-5, atol=5e-6)
    np.testing.assert_allclose(bias.item(), oracle.intercept_[0], rtol=1e-5, atol=5e-6)


def test_lbfgs_in_float32_is_close_to_the_optimum_too(tmp_path: Path) -> None:
    data = breast_cancer(batch_size=None)
    make = functools.partial(torch.optim.LBFGS, lr=1.0, line_search_fn="strong_wolfe")
    _, classifier, _ = fit(tmp_path, data, 50, make, l2=0.01)
    classifier.load_state_dict(torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    x, y = (part.numpy() for part in data.tensors("train"))
    oracle = ScikitLearn(C=1 / (len(y) * 0.01), tol=1e-12, solver="newton-cholesky").fit(x, y)
    weight, _ = linear_coefficients(classifier.network)
    np.testing.assert_allclose(weight.detach().numpy().ravel(), oracle.coef_.ravel(), atol=1e-3)


def test_half_precision_autocast_and_double_precision_train(tmp_path: Path) -> None:
    double, _, _ = fit(tmp_path / "64", toy(), 100, precision="64-true")
    single, _, _ = fit(tmp_path / "32", toy(), 100)
    half, _, _ = fit(tmp_path / "16", toy(), 100, precision="bf16-mixed")
    assert double.metrics["train/loss"] == pytest.approx(single.metrics["train/loss"], rel=1e-4)
    assert half.metrics["train/loss"] == pytest.approx(single.metrics["train/loss"], rel=0.1)
