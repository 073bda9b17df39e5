"""A run that stopped goes on as if it had not, held against an unbroken one."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import nn

from logreg.core.errors import UserError
from logreg.data import InMemoryData
from tests.helpers import breast_cancer, column, fit, toy
from tests.training.bare_loop import Stop

RESUMED = [
    (toy, functools.partial(torch.optim.SGD, lr=0.5, momentum=0.9), 1001, 500),
    (toy, functools.partial(torch.optim.Adam, lr=0.05), 1001, 500),
    (breast_cancer, functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9), 21, 10),
    (breast_cancer, functools.partial(torch.optim.Adam, lr=0.01), 21, 10),
]


@pytest.mark.parametrize(("source", "make", "epochs", "stopped_after"), RESUMED)
@pytest.mark.parametrize("scheduled", [False, True])
def test_a_resumed_run_equals_an_unbroken_one_to_the_bit(
    tmp_path: Path, source: Any, make: Any, epochs: int, stopped_after: int, scheduled: bool
) -> None:
    decay = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.99) if scheduled else None
    whole, _, rows = fit(tmp_path / "whole", source(), epochs, make, scheduler=decay)
    fit(tmp_path / "first", source(), stopped_after, make, scheduler=decay)
    rest, _, later = fit(tmp_path / "rest", source(), epochs, make, scheduler=decay, resume=tmp_path / "first")
    assert rest.metrics == whole.metrics
    assert (rest.updates, rest.epochs, rest.evaluated) == (whole.updates, whole.epochs, whole.evaluated)
    expected = column(rows, "train/loss")
    assert len(later) > 10
    assert all(expected[step] == value for step, value in column(later, "train/loss").items())
    for name in ("last", "best"):
        a, b = (
            torch.load(tmp_path / run / "checkpoints" / f"{name}.ckpt", weights_only=True) for run in ("whole", "rest")
        )
        assert all(torch.equal(a["state_dict"][key], b["state_dict"][key]) for key in a["state_dict"])


def test_an_interrupted_run_goes_on_in_the_middle_of_a_pass(tmp_path: Path) -> None:
    # 569 rows in batches of 4 are 143 updates a pass: blocks of 100 end inside passes
    def source() -> InMemoryData:
        return breast_cancer(batch_size=4, split={"train": 1.0})

    make = functools.partial(torch.optim.Adam, lr=0.001)
    whole, _, _ = fit(tmp_path / "whole", source(), 5, make)
    broken, _, _ = fit(tmp_path / "broken", source(), 5, make, callbacks=[Stop(after=200)])
    assert (broken.status, broken.updates, broken.epochs) == ("interrupted", 200, 1)
    rest, _, _ = fit(tmp_path / "rest", source(), 5, make, resume=tmp_path / "broken")
    assert rest.metrics == whole.metrics
    assert rest.updates == whole.updates == 5 * 143


def test_dropout_goes_on_with_its_random_state(tmp_path: Path) -> None:
    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(30, 8), nn.Dropout(0.5), nn.Linear(8, 1), nn.Sigmoid())

    def source() -> InMemoryData:
        return breast_cancer(split={"train": 1.0})

    torch.manual_seed(1)
    whole, _, _ = fit(tmp_path / "whole", source(), 6, network=network())
    torch.manual_seed(1)
    first = network()
    fit(tmp_path / "first", source(), 3, network=first)
    rest, _, _ = fit(tmp_path / "rest", source(), 6, network=network(), resume=tmp_path / "first")
    assert rest.metrics != {}
    assert rest.metrics == whole.metrics


def test_a_resumed_run_takes_its_settings_from_the_new_configuration(tmp_path: Path) -> None:
    fit(tmp_path / "first", toy(), 10, functools.partial(torch.optim.SGD, lr=1.0))
    fit(tmp_path / "rest", toy(), 20, functools.partial(torch.optim.SGD, lr=0.25), resume=tmp_path / "first")
    state = torch.load(tmp_path / "rest" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == 0.25


def test_a_run_resumed_with_another_batch_size_makes_the_passes_that_were_asked_for(tmp_path: Path) -> None:
    make = functools.partial(torch.optim.Adam, lr=0.01)
    first, _, _ = fit(tmp_path / "first", breast_cancer(), 10, make)
    rest, _, _ = fit(tmp_path / "rest", breast_cancer(batch_size=None), 15, make, resume=tmp_path / "first")
    assert (rest.updates, rest.epochs) == (first.updates + 5, 15)
    with pytest.raises(UserError, match="10 epochs"):
        fit(tmp_path / "none", breast_cancer(batch_size=None), 10, make, resume=tmp_path / "first")


def test_gradients_that_accumulate_survive_an_interruption(tmp_path: Path) -> None:
    def source() -> InMemoryData:
        return breast_cancer(batch_size=2, split={"train": 1.0})  # 285 batches: 95 updates of 3 a pass

    make = functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    whole, _, _ = fit(tmp_path / "whole", source(), 4, make, accumulate_grad_batches=3)
    stop = [Stop(after=150)]
    broken, _, _ = fit(tmp_path / "broken", source(), 4, make, accumulate_grad_batches=3, callbacks=stop)
    assert broken.status == "interrupted"
    assert broken.updates % 95 != 0
    rest, _, _ = fit(tmp_path / "rest", source(), 4, make, accumulate_grad_batches=3, resume=tmp_path / "broken")
    assert rest.metrics == whole.metrics
    with pytest.raises(UserError, match="inside a pass"):
        fit(tmp_path / "other", source(), 4, make, resume=tmp_path / "broken")


def test_early_stopping_counts_on_after_a_resume(tmp_path: Path) -> None:
    def stop() -> list[Callback]:
        return [EarlyStopping("val/loss", patience=8)]

    whole, _, _ = fit(tmp_path / "whole", breast_cancer(), 500, callbacks=stop())
    stopped_after = whole.epochs - 4
    fit(tmp_path / "first", breast_cancer(), stopped_after, callbacks=stop())
    rest, _, _ = fit(tmp_path / "rest", breast_cancer(), 500, callbacks=stop(), resume=tmp_path / "first")
    assert (rest.epochs, rest.evaluated, rest.metrics) == (whole.epochs, whole.evaluated, whole.metrics)


def test_a_resumed_scheduler_follows_the_new_configuration(tmp_path: Path) -> None:
    def cosine(length: int) -> Any:
        return functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=length)

    fit(tmp_path / "first", toy(), 10, functools.partial(torch.optim.SGD, lr=1.0), scheduler=cosine(10))
    make = functools.partial(torch.optim.SGD, lr=0.5)
    fit(tmp_path / "rest", toy(), 15, make, scheduler=cosine(20), resume=tmp_path / "first")
    state = torch.load(tmp_path / "rest" / "checkpoints" / "last.ckpt", weights_only=True)
    expected = 0.5 * (1 + math.cos(math.pi * 15 / 20)) / 2
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(expected)
