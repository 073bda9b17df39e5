"""Jobs on photos in one fit against the same jobs trained alone, in turn and through vmap, augmented or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from logreg.data import DigitsData
from logreg.models import ConvByHand, ConvSequential, LinearOnPixels
from logreg.sweeps.fused import networks
from logreg.sweeps.fused.chunks import _content
from logreg.sweeps.fused.fit import Fit
from logreg.sweeps.fused.footprint import footprint
from logreg.sweeps.fused.networks import GeneralNetworks, LinearNetworks, NetworksInTurn, form_of
from tests.helpers import digits
from tests.sweeps.fused.test_fit import assert_alone, fused

CHANGED = {"flip": True, "crop": 0.2, "jitter": 0.3}
SPECS: list[dict[str, Any]] = [{"lr": 0.05, "momentum": 0.9, "epochs": 2}, {"lr": 0.1, "epochs": 1, "l2": 0.01}]


def few(**settings: Any) -> DigitsData:
    """Some hundred photos of 16 x 16 pixels."""
    return digits(batch_size=64, **{"split": {"train": 0.1, "val": 0.05, "test": 0.85}, **settings})


@pytest.fixture(params=[NetworksInTurn, GeneralNetworks], ids=["in turn", "vmap"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    monkeypatch.setattr(networks, "form_of", lambda *_: request.param)
    return request.param


@pytest.mark.parametrize("augment", [None, CHANGED], ids=["as they are", "augmented"])
@pytest.mark.parametrize("network", [ConvSequential, ConvByHand])
def test_convolutions_in_one_fit_are_those_of_runs_alone(
    tmp_path: Path, form: type, network: Callable[[int], nn.Module], augment: dict[str, Any] | None
) -> None:
    found = fused([few(augment=augment)], SPECS, network, optimizer=SGD)
    assert type(found.networks) is form
    for job, spec in enumerate(SPECS):
        alone = few(augment=augment)
        assert_alone(tmp_path / str(job), found, job, alone, spec, network, tolerance=1e-4)


def test_tables_of_other_seeds_are_changed_by_draws_of_their_own(tmp_path: Path) -> None:
    specs = [{"lr": 0.05, "epochs": 2}]
    found = fused([few(augment=CHANGED, seed=s) for s in (1, 2)], specs, LinearOnPixels, optimizer=SGD)
    for job, seed in enumerate((1, 2)):
        alone = few(augment=CHANGED, seed=seed)
        assert_alone(tmp_path / str(job), found, job, alone, specs[0], LinearOnPixels)


def test_a_full_batch_is_changed_anew_in_every_pass(tmp_path: Path) -> None:
    data, specs = digits(batch_size=None, augment=CHANGED), [{"lr": 0.05, "epochs": 3}]
    found = fused([data], specs, LinearOnPixels, optimizer=SGD)
    alone = digits(batch_size=None, augment=CHANGED)
    assert_alone(tmp_path, found, 0, alone, specs[0], LinearOnPixels)


def test_which_tables_are_one() -> None:
    """Equal rows that are changed otherwise, or by another seed, are not."""
    made = [
        few(),
        few(augment=CHANGED),
        few(augment=CHANGED),
        few(augment={"flip": True}),
        few(augment=CHANGED, seed=2),
    ]
    for data in made:
        data.setup()
    contents = [_content(data, torch.float32) for data in made]
    assert contents[1] == contents[2]
    assert len(set(contents)) == 4


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


def test_a_footprint_counts_what_a_network_makes_of_a_row() -> None:
    data = few()
    data.setup()
    made = footprint(ConvByHand(data.num_features), data.served("train"))
    first, second = 64 * 12 * 12, 30 * 2 * 2  # of 16 x 16 pixels: convolved, and pooled to 6 x 6
    at_least = 2 * first + 64 * 6 * 6 + 2 * second + 30 + 2 * 128 + 1  # each convolution and its ReLU, pooled, linear
    assert made.convolves
    assert at_least <= made.numbers <= 2 * at_least  # pooling keeps where the largest was, in wider numbers


def test_validation_in_pieces_gives_the_same(monkeypatch: pytest.MonkeyPatch, form: type) -> None:
    def validations() -> Fit:
        return fused([few()], SPECS[:1], ConvByHand, optimizer=SGD)

    whole = validations()
    monkeypatch.setattr(networks, "AT_ONCE", 1)
    pieces = validations()
    for (_, a, _), (_, b, _) in zip(whole.validations, pieces.validations, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
