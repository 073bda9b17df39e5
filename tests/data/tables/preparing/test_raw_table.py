"""The store of a preparation against one array in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from logreg.data.tables.preparing import raw_table
from logreg.data.tables.preparing.raw_table import ColumnStore
from tests.data.tables.people import people, table, written


@pytest.mark.parametrize("memory", [0, 2**14, 2**29])
@pytest.mark.parametrize("sizes", [(5,), (1024, 1024, 3), (1000, 100, 3000, 1), (1024, 7, 1024, 2048)])
def test_chunks_hold_all_rows_whatever_is_kept_and_however_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, sizes: tuple[int, ...]
) -> None:
    monkeypatch.setattr(raw_table, "KEPT_BYTES", memory)
    monkeypatch.setattr(raw_table, "batch_rows", lambda width: 1024)
    x = np.random.default_rng(0).normal(size=(sum(sizes), 3)).astype(np.float32)
    store, start = ColumnStore(tmp_path / "store", np.dtype(np.float32), 3), 0
    for size in sizes:
        store.append(list(x[start : start + size].T.copy()))
        start += size
    chunks = store.chunks()
    assert [len(chunk) for chunk in chunks[:-1]] == [1024] * (len(chunks) - 1)
    assert [chunk.first for chunk in chunks] == [1024 * i for i in range(len(chunks))]
    np.testing.assert_array_equal(np.concatenate([np.stack(chunk.columns, axis=1) for chunk in chunks]), x)
    assert (tmp_path / "store").exists() == (sum(sizes) // 1024 * 1024 * 12 > memory)
    parts = [part for chunk in chunks for part in chunk.parts(100)]
    np.testing.assert_array_equal(np.concatenate([np.stack(part.columns, axis=1) for part in parts]), x)
    assert all(np.array_equal(np.stack(part.columns, axis=1), x[part.rows]) for part in parts)


def test_a_prepared_table_leaves_no_store_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_table, "KEPT_BYTES", 0)
    monkeypatch.setattr(raw_table, "batch_rows", lambda width: 128)
    stored, chunks = [], ColumnStore.chunks

    def noted(store: ColumnStore) -> list[raw_table.Chunk]:
        stored.append(store.path.is_file())
        return chunks(store)

    monkeypatch.setattr(ColumnStore, "chunks", noted)
    folder = table(tmp_path, written(tmp_path, people(400))).table.folder
    assert stored
    assert all(stored)
    assert not {"numbers", "codes", "target"} & {path.name for path in folder.iterdir()}
