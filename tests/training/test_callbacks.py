"""Checkpoints, and when training stops early."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from lightning.pytorch.callbacks import EarlyStopping

from tests.helpers import breast_cancer, column, fit, toy


def test_the_best_checkpoint_is_the_one_with_the_lowest_validation_loss(tmp_path: Path) -> None:
    record, _, history = fit(tmp_path, breast_cancer(), 30)  # lr = 1 overfits within 30 epochs
    losses = column(history, "val/loss")
    best = min(losses, key=lambda step: losses[step])
    assert record.evaluated == {"checkpoint": "best", "updates": best}
    assert best < record.updates
    assert record.metrics["val/loss"] == losses[best]
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == best
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == record.updates


def test_early_stopping_ends_the_run(tmp_path: Path) -> None:
    stop = EarlyStopping("val/loss", patience=3)
    record, _, history = fit(tmp_path, breast_cancer(), 500, callbacks=[stop])
    losses = list(column(history, "val/loss").values())
    assert record.status == "completed"
    assert record.epochs < 500
    assert min(losses) == losses[-4]


def test_checkpoints_hold_plain_values(tmp_path: Path) -> None:
    fit(tmp_path, toy(), 10)
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 10
    assert checkpoint["ToyData"]["passes"] == 10


def test_a_resumed_run_adopts_only_the_best_state_that_it_knows_of(tmp_path: Path) -> None:
    # as after a kill: last.ckpt is old, best.ckpt is of a later update
    make = functools.partial(torch.optim.Adam, lr=0.001)  # improves with every pass
    fit(tmp_path / "early", breast_cancer(), 3, make)
    fit(tmp_path / "late", breast_cancer(), 30, make)
    (tmp_path / "early" / "checkpoints" / "last.ckpt").rename(tmp_path / "late" / "checkpoints" / "last.ckpt")
    rest, _, _ = fit(tmp_path / "rest", breast_cancer(), 5, make, resume=tmp_path / "late")
    assert rest.evaluated == {"checkpoint": "best", "updates": 55}
