"""Training from objects to a record."""

from __future__ import annotations

import functools
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

from logreg import BinaryClassifier, RunRecord, load_run, train
from logreg.core.errors import UserError
from logreg.data import InMemoryData, adapter, rows
from logreg.models import HandWritten, SequentialRegression
from logreg.records.record import Certificate
from logreg.training.callbacks import Checkpoints
from tests.helpers import Ordinary, breast_cancer, column, fit, toy
from tests.training.bare_loop import Stop, bare_loop


def test_history_starts_with_the_untrained_model(tmp_path: Path) -> None:
    _, _, history = fit(tmp_path, breast_cancer(), 1, network=HandWritten(30))
    assert column(history, "train/loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert column(history, "val/loss")[0] == pytest.approx(math.log(2), abs=1e-9)


def test_validation_every_third_pass(tmp_path: Path) -> None:
    record, _, history = fit(tmp_path, breast_cancer(), 8, check_val_every_n_epoch=3)
    per_pass = record.updates // 8
    assert sorted(column(history, "val/loss")) == [0, 3 * per_pass, 6 * per_pass, 8 * per_pass]
    assert record.epochs == 8


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


def test_plateau_lowers_the_rate_when_validation_stalls(tmp_path: Path) -> None:
    plateau = functools.partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=1, factor=0.1)
    fit(tmp_path, breast_cancer(), 40, scheduler=plateau)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] < 1.0


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
    optimality = ordinary(Ordinary(), l2=0.1).optimality
    torch.manual_seed(1)
    expected, _, _ = fit(tmp_path, toy(), 31, l2=0.1)
    assert optimality is not None
    assert expected.optimality is not None
    assert optimality["gap"] == pytest.approx(expected.optimality["gap"], rel=1e-3)
    assert optimality["sentence"] == expected.optimality["sentence"]
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


def test_the_caller_is_warned_of_nothing_but_what_callbacks_warn_of(tmp_path: Path) -> None:
    class Warns(Callback):
        def on_train_end(self, *_: Any) -> None:
            warnings.warn("the caller's own", FutureWarning, stacklevel=1)

    settings: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, callbacks=[Warns()], **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = train(toy(), BinaryClassifier(SequentialRegression(2)), trainer)
    assert record.updates == 2
    assert [str(warning.message) for warning in caught] == ["the caller's own"]
    assert trainer.limit_val_batches == 1.0  # its own again


def test_max_steps_of_the_trainer_counts_updates(tmp_path: Path) -> None:
    record, _, history = fit(tmp_path, toy(), 1001, max_steps=37)
    assert record.updates == record.epochs == 37
    assert max(column(history, "train/loss")) == 36


def test_a_scheduler_steps_with_an_ordinary_dataloader_and_a_resume_is_refused(tmp_path: Path) -> None:
    decay = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    classifier = BinaryClassifier(SequentialRegression(2), functools.partial(torch.optim.SGD, lr=1.0), decay)
    settings = {"logger": False, "enable_progress_bar": False, "default_root_dir": tmp_path}
    trainer = Trainer(max_epochs=3, callbacks=[Checkpoints("train/loss")], **settings)
    train(Ordinary(), classifier, trainer)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.125
    with pytest.raises(UserError, match="served in blocks"):
        train(Ordinary(), classifier, Trainer(max_epochs=9, **settings), resume=tmp_path)


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


def test_dropout_is_on_again_in_a_second_training(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(30, 8), nn.Dropout(0.5), nn.Linear(8, 1), nn.Sigmoid())
    _, classifier, _ = fit(tmp_path / "first", breast_cancer(), 1, network=network)
    assert not classifier.training  # handed over for use
    modes: list[bool] = []
    network[1].register_forward_hook(lambda module, *_: modes.append(module.training))
    trainer = Trainer(max_epochs=1, logger=False, enable_progress_bar=False, default_root_dir=tmp_path / "second")
    train(breast_cancer(), classifier, trainer)
    assert True in modes


# A run that stopped goes on as if it had not, held against an unbroken one.
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
