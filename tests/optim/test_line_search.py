"""How far to go along a direction: the sufficient decrease, and the same search for one problem and for many."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from logreg.optim.line_search import SHARE, search, search_each
from logreg.optim.problem import FirstOrder
from logreg.optim.solver import Latest


def quartic(theta: Tensor) -> FirstOrder:
    return FirstOrder(float(theta.pow(4).sum()), 4 * theta.pow(3), 0.0)


def values(theta: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    return theta.pow(4).sum(1), 4 * theta.pow(3)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_the_objective_falls_by_its_share_of_what_the_slope_promises(seed: int, scale: float) -> None:
    theta = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    at = quartic(theta)
    direction = -scale * at.gradient
    slope = float(at.gradient @ direction)
    reached, point, step = search(quartic, theta, at, direction, 1.0, slope)
    assert 0 < step <= 1
    assert point.value - at.value <= SHARE * step * slope
    torch.testing.assert_close(reached, theta + step * direction)


def test_a_direction_in_which_it_rises_leads_nowhere() -> None:
    theta = torch.ones(2, dtype=torch.float64)
    at = quartic(theta)
    reached, point, step = search(quartic, theta, at, at.gradient, 1.0, -1.0)
    assert (step, point) == (0.0, at)
    assert torch.equal(reached, theta)


@pytest.mark.parametrize("first", [1.0, 0.5])
def test_each_of_many_problems_has_a_step_of_its_own(first: float) -> None:
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    value, gradient = values(theta, torch.arange(5))
    direction = -torch.tensor([0.01, 0.1, 1.0, 10.0, -1.0], dtype=torch.float64).unsqueeze(1) * gradient
    reached, lower, slopes, step = search_each(values, theta, value, gradient, direction, torch.full_like(value, first))
    fell = lower - value <= SHARE * step * (gradient * direction).sum(1)
    assert fell[:4].all()
    assert step[0] == first
    assert (step[:4].diff() <= 0).all()
    assert float(step[4]) == 0.0  # uphill
    assert torch.equal(reached[4], theta[4])
    for part, expected in zip((lower, slopes), values(reached, torch.arange(5)), strict=True):
        torch.testing.assert_close(part, expected)


def test_the_latest_is_made_anew_for_other_parts_alone() -> None:
    latest, numbers, problem = Latest[int](), iter(range(9)), object()
    theta = torch.zeros(2)
    assert [latest(lambda: next(numbers), problem, t) for t in (theta, theta.clone(), theta + 1)] == [0, 0, 1]
    assert latest(lambda: next(numbers), object(), theta + 1) == 2
    latest.forget()
    assert latest(lambda: next(numbers), problem, theta) == 3
