"""What is refused before training, with a sentence that names the key."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

from logreg import BinaryClassifier
from logreg.core.errors import UserError
from logreg.data import InMemoryData, Table
from logreg.models import HandWritten, SequentialRegression
from logreg.optim.newton import Newton
from logreg.training.checks import check_float64
from tests.helpers import breast_cancer, fit, toy


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"network": nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1), nn.Sigmoid())}, "another model"),
        ({"optimizer": torch.optim.Adam}, "holds the state of SGD"),
        ({"loss": "mse"}, "trained with loss=log_loss, this run has loss=mse"),
        ({"data": breast_cancer(), "network": HandWritten(2)}, "another model"),
        ({"data": toy(seed=4)}, "seed=1"),
        ({"epochs": 5}, "larger epochs"),
        ({"scheduler": functools.partial(torch.optim.lr_scheduler.StepLR, step_size=3)}, "scheduler"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, change: dict, complaint: str) -> None:
    fit(tmp_path / "first", toy(), 10)
    arguments = {"data": toy(), "epochs": 20, **change}
    with pytest.raises(UserError, match=complaint):
        fit(tmp_path / "rest", arguments.pop("data"), arguments.pop("epochs"), resume=tmp_path / "first", **arguments)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "half"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: Any) -> None:
    fit(tmp_path / "first", toy(), 10)
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    with pytest.raises(UserError, match="truncated"):
        fit(tmp_path / "rest", toy(), 20, resume=path)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau}, "no validation rows"),
        ({"optimizer": torch.optim.LBFGS, "accumulate_grad_batches": 2}, "full batch"),
        ({"precision": "bf16-true"}, "trainer.precision"),
        ({"callbacks": [EarlyStopping("train/loss")]}, "early_stopping"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path, settings: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        fit(tmp_path, toy(), 10, **settings)


@pytest.mark.parametrize("setting", [{"limit_train_batches": 2}, {"overfit_batches": 1}, {"val_check_interval": 2}])
def test_settings_that_count_lightnings_steps_are_refused(tmp_path: Path, setting: dict) -> None:
    with pytest.raises(UserError, match="blocks of updates"):
        fit(tmp_path, toy(), 10, **setting)


def test_a_train_monitor_with_validation_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="use val/"):
        fit(tmp_path, breast_cancer(), 3, callbacks=[EarlyStopping("train/loss")])


@pytest.mark.parametrize(
    ("x", "y", "complaint"),
    [
        ([[1.0], [2.0]], [1, 2], "the labels are 1, 2"),
        ([[1.0], [2.0]], [1, 1], "the labels are 1"),
        ([[1.0], [math.nan]], [0, 1], "column a, row 1"),
        ([[math.inf], [1.0]], [0, 1], "column a, row 0"),
    ],
)
def test_a_table_that_cannot_be_learned_from_is_refused(x: list, y: list, complaint: str) -> None:
    class OwnData(InMemoryData):
        def load(self) -> Table:
            return Table(np.array(x), np.array(y), ["a"])

    with pytest.raises(UserError, match=complaint):
        OwnData("mine").setup()


@pytest.mark.parametrize(
    ("precision", "certify_every", "optimizer", "named"),
    [
        ("32-true", None, Newton, "optimizer=newton"),
        ("32-true", 3, torch.optim.SGD, "certify_every=3"),
        ("64-true", None, torch.optim.SGD, "trainer.precision=64-true"),
    ],
)
def test_what_computes_in_float64_is_not_for_devices_without_it(
    precision: str, certify_every: int | None, optimizer: Any, named: str
) -> None:
    classifier = BinaryClassifier(SequentialRegression(2), optimizer, certify_every=certify_every)
    with pytest.raises(UserError, match=f"{named} computes in float64, .* use accelerator=cpu"):
        check_float64(torch.device("mps"), precision, classifier)
    check_float64(torch.device("cpu"), precision, classifier)
    check_float64(torch.device("mps"), "32-true", BinaryClassifier(SequentialRegression(2)))


def test_training_rows_of_which_only_one_label_counts_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = breast_cancer()
    data.setup()
    monkeypatch.setattr(data, "own_weights", lambda split: (data.labels_of(split) == 0).astype(float))
    with pytest.raises(UserError, match=r"data\.weight: all training rows of label benign have weight 0"):
        fit(tmp_path, data, 1)
