"""The notebook's convolutional network: two forms of one function, the one that torch.nn.functional spells out."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from logreg.core.errors import UserError
from logreg.models import ConvByHand, ConvSequential, LinearOnPixels

FORMS = (ConvByHand, ConvSequential)


def pair(size: int, num_outputs: int = 1, seed: int = 0) -> tuple[ConvByHand, ConvSequential]:
    """Both forms with the parameters of the first."""
    torch.manual_seed(seed)
    by_hand = ConvByHand(3 * size * size, num_outputs)
    sequential = ConvSequential(3 * size * size, num_outputs)
    with torch.no_grad():
        for ours, theirs in zip(sequential.parameters(), by_hand.parameters(), strict=True):
            ours.copy_(theirs)
    return by_hand, sequential


def oracle(network: nn.Module, x: Tensor) -> Tensor:
    """The last linear layer of the notebook's network, from the parameters in their order."""
    w1, b1, w2, b2, w3, b3, w4, b4 = network.parameters()
    x = F.max_pool2d(F.conv2d(x, w1, b1).clamp(min=0), 2, 2)
    x = F.max_pool2d(F.conv2d(x, w2, b2).clamp(min=0), 2, 2)
    x = F.linear(x.reshape(len(x), -1), w3, b3).clamp(min=0)
    return F.linear(x, w4, b4)


def photos(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_the_layers_are_those_of_the_notebook() -> None:
    shapes = [(64, 3, 5, 5), (64,), (30, 64, 5, 5), (30,), (128, 30 * 5 * 5), (128,), (10, 128), (10,)]
    for form in FORMS:
        assert [tuple(p.shape) for p in form(3 * 32 * 32, num_outputs=10).parameters()] == shapes
        assert [tuple(p.shape) for p in form(3 * 32 * 32).parameters()] == [*shapes[:-2], (1, 128), (1,)]


@settings(max_examples=6)
@given(st.sampled_from([16, 17, 24, 32, 33]), st.sampled_from([1, 10]), st.integers(1, 5), st.integers(0, 1000))
def test_with_copied_parameters_both_forms_agree_to_the_bit(size: int, outputs: int, rows: int, seed: int) -> None:
    by_hand, sequential = pair(size, outputs, seed)
    x = photos(rows, size, seed)
    for a, b in ((by_hand(x), sequential(x)), (by_hand.logits(x), sequential.logits(x))):
        assert torch.equal(a, b)
    for network in (by_hand, sequential):
        network.logits(x).square().sum().backward()
    for a, b in zip(by_hand.parameters(), sequential.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
        assert bool(a.grad.abs().sum() > 0)


def test_both_forms_stay_equal_to_the_bit_while_they_are_trained() -> None:
    networks = pair(16)
    y = torch.tensor([0.0, 1.0] * 4)
    for network in networks:
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        for step in range(5):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(network.logits(photos(8, 16, step)).squeeze(1), y).backward()
            optimizer.step()
    for a, b in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [16, 31, 32, 64])
def test_the_logits_are_what_torch_functional_says(form: type, size: int) -> None:
    torch.manual_seed(size)
    network = form(3 * size * size).double()
    x = photos(2, size).double()
    torch.testing.assert_close(network.logits(x), oracle(network, x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(network(x), torch.sigmoid(oracle(network, x)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_with_ten_outputs_the_last_layer_is_the_notebooks(form: type) -> None:
    torch.manual_seed(1)
    network = form(3 * 32 * 32, num_outputs=10).double()
    x = photos(4, 32).double()
    assert network(x).shape == (4, 10)
    torch.testing.assert_close(network(x), oracle(network, x).clamp(min=0), rtol=1e-12, atol=1e-12)
    assert bool((network(x) == 0).any())


@pytest.mark.parametrize("network", [ConvByHand(768), ConvSequential(768), LinearOnPixels(768)])
def test_flat_rows_are_the_same_photos(network: nn.Module) -> None:
    x = photos(3, 16)
    assert torch.equal(network(x.flatten(1)), network(x))
    assert network(x).shape == network(x[:, :, :, :].contiguous(memory_format=torch.channels_last)).shape == (3, 1)
    assert network(x[:0]).shape == (0, 1)


def test_the_linear_baseline_is_a_logistic_regression_of_all_pixels() -> None:
    network, x = LinearOnPixels(768).double(), photos(5, 16).double()
    weight, bias = network.coefficients()
    torch.testing.assert_close(network.logits(x)[:, 0], torch.einsum("nchw,chw->n", x, weight.view(3, 16, 16)) + bias)
    torch.testing.assert_close(network(x), torch.sigmoid(network.logits(x)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("numbers", [0, 2, 3, 30, 3 * 32 * 31, 32 * 32, 3 * 32 * 32 + 1])
def test_rows_that_are_no_square_photos_are_refused(form: type, numbers: int) -> None:
    with pytest.raises(UserError, match=r"^model: .*(square photos|too small)"):
        form(numbers)


def test_a_photo_of_which_nothing_is_left_is_refused_and_the_smallest_is_not() -> None:
    for form, side in itertools.product(FORMS, (1, 5, 12, 15)):
        with pytest.raises(UserError, match=rf"data\.size={side} .*16 or more"):
            form(3 * side * side)
    assert ConvByHand(3 * 16 * 16).linear1.in_features == 30
