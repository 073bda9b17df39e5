"""Jobs of a fused fit against the same jobs trained alone by `train`: every logged value, every state."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.optim import SGD, NAdam, RMSprop
from torch.optim import lr_scheduler as schedulers

from logreg.core.components import Component
from logreg.data import InMemoryData
from logreg.evaluation.metrics import default_metrics
from logreg.models import HandWritten, LogisticRegression, SequentialRegression
from logreg.records.checkpoints import read_checkpoint
from logreg.sweeps.fused.fit import Fit, FusedJob, GroupSettings
from logreg.sweeps.fused.results import measure
from tests.helpers import breast_cancer, column, fit, toy
from tests.sweeps.fused.test_optimizers import draw_settings

Spec = dict[str, Any]  # keyword arguments of the optimizer, epochs and l1 and l2


def hidden(in_features: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_features, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid())


def split_spec(spec: Spec) -> tuple[Spec, int, dict[str, float]]:
    keywords = dict(spec)
    penalty = {name: keywords.pop(name, 0.0) for name in ("l1", "l2")}
    return keywords, keywords.pop("epochs", 6), penalty


def drawn(make: Callable[[int], nn.Module], features: int) -> nn.Module:
    torch.manual_seed(1)
    return make(features)


def fused(
    tables: Sequence[InMemoryData],
    specs: Sequence[Spec],
    network: Callable[[int], nn.Module] = SequentialRegression,
    scheduler: Any = None,
    **common: Any,
) -> Fit:
    jobs = []
    for data in tables:
        data.setup()
        for spec in specs:
            keywords, epochs, penalty = split_spec(spec)
            component = Component("some.scheduler") if scheduler else None
            values = {"scheduler": component, **penalty, "epochs": epochs, "threshold": 0.5}
            jobs.append(FusedJob(drawn(network, data.num_features), keywords, **values))
    monitor = "val/loss" if len(tables[0].rows["val"]) else "train/loss"
    first = GroupSettings(
        common.pop("optimizer"), lambda component: scheduler, default_metrics(), monitor, "min", log_every=1
    )
    fused_fit = Fit(tables, jobs, replace(first, **common))
    fused_fit.run()
    return fused_fit


def train_alone(
    tmp_path: Path,
    fused_fit: Fit,
    data: InMemoryData,
    spec: Spec,
    network: Callable[[int], nn.Module] = SequentialRegression,
    scheduler: Any = None,
    **trainer: Any,
) -> tuple[Any, list[dict[str, float]]]:
    """The record of the job's run by `train` and what it logged."""
    data.setup()
    keywords, epochs, penalty = split_spec(spec)
    make = functools.partial(fused_fit.settings.optimizer, **keywords)
    common = {
        "network": drawn(network, data.num_features),
        "scheduler": scheduler,
        "loss": fused_fit.settings.loss.name,
    }
    record, _, rows = fit(tmp_path, data, epochs, make, **common, **penalty, **trainer)
    return record, rows


def assert_alone(
    tmp_path: Path,
    fused_fit: Fit,
    job: int,
    *what: Any,
    tolerance: float = 1e-5,
    room: dict[str, float] | None = None,
    **how: Any,
) -> None:
    """The job is what `train` makes of it alone, up to the tolerance or, where it has more, to the column's room."""
    record, rows = train_alone(tmp_path, fused_fit, *what, **how)
    room = room or {}
    rounded = max(1e-5, room.get("train/loss", 0.0))  # of weights and of what the optimizers remember
    assert (record.status, record.updates) == (fused_fit.status[job], fused_fit.final_updates[job])
    logged = [step for step in fused_fit.steps if step < record.updates]
    for name, values in (("train/loss", fused_fit.losses), ("train/accuracy", fused_fit.accuracies)):
        theirs = column(rows, name)
        assert list(theirs) == logged
        of_job = [values[i][job] for i in range(len(logged))]
        near = max(tolerance, room.get(name, 0.0))
        np.testing.assert_allclose(of_job, list(theirs.values()), rtol=near, atol=near / 100)
    validated = [
        (step, values) for step, values, counts in fused_fit.validations if counts[job] and step <= record.updates
    ]
    for name in ("loss", "accuracy", "auroc"):
        theirs = column(rows, f"val/{name}")
        assert list(theirs) == [step for step, _ in validated]
        of_job = [values[name][job] for _, values in validated]
        near = max(tolerance, room.get(f"val/{name}", 0.0))
        if name == "auroc":  # which torchmetrics computes in float32
            near = max(near, 1e-6)
        np.testing.assert_allclose(of_job, list(theirs.values()), rtol=near, atol=near / 100)
    for name, state in (("last", fused_fit.last), ("best", fused_fit.best)):
        if state.saved[job]:
            checkpoint = read_checkpoint(tmp_path / "checkpoints" / f"{name}.ckpt")
            assert (checkpoint["global_step"], checkpoint["epoch"]) == (state.updates[job], state.epoch[job])
            for key, value in fused_fit.networks.state_dict_of(job, state.parameters).items():
                torch.testing.assert_close(
                    value, checkpoint["state_dict"][f"network.{key}"], rtol=10 * rounded, atol=rounded / 10
                )
            theirs, of_job = checkpoint["optimizer_states"][0], state.optimizer.state_dict_of(job)
            (group,), (own_group,) = theirs["param_groups"], of_job["param_groups"]
            assert own_group.pop("lr") == pytest.approx(group.pop("lr"), rel=1e-12)
            assert own_group == group
            assert {i: list(s) for i, s in of_job["state"].items()} == {i: list(s) for i, s in theirs["state"].items()}
            for i, values in theirs["state"].items():
                for key, value in values.items():
                    own = of_job["state"][i][key]
                    if isinstance(value, torch.Tensor):
                        size = float(value.abs().max())
                        # Adagrad counts its steps in the type that is the default when it is made.
                        torch.testing.assert_close(
                            own, value, rtol=10 * rounded, atol=rounded * size, check_dtype=key != "step"
                        )
                    else:
                        assert own == value
            assert checkpoint["callbacks"].keys() == state.callbacks[job].keys()
            if checkpoint["lr_schedulers"]:
                own = state.schedulers[job]
                assert own is not None
                theirs_, lists = checkpoint["lr_schedulers"][0], ("base_lrs", "_last_lr")
                assert own.keys() == theirs_.keys()
                assert {k: own[k] for k in lists if k in own} == {
                    k: pytest.approx(theirs_[k], rel=1e-12) for k in lists if k in own
                }
                assert own["last_epoch"] == theirs_["last_epoch"]
    if record.status == "completed":
        metrics = measure(fused_fit, [None] * len(fused_fit.jobs)).records[job].metrics
        assert list(metrics) == list(record.metrics)
        for name, value in metrics.items():
            near = max(tolerance, 1e-6, room.get(name, max(room.values(), default=0.0)))
            assert value == pytest.approx(record.metrics[name], rel=near, abs=1e-7), name


OPTIMIZERS = [
    (SGD, [{"lr": 0.1}, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}]),
    (torch.optim.Adam, [{"lr": 0.01}, {"lr": 0.1, "amsgrad": True, "betas": (0.8, 0.99)}]),
    (torch.optim.AdamW, [{"lr": 0.01}, {"lr": 0.1, "weight_decay": 0.1}]),
    (RMSprop, [{"lr": 0.01}, {"lr": 0.02, "centered": True, "momentum": 0.5}]),
    (torch.optim.Adagrad, [{"lr": 0.1}, {"lr": 0.3, "lr_decay": 0.01}]),
    (NAdam, [{"lr": 0.01}, {"lr": 0.05, "weight_decay": 0.01}]),
]
SCHEDULERS = [
    functools.partial(schedulers.CosineAnnealingLR, T_max=6),
    functools.partial(schedulers.ExponentialLR, gamma=0.5),
    functools.partial(schedulers.StepLR, step_size=2, gamma=0.1),
    functools.partial(schedulers.ReduceLROnPlateau, patience=0, factor=0.3),
]
PRECISIONS = [(torch.float32, 1e-5, "32-true"), (torch.float64, 1e-10, "64-true")]


@pytest.mark.parametrize(("dtype", "tolerance", "precision"), PRECISIONS)
@pytest.mark.parametrize(("optimizer", "specs"), OPTIMIZERS)
def test_mini_batches_with_validation_of_two_splits(
    tmp_path: Path, optimizer: type, specs: list[Spec], dtype: torch.dtype, tolerance: float, precision: str
) -> None:
    specs = [specs[0] | {"l2": 0.01, "epochs": 2}, specs[1] | {"epochs": 3}, specs[1] | {"l1": 0.02, "epochs": 3}]
    fused_fit = fused([breast_cancer(seed=1), breast_cancer(seed=2)], specs, optimizer=optimizer, dtype=dtype)
    for job, seed, spec in ((0, 1, specs[0]), (2, 1, specs[2]), (4, 2, specs[1])):  # every spec, and both tables
        data = breast_cancer(seed=seed)
        assert_alone(tmp_path / str(job), fused_fit, job, data, spec, tolerance=tolerance, precision=precision)


def assert_alone_but_for_rounding(fused_fit: Fit, job: int, table: Callable[[], InMemoryData], *what: Any) -> None:
    """As `assert_alone` in float32, with more room in columns where float32 itself has left the numbers of float64.

    An optimizer that divides by what is left of a gradient makes large what was rounding, and where a network has all
    but one value for many rows, rounding decides their order: then two orders of the same sum differ by as much as
    either of them from the sum.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            assert_alone(Path(folder), fused_fit, job, table(), *what, precision="32-true")
        except AssertionError:
            room = {name: 3 * left for name, left in left_by_float32(fused_fit, table, *what).items()}
            assert max(room.values()) < 0.05
            assert_alone(Path(folder) / "again", fused_fit, job, table(), *what, room=room, precision="32-true")


def left_by_float32(fused_fit: Fit, table: Callable[[], InMemoryData], *what: Any) -> dict[str, float]:
    """How far the job alone in float32 is from itself in float64, relatively, by column."""
    with tempfile.TemporaryDirectory() as folder:
        single, double = (
            train_alone(Path(folder) / precision, fused_fit, table(), *what, precision=precision)[1]
            for precision in ("32-true", "64-true")
        )
    far = dict.fromkeys(
        (f"{split}/{name}" for split in ("train", "val") for name in ("loss", "accuracy", "auroc")), 0.0
    )
    for name in far:
        ours, exact = column(single, name), column(double, name)
        far[name] = max((abs(ours[step] / exact[step] - 1) for step in exact if exact[step]), default=0.0)
    return far


def remembers(spec: Spec) -> bool:
    """Whether an optimizer divides by more than the gradient of the moment: what is left of one that has all but
    vanished is rounding, and grows into other histories in any precision.
    """
    short = spec.get("betas", (0.9, 0.999))[1] < 0.9 or spec.get("alpha", 0.99) < 0.9
    return not short and (not spec.get("centered") or spec.get("eps", 1e-8) > 1e-4)


PENALTIES = {"l1": st.sampled_from([0.0, 0.003, 0.1]), "l2": st.sampled_from([0.0, 0.01, 0.3])}


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance", "precision"), PRECISIONS)
@pytest.mark.parametrize("optimizer", [optimizer for optimizer, _ in OPTIMIZERS])
@given(data=st.data())
@settings(max_examples=8, database=None, phases=[Phase.generate])  # a fit is too slow to shrink
def test_any_jobs_of_one_fit(
    optimizer: type, dtype: torch.dtype, tolerance: float, precision: str, data: st.DataObject
) -> None:
    # Without a least learning rate, rounding would decide which of equally good states is the best.
    further = st.fixed_dictionaries({"epochs": st.integers(1, 5)}, optional=PENALTIES)
    one = st.tuples(draw_settings(optimizer, 1e-3, 0.05), further).map(
        lambda pair: {**pair[0], **pair[1], "maximize": False}
    )
    specs = data.draw(st.lists(one.filter(remembers), min_size=1, max_size=3))
    network = data.draw(st.sampled_from([SequentialRegression, HandWritten, LogisticRegression, hidden]))
    scheduler = data.draw(st.sampled_from([None, *SCHEDULERS]))
    seeds = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=2, unique=True))
    batch_size = data.draw(st.sampled_from([None, 32, 50, 341]))
    class_weights = data.draw(st.lists(st.sampled_from([None, "balanced", {"0": 3.0}]), min_size=10, max_size=10))

    def table(seed: int) -> InMemoryData:
        weighted = breast_cancer(seed=seed, batch_size=batch_size)
        weighted.weigh_labels(class_weights[seed])
        return weighted

    fused_fit = fused([table(seed) for seed in seeds], specs, network, scheduler, optimizer=optimizer, dtype=dtype)
    for job, (seed, spec) in enumerate([(seed, spec) for seed in seeds for spec in specs]):
        if dtype is torch.float32:
            assert_alone_but_for_rounding(fused_fit, job, functools.partial(table, seed), spec, network, scheduler)
        else:
            alone = {"tolerance": tolerance, "precision": precision}
            with tempfile.TemporaryDirectory() as folder:
                assert_alone(Path(folder), fused_fit, job, table(seed), spec, network, scheduler, **alone)


@pytest.mark.parametrize("network", [SequentialRegression, HandWritten, LogisticRegression, hidden])
@pytest.mark.parametrize(("optimizer", "specs"), OPTIMIZERS[:2])
def test_the_full_batch_of_one_table_for_all(
    tmp_path: Path, optimizer: type, specs: list[Spec], network: Callable[[int], nn.Module]
) -> None:
    # In float64: where Adam has all but reached a minimum, it divides rounding by rounding.
    specs = [{**spec, "epochs": 150 + 20 * i, "l2": 0.1 * i} for i, spec in enumerate(specs)]
    fused_fit = fused([toy()], specs, network, optimizer=optimizer, dtype=torch.float64)
    for job, spec in enumerate(specs):
        assert_alone(tmp_path / str(job), fused_fit, job, toy(), spec, network, tolerance=1e-10, precision="64-true")


@pytest.mark.parametrize("network", [SequentialRegression, HandWritten, LogisticRegression])
@pytest.mark.parametrize(("optimizer", "specs"), OPTIMIZERS)
def test_the_notebooks_forms_in_float32(
    tmp_path: Path, optimizer: type, specs: list[Spec], network: Callable[[int], nn.Module]
) -> None:
    specs = [{**spec, "epochs": 100} for spec in specs]
    fused_fit = fused([toy()], specs, network, optimizer=optimizer)
    for job, spec in enumerate(specs):
        assert_alone(tmp_path / str(job), fused_fit, job, toy(), spec, network)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedules(tmp_path: Path, scheduler: Any) -> None:
    specs = [{"lr": 0.5}, {"lr": 3.0, "momentum": 0.9, "epochs": 5}]
    fused_fit = fused([breast_cancer()], specs, scheduler=scheduler, optimizer=SGD)
    for job, spec in enumerate(specs):
        assert_alone(tmp_path / str(job), fused_fit, job, breast_cancer(), spec, scheduler=scheduler)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipped_gradients(tmp_path: Path, algorithm: str) -> None:
    specs = [{"lr": 0.5}, {"lr": 2.0}]
    fused_fit = fused([breast_cancer()], specs, optimizer=SGD, clip_value=0.05, clip_algorithm=algorithm)
    trainer = {"gradient_clip_val": 0.05, "gradient_clip_algorithm": algorithm}
    for job, spec in enumerate(specs):
        assert_alone(tmp_path / str(job), fused_fit, job, breast_cancer(), spec, **trainer)


def test_validation_every_other_pass_and_at_the_end(tmp_path: Path) -> None:
    specs = [{"lr": 0.1, "epochs": 5}, {"lr": 0.2, "epochs": 4}]
    fused_fit = fused([breast_cancer()], specs, optimizer=SGD, validate_every=2)
    for job, spec in enumerate(specs):
        assert_alone(tmp_path / str(job), fused_fit, job, breast_cancer(), spec, check_val_every_n_epoch=2)


def test_early_stopping_of_each_job(tmp_path: Path) -> None:
    specs = [{"lr": 5.0, "epochs": 30}, {"lr": 0.01, "epochs": 12}, {"lr": 2.0, "epochs": 30}]
    fused_fit = fused([breast_cancer()], specs, optimizer=SGD, early_stopping=EarlyStopping("val/loss", patience=2))
    assert fused_fit.final_updates[0] < 30 * 11
    for job, spec in enumerate(specs):
        callbacks = [EarlyStopping("val/loss", patience=2)]
        assert_alone(tmp_path / str(job), fused_fit, job, breast_cancer(), spec, callbacks=callbacks)


@pytest.mark.parametrize("rate", [1e30, 1e38])
def test_a_job_that_diverges_ends_where_it_would_alone(tmp_path: Path, rate: float) -> None:
    specs = [{"lr": 0.1}, {"lr": rate}, {"lr": rate, "l2": 0.1}]
    fused_fit = fused([breast_cancer()], specs, optimizer=SGD)
    assert "diverged" in fused_fit.status
    for job, spec in enumerate(specs):
        assert_alone(tmp_path / str(job), fused_fit, job, breast_cancer(), spec)


def bits(fused_fit: Fit, job: int) -> tuple[Any, ...]:
    weights = [tensor[job].numpy().tobytes() for tensor in fused_fit.last.parameters]
    losses = [
        values[job].tobytes()
        for step, values in zip(fused_fit.steps, fused_fit.losses, strict=True)
        if step < fused_fit.final_updates[job]
    ]
    return weights, losses


@pytest.mark.parametrize("network", [SequentialRegression, hidden])
@pytest.mark.parametrize("data", [toy, breast_cancer])
def test_no_bit_of_a_job_depends_on_what_becomes_of_another(
    data: Callable[[], InMemoryData], network: Callable[[int], nn.Module]
) -> None:
    good = [{"lr": 0.1, "l2": 0.01}, {"lr": 0.3, "momentum": 0.5}]
    usual = fused([data()], [*good, {"lr": 0.2}], network, optimizer=SGD)
    wild = fused([data()], [*good, {"lr": 1e38}], network, optimizer=SGD)
    assert wild.status[2] == "diverged"
    for job in (0, 1):
        assert bits(wild, job) == bits(usual, job)


def test_an_interrupted_fit_keeps_every_job_as_it_was() -> None:
    data = [toy()]
    data[0].setup()
    jobs = [FusedJob(drawn(SequentialRegression, 2), {"lr": lr}, None, 0.0, 0.0, 1000, 0.5) for lr in (0.1, 1.0)]
    fused_fit = Fit(data, jobs, GroupSettings(SGD, lambda component: None, default_metrics(), "train/loss", "min"))

    def stop(_: int) -> None:
        fused_fit.interrupt = fused_fit.updates == 123

    fused_fit.run(stop)
    assert fused_fit.status == ["interrupted", "interrupted"]
    assert fused_fit.final_updates.tolist() == [123, 123]
    alone = fused([toy()], [{"lr": 0.1, "epochs": 123}, {"lr": 1.0, "epochs": 123}], optimizer=SGD)
    for interrupted, theirs in zip(fused_fit.last.parameters, alone.last.parameters, strict=True):
        assert torch.equal(interrupted, theirs)
