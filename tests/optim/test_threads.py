"""Sums over blocks, made by several threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from logreg.optim.threads import Sums, summed, torch_in_one_thread

CPU = torch.device("cpu")


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("blocks", [1, 2, 7, 64])
@pytest.mark.parametrize("at_once", [True, False])
def test_every_block_is_counted_once(threads: int, blocks: int, at_once: bool) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        sums = summed(lambda i: [torch.tensor(float(i)), torch.full((3,), 1.0 + i * i)], blocks, CPU, at_once)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert float(sums[0]) == blocks * (blocks - 1) / 2
    assert sums[1].tolist() == [float(sum(1 + i * i for i in range(blocks)))] * 3


def test_an_error_of_a_block_is_that_of_the_pass_and_torch_has_its_threads_back() -> None:
    before = torch.get_num_threads()

    def work(i: int) -> Sums:
        if i == 3:
            raise ZeroDivisionError(str(i))
        return [torch.zeros(2)]

    with pytest.raises(ZeroDivisionError, match="3"):
        summed(work, 8, CPU)
    assert torch.get_num_threads() == before


def test_inside_torch_has_one_thread_and_numbers_that_are_not_finite_are_no_warning(
    recwarn: pytest.WarningsRecorder,
) -> None:
    inside: list[int] = []

    def work(i: int) -> Sums:
        inside.append(torch.get_num_threads())
        return [torch.from_numpy(np.full(2, np.inf) - np.full(2, np.inf))]

    summed(work, 4, CPU)
    with torch_in_one_thread():
        work(0)
    assert inside == [1] * 5
    assert not recwarn.list
