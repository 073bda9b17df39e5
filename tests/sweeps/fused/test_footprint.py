"""A footprint counts what a network makes of a row."""

from __future__ import annotations

from logreg.models import ConvByHand
from logreg.sweeps.fused.networks import footprint
from tests.sweeps.fused.photos import few


def test_a_footprint_counts_what_a_network_makes_of_a_row() -> None:
    data = few()
    data.setup()
    of_row = footprint(ConvByHand(data.num_features), data.served("train"))
    first, second = 64 * 12 * 12, 30 * 2 * 2  # of 16 x 16 pixels: convolved, and pooled to 6 x 6
    at_least = 2 * first + 64 * 6 * 6 + 2 * second + 30 + 2 * 128 + 1  # each convolution and its ReLU, pooled, linear
    assert of_row.convolves
    assert at_least <= of_row.numbers <= 2 * at_least  # pooling keeps where the largest was, in wider numbers
