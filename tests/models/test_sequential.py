"""The notebook's three forms of one model."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from logreg.models import HandWritten, LogisticRegression, SequentialRegression


@given(st.integers(1, 6), st.integers(0, 1000))
def test_the_three_forms_with_equal_parameters_give_equal_outputs(features: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    w, b = torch.randn(features, 1, generator=random), torch.randn(1, generator=random)
    x = torch.randn(7, features, generator=random)
    hand, sequential, module = HandWritten(features), SequentialRegression(features), LogisticRegression(features)
    with torch.no_grad():
        hand.W.copy_(w)
        hand.b.copy_(b)
        for layer in (sequential[0], module.linear):
            layer.weight.copy_(w.T)
            layer.bias.copy_(b)
    expected = torch.sigmoid(x @ w + b)
    for network in (hand, sequential, module):
        torch.testing.assert_close(network(x), expected)


def test_before_training_every_hypothesis_of_the_hand_written_form_is_one_half() -> None:
    assert (HandWritten(2)(torch.randn(6, 2)) == 0.5).all()


def test_draws_before_gives_the_second_layer_drawn_after_the_seed() -> None:
    torch.manual_seed(1)
    torch.nn.Linear(2, 1)
    second = torch.nn.Linear(2, 1)
    torch.manual_seed(1)
    assert torch.equal(LogisticRegression(2, draws_before=1).linear.weight, second.weight)
