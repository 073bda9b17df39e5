"""More of jobs on photos: full batches in parts, folds, divergence, pieces of gradients, what is left out, memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from logreg.data import DigitsData
from logreg.data.images import rows as photos
from logreg.data.rows import TensorRows
from logreg.models import ConvByHand, ConvSequential, LinearOnPixels
from logreg.optim.objective import AutogradGradient
from logreg.sweeps.fused import networks as forms
from logreg.sweeps.fused.assemble import Assembler
from logreg.sweeps.fused.chunks import Stack, default_memory, stacks
from logreg.sweeps.fused.footprint import Footprint, footprint
from logreg.sweeps.fused.networks import GeneralNetworks, NetworksInTurn, stacked_networks
from tests.helpers import composed
from tests.sweeps.fused.test_fit import assert_alone, bits, fused

SIZE, PHOTOS = 16, 120
CHANGES = {"flip": True, "crop": 0.1, "jitter": 0.2}


class FewDigits(DigitsData):
    """The first of the digits, of all ten kinds."""

    def candidates(self) -> np.ndarray:
        return super().candidates()[:PHOTOS]


def few(**settings: Any) -> FewDigits:
    class_weight = settings.pop("class_weight", None)
    data = FewDigits(**{"size": SIZE, "batch_size": 32, "split": {"train": 0.6, "val": 0.2, "test": 0.2}, **settings})
    data.weigh_labels(class_weight)
    return data


@pytest.mark.parametrize("network", [ConvSequential, LinearOnPixels])
def test_a_full_batch_of_photos_is_changed_in_the_parts_of_a_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: Callable[[int], nn.Module]
) -> None:
    monkeypatch.setattr(photos.PhotosInMemory, "elements", 20 * 3 * SIZE**2)  # 20 photos
    specs = [{"lr": 0.01, "epochs": 2}, {"lr": 0.03, "l1": 0.001, "epochs": 3}]
    table = functools.partial(few, batch_size=None, augment=CHANGES)
    found = fused([table(), table(class_weight="balanced")], specs, network, optimizer=SGD)
    for job, (class_weight, spec) in enumerate([(w, spec) for w in (None, "balanced") for spec in specs]):
        assert_alone(tmp_path / str(job), found, job, table(class_weight=class_weight), spec, network)


@pytest.mark.parametrize("optimizer", [Adam, SGD])
@pytest.mark.parametrize("network", [ConvSequential, LinearOnPixels])
def test_jobs_on_changed_photos_of_two_folds(
    tmp_path: Path, network: Callable[[int], nn.Module], optimizer: type
) -> None:
    specs = [{"lr": 0.001, "l2": 0.01, "epochs": 3}, {"lr": 0.003, "epochs": 2}]
    tables = [functools.partial(few, augment=CHANGES, folds=4, fold=fold) for fold in (0, 3)]  # of equal size
    found = fused([table() for table in tables], specs, network, optimizer=optimizer)
    for job, (table, spec) in enumerate([(table, spec) for table in tables for spec in specs]):
        assert_alone(tmp_path / str(job), found, job, table(), spec, network)


def test_a_job_that_diverges_leaves_the_bits_of_the_others() -> None:
    good = [{"lr": 0.01, "epochs": 2}]
    usual = fused([few()], [*good, {"lr": 0.02}], ConvSequential, optimizer=SGD)
    wild = fused([few()], [*good, {"lr": 1e30}], ConvSequential, optimizer=SGD)
    assert wild.status == ["completed", "diverged"]
    assert bits(wild, 0) == bits(usual, 0)


def some(network: Callable[[int], nn.Module], count: int) -> tuple[list[nn.Module], Footprint]:
    torch.manual_seed(0)
    made = [network(3 * SIZE**2) for _ in range(count)]
    return made, footprint(made[0], TensorRows(torch.randn(9, 3 * SIZE**2), torch.zeros(9)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("tables", [1, 2])
@pytest.mark.parametrize("network", [ConvSequential, ConvByHand])
def test_vmap_and_turns_and_pieces_give_the_same(
    monkeypatch: pytest.MonkeyPatch, network: Callable[[int], nn.Module], tables: int, weighted: bool
) -> None:
    made, whole = some(network, 4)
    x, y = torch.randn(tables, 12, 3 * SIZE**2), (torch.rand(tables, 12) > 0.5).float()
    weight = torch.rand(tables, 12) + 0.5 if weighted else None
    common = (tables, torch.zeros(4), torch.tensor([0.0, 0.1, 0.0, 1.0]), torch.float32, torch.device("cpu"))
    turns = NetworksInTurn(made, *common, whole)
    logits, gradients = turns.gradients(x, y, weight)
    torch.testing.assert_close(turns.logits(x), logits, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(forms, "AT_ONCE", 5 * 4 * whole.numbers)
    for form in (NetworksInTurn, GeneralNetworks):
        for at_once in (5, 100):
            other = form(made, *common, replace(whole, at_once=at_once))
            found, theirs = other.gradients(x, y, weight)
            torch.testing.assert_close(found, logits, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(other.logits(x), logits, rtol=1e-5, atol=1e-6)
            for mine, their in zip(gradients, theirs, strict=True):
                torch.testing.assert_close(their, mine, rtol=1e-4, atol=1e-6)


def test_jobs_in_turn_have_the_bits_of_autograd_and_those_not_wanted_are_left_out() -> None:
    made, whole = some(ConvSequential, 3)
    x, y = torch.randn(1, 12, 3 * SIZE**2), (torch.rand(1, 12) > 0.5).float()
    turns = stacked_networks(made, 1, torch.zeros(3), torch.tensor([0.0, 0.1, 0.0]), torch.float32, "cpu", whole)
    logits, gradients = turns.gradients(x, y, None, np.array([True, True, False]))
    for job, l2 in enumerate((0.0, float(turns.l2[1]))):
        assert torch.equal(AutogradGradient(made[job], l2)(x[0], y[0]), logits[job])
        for gradient, parameter in zip(gradients, made[job].parameters(), strict=True):
            assert parameter.grad is not None
            assert torch.equal(gradient[job], parameter.grad)
    assert not logits[2].any()
    assert not any(gradient[2].any() for gradient in gradients)


def stacked(*jobs: list[str], memory: int | None = None) -> list[Stack]:
    assembler = Assembler([])
    common = [
        "data=digits", f"data.size={SIZE}", "data.split={train: 1.0, val: 0, test: 0}", "monitor=train/loss",
        "class_weight=null",
    ]  # fmt: skip
    members = [assembler.member(i, composed(*common, *overrides)) for i, overrides in enumerate(jobs)]
    return stacks(members, assembler.common(members[0]), memory or default_memory(torch.device("cpu")))


@pytest.mark.parametrize(
    ("batch_size", "augment", "tables"),
    [("null", "null", 1), ("null", "{flip: true}", 2), ("32", "null", 2), ("32", "{flip: true}", 2)],
)
def test_a_seed_sets_tables_apart_where_it_decides_what_is_seen(batch_size: str, augment: str, tables: int) -> None:
    common = [f"data.batch_size={batch_size}", f"data.augment={augment}"]
    (stack,) = stacked(*([*common, f"seed={seed}", f"lr={lr}"] for seed in (1, 2) for lr in (0.1, 0.2)))
    assert len(stack.tables) == tables
    assert len(stack.members) == 4  # no place is filled where one costs as much as a job


def test_a_batch_of_convolutions_is_counted_once_in_turn_and_for_every_job_through_vmap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs, memory = [[f"lr={lr}"] for lr in (0.1, 0.2, 0.3, 0.4)], 300_000_000
    monkeypatch.setattr("logreg.sweeps.fused.chunks._bytes_of_a_batch", lambda *_: memory // 3)
    assert len(stacked(*jobs, memory=memory)) == 1
    monkeypatch.setattr("logreg.sweeps.fused.chunks.form_of", lambda *_: GeneralNetworks)
    assert len(stacked(*jobs, memory=memory)) == 2
