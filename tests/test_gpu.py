"""The same training on a CUDA device."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers import breast_cancer, column, fit, toy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("source", [toy, breast_cancer])
def test_a_gpu_follows_the_cpu(tmp_path: Path, source: Any) -> None:
    make = functools.partial(torch.optim.Adam, lr=0.01)
    _, _, on_cpu = fit(tmp_path / "cpu", source(), 20, make)
    record, _, on_gpu = fit(tmp_path / "gpu", source(), 20, make, accelerator="gpu", devices=1)
    assert record.device.startswith("cuda")
    expected, found = column(on_cpu, "train/loss"), column(on_gpu, "train/loss")
    assert found.keys() == expected.keys()
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-4)


def test_dropout_on_a_gpu_goes_on_with_its_random_state(tmp_path: Path) -> None:
    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(30, 8), nn.Dropout(0.5), nn.Linear(8, 1), nn.Sigmoid())

    gpu: dict[str, Any] = {"accelerator": "gpu", "devices": 1}
    torch.cuda.manual_seed(1)
    whole, _, _ = fit(tmp_path / "whole", breast_cancer(), 6, network=network(), **gpu)
    torch.cuda.manual_seed(1)
    fit(tmp_path / "first", breast_cancer(), 3, network=network(), **gpu)
    rest, _, _ = fit(tmp_path / "rest", breast_cancer(), 6, network=network(), resume=tmp_path / "first", **gpu)
    assert rest.metrics["val/loss"] == pytest.approx(whole.metrics["val/loss"], rel=1e-5)
