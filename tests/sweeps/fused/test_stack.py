"""Photos that are changed at random are changed in a fit as in a run alone: batch by batch, by the table's own seed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn
from torch.optim import SGD

from logreg.data.images import data as photos
from logreg.models import ConvSequential, LinearOnPixels
from tests.sweeps.fused.photos import CHANGES, SIZE, few
from tests.sweeps.fused.test_fit import assert_alone, fused


def test_tables_of_other_seeds_are_changed_by_draws_of_their_own(tmp_path: Path) -> None:
    specs = [{"lr": 0.05, "epochs": 2}]
    fused_fit = fused([few(augment=CHANGES, seed=s) for s in (1, 2)], specs, LinearOnPixels, optimizer=SGD)
    for job, seed in enumerate((1, 2)):
        alone = few(augment=CHANGES, seed=seed)
        assert_alone(tmp_path / str(job), fused_fit, job, alone, specs[0], LinearOnPixels)


def test_a_full_batch_is_changed_anew_in_every_pass(tmp_path: Path) -> None:
    data, specs = few(batch_size=None, augment=CHANGES), [{"lr": 0.05, "epochs": 3}]
    fused_fit = fused([data], specs, LinearOnPixels, optimizer=SGD)
    alone = few(batch_size=None, augment=CHANGES)
    assert_alone(tmp_path, fused_fit, 0, alone, specs[0], LinearOnPixels)


@pytest.mark.parametrize("network", [pytest.param(ConvSequential, marks=pytest.mark.slow), LinearOnPixels])
def test_a_full_batch_of_photos_is_changed_in_the_parts_of_a_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: Callable[[int], nn.Module]
) -> None:
    monkeypatch.setattr(photos.PhotosInMemory, "elements", 20 * 3 * SIZE**2)  # 20 photos
    specs = [{"lr": 0.01, "epochs": 2}, {"lr": 0.03, "l1": 0.001, "epochs": 3}]
    table = functools.partial(few, batch_size=None, augment=CHANGES)
    fused_fit = fused([table(), table(class_weight="balanced")], specs, network, optimizer=SGD)
    for job, (class_weight, spec) in enumerate([(w, spec) for w in (None, "balanced") for spec in specs]):
        assert_alone(tmp_path / str(job), fused_fit, job, table(class_weight=class_weight), spec, network)
