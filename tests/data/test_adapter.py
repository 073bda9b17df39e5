"""A DataModule with loaders of PyTorch's own answers what training and reports ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from logreg.core.errors import UserError
from logreg.data import adapter
from logreg.data.adapter import LoaderData, adapted
from tests.helpers import toy

X, Y = torch.arange(14.0).reshape(7, 2), torch.tensor([0.0, 1, 0, 1, 1, 0, 1])


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        return zip(X, Y, strict=True)


class Loaders(LightningDataModule):
    """Training rows in batches of three, an empty validation loader, test rows of unknown number."""

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(X, Y), batch_size=3)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(X[:0], Y[:0]))

    def test_dataloader(self) -> DataLoader:
        return DataLoader(Stream(), batch_size=4)


class Described(Loaders):
    num_features = 2

    def describe(self) -> dict[str, Any]:
        return {"name": "seven rows"}


def test_the_batches_of_a_split_are_those_of_its_loader() -> None:
    data = adapted(Loaders())
    for split, sizes in (("train", [3, 3, 1]), ("test", [4, 3])):
        loader = data.batches_of(split)
        assert loader is not None
        batches = list(loader)
        assert [len(y) for _, y in batches] == sizes
        assert torch.equal(torch.cat([x for x, _ in batches]), X)
        assert torch.equal(torch.cat([y for _, y in batches]), Y)
    assert data.batches_of("val") is None
    assert adapted(LightningDataModule()).batches_of("train") is None


def test_the_training_rows_are_read_into_memory_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, names = adapted(Loaders()).training_rows()
    assert torch.equal(rows.x, X.to(rows.x.dtype))
    assert names == ["column_1", "column_2"]
    monkeypatch.setattr("logreg.data.rows.MAX_ELEMENTS", X.numel() - 1)
    with pytest.raises(UserError, match=r"Loaders serves its rows batch by batch, more than .* numbers; derive it"):
        adapted(Loaders()).training_rows()


def test_a_datamodule_describes_itself_or_not() -> None:
    assert (adapted(Described()).describe(), adapted(Described()).num_features) == ({"name": "seven rows"}, 2)
    assert adapted(Loaders()).describe() == {}
    with pytest.raises(UserError, match="Loaders needs an attribute num_features"):
        _ = adapted(Loaders()).num_features


def test_what_takes_the_rows_at_once_is_refused_with_what_to_do() -> None:
    data = adapted(Loaders())
    with pytest.raises(UserError, match=r"class_weight: .* derive it from BlockData"):
        data.weigh_labels("balanced")
    with pytest.raises(UserError, match=r"penalty: .* derive Loaders from BlockData"):
        _ = data.training_weight
    with pytest.raises(UserError, match="as it was put"):
        data.needs_blocks("as it was put")


def test_data_that_answers_is_taken_as_it_is() -> None:
    table, loaders = toy(), adapted(Loaders())
    assert adapted(table) is table
    assert adapted(loaders) is loaders
    assert table.blocks is table
    assert loaders.blocks is None
    assert isinstance(loaders, LoaderData)
    assert adapter.adapted(loaders.module).name == "Loaders"
