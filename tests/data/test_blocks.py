"""Blocks serve every row once a pass, in an order that depends on the seed and the pass alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from logreg.data.blocks import BlockLoader, EvaluationBatches, PassPlan
from logreg.data.rows import SparseRows, TensorRows


def loader(rows: int, batch_size: int | None, seed: int, passes: int, per_epoch: int, accumulate: int) -> BlockLoader:
    x = torch.arange(rows, dtype=torch.float32).reshape(-1, 1)
    return BlockLoader(TensorRows(x, x[:, 0]), batch_size, seed, PassPlan(passes, per_epoch, accumulate))


def serve(source: BlockLoader, stop_after: int | None = None) -> list[list[list[float]]]:
    """The rows of every update; like a trainer, it asks for an epoch at a time and reports what it used."""
    updates: list[list[list[float]]] = []
    while source.passes < source.plan.passes:
        for block in source:
            used = 0
            for batches, _ in block:
                if stop_after is not None and len(updates) == stop_after:
                    block.consumed(used)
                    return updates
                updates.append([y.tolist() for _, y in batches])
                used += 1
            block.consumed(used)
    return updates


cases = st.tuples(
    st.integers(1, 23),  # rows
    st.one_of(st.none(), st.integers(1, 30)),  # batch size
    st.integers(0, 5),  # seed
    st.integers(1, 4),  # passes
    st.integers(1, 5),  # passes per epoch
    st.integers(1, 4),  # accumulate
)


@given(cases)
@settings(deadline=None)
def test_a_pass_has_every_row_once_in_batches_of_the_size_asked_for(case: tuple) -> None:
    rows, batch_size, _, passes, _, accumulate = case
    source = loader(*case)
    updates = serve(source)
    size = min(batch_size or rows, rows)
    per_pass = math.ceil(math.ceil(rows / size) / accumulate)
    assert len(updates) == passes * per_pass == passes * source.updates_per_pass
    for number in range(passes):
        batches = [batch for update in updates[number * per_pass : (number + 1) * per_pass] for batch in update]
        assert sorted(row for batch in batches for row in batch) == list(range(rows))
        assert all(len(batch) == size for batch in batches[:-1])


@given(cases, st.data())
@settings(deadline=None)
def test_going_on_from_any_update_gives_what_an_unbroken_run_gives(case: tuple, data: st.DataObject) -> None:
    whole = serve(loader(*case))
    stop = data.draw(st.integers(0, len(whole)))
    first, second = loader(*case), loader(*case)
    before = serve(first, stop_after=stop)
    second.passes, second.batches = first.passes, first.batches
    assert before + serve(second) == whole


def test_the_order_differs_between_passes_and_seeds_and_repeats_with_both() -> None:
    orders = {
        (seed, number): tuple(loader(50, 5, seed, 1, 1, 1).positions(number, 0, 50).tolist())
        for seed in (0, 1)
        for number in (0, 1)
    }
    assert len(set(orders.values())) == 4
    assert tuple(loader(50, 5, 0, 1, 1, 1).positions(1, 0, 50).tolist()) == orders[0, 1]


def test_evaluation_batches_hold_every_row_in_order() -> None:
    x = torch.arange(10.0).reshape(5, 2)
    batches = EvaluationBatches(TensorRows(x, x[:, 0]))
    assert torch.equal(torch.cat([part for part, _ in batches]), x)
    assert len(batches) == 1


def test_a_pass_over_a_large_table_visits_every_row_once_and_needs_little_memory(monkeypatch) -> None:
    from logreg.data import blocks

    monkeypatch.setattr(blocks, "WINDOW", 64)
    monkeypatch.setattr(blocks, "STRETCH", 8)
    for rows in (64, 65, 128, 515, 1000):
        source = loader(rows, 7, 3, 2, 1, 1)
        orders = [source.positions(number, 0, rows).tolist() for number in (0, 1)]
        assert all(sorted(order) == list(range(rows)) for order in orders)
        assert orders[0] != orders[1]
        assert source.positions(0, 10, 50).tolist() == orders[0][10:50]
        if rows > 64:  # a window holds rows from all over the table
            assert max(orders[0][:64]) - min(orders[0][:64]) > rows / 2


def test_sparse_rows_that_are_kept_stay_where_they_are_on_the_device_already() -> None:
    parts = np.array([0, 1, 2]), np.array([0, 1], dtype=np.int32), np.array([1.0, 2.0])
    rows = SparseRows(parts, np.arange(2), 2, torch.tensor([0.0, 1.0]), None, torch.float64)
    on_device = rows.everything()
    rows.to(torch.device("cpu"))  # as every block of a training does
    assert rows.everything() is on_device
