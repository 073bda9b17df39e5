"""Networks of many jobs, in closed form, through vmap and in turn, give what each gives alone: mostly convolutions."""

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

from logreg.data.rows import TensorRows
from logreg.models import ConvByHand, ConvSequential, LinearOnPixels
from logreg.optim.objective import AutogradGradient
from logreg.sweeps.fused import fit, networks
from logreg.sweeps.fused.fit import Fit
from logreg.sweeps.fused.networks import (
    Footprint,
    GeneralNetworks,
    LinearNetworks,
    NetworksInTurn,
    footprint,
    form_of,
)
from tests.sweeps.fused.photos import CHANGES, SIZE, few
from tests.sweeps.fused.test_fit import assert_alone, bits, fused

SPECS: list[dict[str, Any]] = [{"lr": 0.05, "momentum": 0.9, "epochs": 2}, {"lr": 0.1, "epochs": 1, "l2": 0.01}]


@pytest.fixture(params=[NetworksInTurn, GeneralNetworks], ids=["in turn", "vmap"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    monkeypatch.setattr(fit, "form_of", lambda *_: request.param)
    return request.param


@pytest.mark.parametrize(
    ("network", "augment"),
    [
        pytest.param(ConvSequential, CHANGES, id="ConvSequential-augmented"),
        pytest.param(ConvByHand, None, id="ConvByHand-as they are"),
        pytest.param(ConvSequential, None, id="ConvSequential-as they are", marks=pytest.mark.slow),
        pytest.param(ConvByHand, CHANGES, id="ConvByHand-augmented", marks=pytest.mark.slow),
    ],
)
def test_convolutions_in_one_fit_are_those_of_runs_alone(
    tmp_path: Path, form: type, network: Callable[[int], nn.Module], augment: dict[str, Any] | None
) -> None:
    fused_fit = fused([few(augment=augment)], SPECS, network, optimizer=SGD)
    assert type(fused_fit.networks) is form
    for job, spec in enumerate(SPECS):
        alone = few(augment=augment)
        assert_alone(tmp_path / str(job), fused_fit, job, alone, spec, network, tolerance=1e-4)


@pytest.mark.parametrize(
    ("network", "optimizer"),
    [
        (ConvSequential, SGD),
        (LinearOnPixels, Adam),
        pytest.param(ConvSequential, Adam, marks=pytest.mark.slow),
        pytest.param(LinearOnPixels, SGD, marks=pytest.mark.slow),
    ],
)
def test_jobs_on_changed_photos_of_two_folds(
    tmp_path: Path, network: Callable[[int], nn.Module], optimizer: type
) -> None:
    specs = [{"lr": 0.001, "l2": 0.01, "epochs": 3}, {"lr": 0.003, "epochs": 2}]
    tables = [functools.partial(few, augment=CHANGES, folds=4, fold=fold) for fold in (0, 3)]  # of equal size
    fused_fit = fused([table() for table in tables], specs, network, optimizer=optimizer)
    for job, (table, spec) in enumerate([(table, spec) for table in tables for spec in specs]):
        assert_alone(tmp_path / str(job), fused_fit, job, table(), spec, network)


def test_a_job_that_diverges_leaves_the_bits_of_the_others() -> None:
    good = [{"lr": 0.01, "epochs": 2}]
    usual = fused([few()], [*good, {"lr": 0.02}], ConvSequential, optimizer=SGD)
    wild = fused([few()], [*good, {"lr": 1e30}], ConvSequential, optimizer=SGD)
    assert wild.status == ["completed", "diverged"]
    assert bits(wild, 0) == bits(usual, 0)


def test_the_form_depends_on_layers_and_device() -> None:
    data = few()
    data.setup()
    rows, cpu, gpu = data.served("train"), torch.device("cpu"), torch.device("cuda")
    conv, linear = ConvByHand(data.num_features), LinearOnPixels(data.num_features)
    hidden = nn.Sequential(nn.Linear(data.num_features, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid())
    assert form_of(conv, footprint(conv, rows), cpu) is NetworksInTurn
    assert form_of(conv, footprint(conv, rows), gpu) is GeneralNetworks
    assert form_of(linear, footprint(linear, rows), cpu) is LinearNetworks
    assert form_of(hidden, footprint(hidden, rows), cpu) is GeneralNetworks


def test_validation_in_pieces_gives_the_same(monkeypatch: pytest.MonkeyPatch, form: type) -> None:
    def validations() -> Fit:
        return fused([few()], SPECS[:1], ConvByHand, optimizer=SGD)

    whole = validations()
    monkeypatch.setattr(networks, "AT_ONCE", 1)
    pieces = validations()
    for (_, a, _), (_, b, _) in zip(whole.validations, pieces.validations, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


def drawn_networks(network: Callable[[int], nn.Module], count: int) -> tuple[list[nn.Module], Footprint]:
    torch.manual_seed(0)
    alone = [network(3 * SIZE**2) for _ in range(count)]
    return alone, footprint(alone[0], TensorRows(torch.randn(9, 3 * SIZE**2), torch.zeros(9)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("tables", [1, 2])
@pytest.mark.parametrize("network", [ConvSequential, ConvByHand])
def test_vmap_and_turns_and_pieces_give_the_same(
    monkeypatch: pytest.MonkeyPatch, network: Callable[[int], nn.Module], tables: int, weighted: bool
) -> None:
    alone, whole = drawn_networks(network, 4)
    x, y = torch.randn(tables, 12, 3 * SIZE**2), (torch.rand(tables, 12) > 0.5).float()
    weight = torch.rand(tables, 12) + 0.5 if weighted else None
    common = (tables, torch.zeros(4), torch.tensor([0.0, 0.1, 0.0, 1.0]), torch.float32, torch.device("cpu"))
    turns = NetworksInTurn(alone, *common, whole)
    logits, gradients = turns.gradients(x, y, weight)
    torch.testing.assert_close(turns.logits(x), logits, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(networks, "AT_ONCE", 5 * 4 * whole.numbers)
    for form in (NetworksInTurn, GeneralNetworks):
        for at_once in (5, 100):
            other = form(alone, *common, replace(whole, at_once=at_once))
            z, theirs = other.gradients(x, y, weight)
            torch.testing.assert_close(z, logits, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(other.logits(x), logits, rtol=1e-5, atol=1e-6)
            for expected, gradient in zip(gradients, theirs, strict=True):
                torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_jobs_in_turn_have_the_bits_of_autograd_and_those_not_wanted_are_left_out() -> None:
    alone, whole = drawn_networks(ConvSequential, 3)
    x, y = torch.randn(1, 12, 3 * SIZE**2), (torch.rand(1, 12) > 0.5).float()
    turns = NetworksInTurn(
        alone, 1, torch.zeros(3), torch.tensor([0.0, 0.1, 0.0]), torch.float32, torch.device("cpu"), whole
    )
    logits, gradients = turns.gradients(x, y, None, np.array([True, True, False]))
    for job, l2 in enumerate((0.0, float(turns.l2[1]))):
        assert torch.equal(AutogradGradient(alone[job], l2)(x[0], y[0]), logits[job])
        for gradient, parameter in zip(gradients, alone[job].parameters(), strict=True):
            assert parameter.grad is not None
            assert torch.equal(gradient[job], parameter.grad)
    assert not logits[2].any()
    assert not any(gradient[2].any() for gradient in gradients)


def test_a_footprint_counts_what_a_network_makes_of_a_row() -> None:
    data = few()
    data.setup()
    of_row = footprint(ConvByHand(data.num_features), data.served("train"))
    first, second = 64 * 12 * 12, 30 * 2 * 2  # of 16 x 16 pixels: convolved, and pooled to 6 x 6
    at_least = 2 * first + 64 * 6 * 6 + 2 * second + 30 + 2 * 128 + 1  # each convolution and its ReLU, pooled, linear
    assert of_row.convolves
    assert at_least <= of_row.numbers <= 2 * at_least  # pooling keeps where the largest was, in wider numbers
