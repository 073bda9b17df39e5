"""Which jobs lie in one fit: those whose tables are one, and as many as memory takes."""

from __future__ import annotations

import pytest
import torch

from logreg.sweeps.fused.chunks import Stack, _content, default_memory, stacks
from logreg.sweeps.fused.members import Assembler
from logreg.sweeps.fused.networks import GeneralNetworks
from tests.helpers import composed
from tests.sweeps.fused.photos import CHANGES, SIZE, few


def test_which_tables_are_one() -> None:
    """Equal rows that are changed otherwise, or by another seed, are not."""
    tables = [
        few(),
        few(augment=CHANGES),
        few(augment=CHANGES),
        few(augment={"flip": True}),
        few(augment=CHANGES, seed=2),
    ]
    for data in tables:
        data.setup()
    contents = [_content(data, torch.float32) for data in tables]
    assert contents[1] == contents[2]
    assert len(set(contents)) == 4


def stacked(*jobs: list[str], memory: int | None = None) -> list[Stack]:
    assembler = Assembler([])
    common = [
        "data=digits", f"data.size={SIZE}", "data.split={train: 1.0, val: 0, test: 0}", "monitor=train/loss",
        "class_weight=null",
    ]  # fmt: skip
    members = [assembler.member(i, composed(*common, *overrides)) for i, overrides in enumerate(jobs)]
    return stacks(members, assembler.common(members[0]), memory or default_memory(torch.device("cpu")))


@pytest.mark.parametrize(
    ("batch_size", "augment", "tables"),
    [("null", "null", 1), ("null", "{flip: true}", 2), ("32", "null", 2), ("32", "{flip: true}", 2)],
)
def test_a_seed_sets_tables_apart_where_it_decides_what_is_seen(batch_size: str, augment: str, tables: int) -> None:
    common = [f"data.batch_size={batch_size}", f"data.augment={augment}"]
    (stack,) = stacked(*([*common, f"seed={seed}", f"lr={lr}"] for seed in (1, 2) for lr in (0.1, 0.2)))
    assert len(stack.tables) == tables
    assert len(stack.members) == 4  # no place is filled where one costs as much as a job


def test_a_batch_of_convolutions_is_counted_once_in_turn_and_for_every_job_through_vmap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs, memory = [[f"lr={lr}"] for lr in (0.1, 0.2, 0.3, 0.4)], 300_000_000
    monkeypatch.setattr("logreg.sweeps.fused.chunks._bytes_of_a_batch", lambda *_: memory // 3)
    assert len(stacked(*jobs, memory=memory)) == 1
    monkeypatch.setattr("logreg.sweeps.fused.chunks.form_of", lambda *_: GeneralNetworks)
    assert len(stacked(*jobs, memory=memory)) == 2
