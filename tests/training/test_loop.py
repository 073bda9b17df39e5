"""Training, held against torch.optim in a bare loop, scikit-learn's optimum, and a second run."""

from __future__ import annotations

import functools
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from sklearn.linear_model import LogisticRegression as ScikitLearn
from torch import nn

from logreg import BinaryClassifier, RunRecord, load_run, train
from logreg.core.errors import UserError
from logreg.data import InMemoryData, Table, adapter, rows
from logreg.data.blocks import BlockLoader
from logreg.models import HandWritten, LogisticRegression, SequentialRegression
from logreg.optim.newton import Newton
from logreg.optim.objective import linear_coefficients
from logreg.records.record import Certificate
from logreg.training.callbacks import Checkpoints
from logreg.training.checks import check_float64
from tests.helpers import Ordinary, breast_cancer, column, fit, toy

OPTIMIZERS: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.SGD, {"lr": 0.1}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (torch.optim.Adam, {"lr": 0.02, "amsgrad": True, "weight_decay": 0.01}),
    (torch.optim.AdamW, {"lr": 0.02}),
    (torch.optim.RMSprop, {"lr": 0.02, "momentum": 0.5, "centered": True}),
    (torch.optim.Adagrad, {"lr": 0.1}),
    (torch.optim.NAdam, {"lr": 0.02}),
]


def bare_loop(
    data: InMemoryData,
    passes: int,
    make: Any,
    l2: float = 0.0,
    scheduler: Any = None,
    clip: Any = None,
    accumulate: int = 1,
) -> tuple[list[float], nn.Module]:
    """The textbook loop with autograd over the same batches; the loss before each update, and the network."""
    loader = BlockLoader(data.served("train"), data.batch_size, data.seed)
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(data.num_features, 1), nn.Sigmoid())
    optimizer = make(network.parameters())
    schedule = scheduler(optimizer) if scheduler else None
    losses = []
    for number in range(passes):
        for first in range(0, loader.batches_per_pass, accumulate):
            group = [loader.batch(number, i) for i in range(first, min(first + accumulate, loader.batches_per_pass))]
            optimizer.zero_grad()
            values = []
            for xb, yb in group:
                loss = F.binary_cross_entropy(network(xb).squeeze(1), yb) + l2 / 2 * network[0].weight.square().sum()
                (loss / accumulate).backward()
                values.append((float(loss.detach()), len(yb)))
            if clip:
                clip(network.parameters())
            optimizer.step()
            losses.append(sum(value * n for value, n in values) / sum(n for _, n in values))
        if schedule:
            schedule.step()
    return losses, network


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


def test_the_best_checkpoint_is_the_one_with_the_lowest_validation_loss(tmp_path: Path) -> None:
    record, _, history = fit(tmp_path, breast_cancer(), 30)  # lr = 1 overfits within 30 epochs
    losses = column(history, "val/loss")
    best = min(losses, key=lambda step: losses[step])
    assert record.evaluated == {"checkpoint": "best", "updates": best}
    assert best < record.updates
    assert record.metrics["val/loss"] == losses[best]
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == best
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == record.updates


def test_history_starts_with_the_untrained_model(tmp_path: Path) -> None:
    _, _, history = fit(tmp_path, breast_cancer(), 1, network=HandWritten(30))
    assert column(history, "train/loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert column(history, "val/loss")[0] == pytest.approx(math.log(2), abs=1e-9)


def test_validation_every_third_pass(tmp_path: Path) -> None:
    record, _, history = fit(tmp_path, breast_cancer(), 8, check_val_every_n_epoch=3)
    per_pass = record.updates // 8
    assert sorted(column(history, "val/loss")) == [0, 3 * per_pass, 6 * per_pass, 8 * per_pass]
    assert record.epochs == 8


def test_early_stopping_ends_the_run(tmp_path: Path) -> None:
    stop = EarlyStopping("val/loss", patience=3)
    record, _, history = fit(tmp_path, breast_cancer(), 500, callbacks=[stop])
    losses = list(column(history, "val/loss").values())
    assert record.status == "completed"
    assert record.epochs < 500
    assert min(losses) == losses[-4]


def test_a_loss_that_is_not_finite_ends_the_run_at_the_update_where_it_happened(tmp_path: Path) -> None:
    make = functools.partial(torch.optim.SGD, lr=1e38)
    record, _, history = fit(tmp_path, toy(), 1001, make)
    assert record.status == "diverged"
    losses = []
    x, y = toy().tensors("train")
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())
    optimizer = make(network.parameters())
    while not losses or math.isfinite(losses[-1]):
        z = network[0](x).squeeze(1)
        loss = F.binary_cross_entropy_with_logits(z, y)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert record.updates == len(losses) - 1
    assert f"after {record.updates} updates" in str(record.error)
    assert max(column(history, "train/loss")) == record.updates - 1


RESUMED = [
    (toy, functools.partial(torch.optim.SGD, lr=0.5, momentum=0.9), 1001, 500),
    (toy, functools.partial(torch.optim.Adam, lr=0.05), 1001, 500),
    (breast_cancer, functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9), 21, 10),
    (breast_cancer, functools.partial(torch.optim.Adam, lr=0.01), 21, 10),
]


@pytest.mark.parametrize(("source", "make", "epochs", "cut"), RESUMED)
@pytest.mark.parametrize("scheduled", [False, True])
def test_a_resumed_run_equals_an_unbroken_one_to_the_bit(
    tmp_path: Path, source: Any, make: Any, epochs: int, cut: int, scheduled: bool
) -> None:
    decay = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.99) if scheduled else None
    whole, _, rows = fit(tmp_path / "whole", source(), epochs, make, scheduler=decay)
    fit(tmp_path / "first", source(), cut, make, scheduler=decay)
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


class Stop(Callback):
    """Presses Ctrl-C, so to speak, when so many blocks have been trained."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step >= self.after:
            pl_module.stop()


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


class Terminate(Callback):
    """Sends SIGTERM to this process between two blocks, where Lightning answers it before the classifier can."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 200:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_between_two_blocks_loses_nothing(tmp_path: Path) -> None:
    def source() -> InMemoryData:
        return breast_cancer(batch_size=4, split={"train": 1.0})

    whole, _, _ = fit(tmp_path / "whole", source(), 3)
    broken, _, _ = fit(tmp_path / "broken", source(), 3, callbacks=[Terminate()])
    assert (broken.status, broken.updates, broken.epochs) == ("interrupted", 200, 1)
    rest, _, _ = fit(tmp_path / "rest", source(), 3, resume=tmp_path / "broken")
    assert rest.metrics == whole.metrics


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


def test_checkpoints_hold_plain_values(tmp_path: Path) -> None:
    fit(tmp_path, toy(), 10)
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 10
    assert checkpoint["ToyData"]["passes"] == 10


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


def test_plateau_lowers_the_rate_when_validation_stalls(tmp_path: Path) -> None:
    plateau = functools.partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=1, factor=0.1)
    fit(tmp_path, breast_cancer(), 40, scheduler=plateau)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] < 1.0


def test_half_precision_autocast_and_double_precision_train(tmp_path: Path) -> None:
    double, _, _ = fit(tmp_path / "64", toy(), 100, precision="64-true")
    single, _, _ = fit(tmp_path / "32", toy(), 100)
    half, _, _ = fit(tmp_path / "16", toy(), 100, precision="bf16-mixed")
    assert double.metrics["train/loss"] == pytest.approx(single.metrics["train/loss"], rel=1e-4)
    assert half.metrics["train/loss"] == pytest.approx(single.metrics["train/loss"], rel=0.1)


def test_an_ordinary_dataloader_trains_too(tmp_path: Path) -> None:
    torch.manual_seed(1)
    classifier = BinaryClassifier(SequentialRegression(2), functools.partial(torch.optim.SGD, lr=1.0))
    trainer = Trainer(max_epochs=101, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    record = train(Ordinary(), classifier, trainer)
    losses, _ = bare_loop(toy(), 102, functools.partial(torch.optim.SGD, lr=1.0))
    assert record.metrics["train/loss"] == pytest.approx(losses[101], abs=2e-6)
    assert (record.status, record.updates, record.epochs) == ("completed", 101, 101)


def ordinary(module: LightningDataModule, **settings: Any) -> RunRecord:
    classifier = BinaryClassifier(SequentialRegression(2), functools.partial(torch.optim.SGD, lr=1.0), **settings)
    return train(module, classifier, Trainer(max_epochs=31, logger=False, enable_checkpointing=False, barebones=True))


def test_an_ordinary_dataloader_is_certified_as_any_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    found = ordinary(Ordinary(), l2=0.1).optimality
    torch.manual_seed(1)
    expected, _, _ = fit(tmp_path, toy(), 31, l2=0.1)
    assert found is not None
    assert expected.optimality is not None
    assert found["gap"] == pytest.approx(expected.optimality["gap"], rel=1e-3)
    assert found["sentence"] == expected.optimality["sentence"]
    unpenalised = ordinary(Ordinary()).optimality
    assert unpenalised is not None
    assert unpenalised["separation"]["kind"] == "complete"
    monkeypatch.setattr(rows, "MAX_ELEMENTS", 11)
    monkeypatch.setattr(adapter, "MAX_ELEMENTS", 11)
    assert ordinary(Ordinary(), l2=0.1).optimality == Certificate(
        "not certified: Ordinary serves its rows batch by batch, more than 11 numbers; derive it from BlockData"
    )


def test_the_docstring_example_of_training_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    classifier = BinaryClassifier(SequentialRegression(2))
    record = train(toy(), classifier, Trainer(max_epochs=11, logger=False, enable_progress_bar=False))
    assert record.status == "completed"
    with pytest.raises(UserError, match="not a run directory"):
        load_run(tmp_path)


def test_max_steps_of_the_trainer_counts_updates(tmp_path: Path) -> None:
    record, _, history = fit(tmp_path, toy(), 1001, max_steps=37)
    assert record.updates == record.epochs == 37
    assert max(column(history, "train/loss")) == 36


@pytest.mark.parametrize("setting", [{"limit_train_batches": 2}, {"overfit_batches": 1}, {"val_check_interval": 2}])
def test_settings_that_count_lightnings_steps_are_refused(tmp_path: Path, setting: dict) -> None:
    with pytest.raises(UserError, match="blocks of updates"):
        fit(tmp_path, toy(), 10, **setting)


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
    cut = whole.epochs - 4
    fit(tmp_path / "first", breast_cancer(), cut, callbacks=stop())
    rest, _, _ = fit(tmp_path / "rest", breast_cancer(), 500, callbacks=stop(), resume=tmp_path / "first")
    assert (rest.epochs, rest.evaluated, rest.metrics) == (whole.epochs, whole.evaluated, whole.metrics)


def test_a_scheduler_steps_with_an_ordinary_dataloader_and_a_resume_is_refused(tmp_path: Path) -> None:
    decay = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    classifier = BinaryClassifier(SequentialRegression(2), functools.partial(torch.optim.SGD, lr=1.0), decay)
    settings = {"logger": False, "enable_progress_bar": False, "default_root_dir": tmp_path}
    trainer = Trainer(max_epochs=3, callbacks=[Checkpoints("train/loss")], **settings)
    train(Ordinary(), classifier, trainer)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.125
    with pytest.raises(UserError, match="served in blocks"):
        train(Ordinary(), classifier, Trainer(max_epochs=9, **settings), resume=tmp_path)


def test_a_train_monitor_with_validation_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="use val/"):
        fit(tmp_path, breast_cancer(), 3, callbacks=[EarlyStopping("train/loss")])


def test_a_resumed_scheduler_follows_the_new_configuration(tmp_path: Path) -> None:
    def cosine(length: int) -> Any:
        return functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=length)

    fit(tmp_path / "first", toy(), 10, functools.partial(torch.optim.SGD, lr=1.0), scheduler=cosine(10))
    make = functools.partial(torch.optim.SGD, lr=0.5)
    fit(tmp_path / "rest", toy(), 15, make, scheduler=cosine(20), resume=tmp_path / "first")
    state = torch.load(tmp_path / "rest" / "checkpoints" / "last.ckpt", weights_only=True)
    expected = 0.5 * (1 + math.cos(math.pi * 15 / 20)) / 2
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(expected)


def test_a_resumed_run_adopts_only_the_best_state_that_it_knows_of(tmp_path: Path) -> None:
    # as after a kill: last.ckpt is old, best.ckpt is of a later update
    make = functools.partial(torch.optim.Adam, lr=0.001)  # improves with every pass
    fit(tmp_path / "early", breast_cancer(), 3, make)
    fit(tmp_path / "late", breast_cancer(), 30, make)
    (tmp_path / "early" / "checkpoints" / "last.ckpt").rename(tmp_path / "late" / "checkpoints" / "last.ckpt")
    rest, _, _ = fit(tmp_path / "rest", breast_cancer(), 5, make, resume=tmp_path / "late")
    assert rest.evaluated == {"checkpoint": "best", "updates": 55}


def test_a_divergence_by_the_very_last_update_is_a_divergence(tmp_path: Path) -> None:
    make = functools.partial(torch.optim.SGD, lr=1e38)
    record, _, _ = fit(tmp_path, toy(), 1001, make)
    again, _, _ = fit(tmp_path / "exact", toy(), record.updates, make)
    assert (again.status, again.updates) == ("diverged", record.updates)
    assert again.metrics == {}


def test_objects_can_be_trained_again(tmp_path: Path) -> None:
    record, classifier, _ = fit(tmp_path / "first", breast_cancer(batch_size=4), 5, callbacks=[Stop(after=100)])
    assert record.status == "interrupted"
    trainer = Trainer(
        max_epochs=2,
        gradient_clip_val=0.5,
        accumulate_grad_batches=2,
        logger=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path / "second",
    )
    assert train(breast_cancer(), classifier, trainer).status == "completed"
    assert (trainer.max_epochs, trainer.gradient_clip_val, trainer.accumulate_grad_batches) == (2, 0.5, 2)


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
    class Mine(InMemoryData):
        def load(self) -> Table:
            return Table(np.array(x), np.array(y), ["a"])

    with pytest.raises(UserError, match=complaint):
        Mine("mine").setup()


def test_dropout_is_on_again_in_a_second_training(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(30, 8), nn.Dropout(0.5), nn.Linear(8, 1), nn.Sigmoid())
    _, classifier, _ = fit(tmp_path / "first", breast_cancer(), 1, network=network)
    assert not classifier.training  # handed over for use
    seen: list[bool] = []
    network[1].register_forward_hook(lambda module, *_: seen.append(module.training))
    trainer = Trainer(max_epochs=1, logger=False, enable_progress_bar=False, default_root_dir=tmp_path / "second")
    train(breast_cancer(), classifier, trainer)
    assert True in seen


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
