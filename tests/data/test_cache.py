"""What is prepared is prepared once, by one process, and never trusted half written."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logreg.core.errors import UserError
from logreg.data import cache
from tests.data.tables.people import people, table, written
from tests.helpers import table_data


def test_a_table_is_prepared_once_and_again_when_its_file_has_changed(tmp_path: Path) -> None:
    frame = people(200)
    path = written(tmp_path, frame)
    first = table(tmp_path, path)
    before = (first.table.folder / "x").stat().st_mtime_ns
    assert table(tmp_path, path).table.folder == first.table.folder
    assert (first.table.folder / "x").stat().st_mtime_ns == before
    frame.loc[0, "income"] += 1  # of the same length: neither size nor, restored, the time of the change tell
    stat = os.stat(path)
    text = Path(path).read_text().replace("yes", "ye5", 1).replace("ye5", "yes", 1)
    Path(path).write_text(text.replace(",earth,", ",earTh,", 1))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = table(tmp_path, path)
    assert again.table.folder != first.table.folder
    assert again.fingerprint != first.fingerprint
    copy = written(tmp_path, people(200), "copy.csv")
    assert table(tmp_path, copy).fingerprint == first.fingerprint


def test_what_a_crash_leaves_is_not_trusted(tmp_path: Path) -> None:
    path = written(tmp_path, people(200))
    folder = table(tmp_path, path).table.folder
    whole = (folder / "x").read_bytes()
    (folder / "x").write_bytes(whole[:-8])
    assert table(tmp_path, path).table.x.tobytes() == whole
    (folder / cache.MANIFEST).write_text("{")
    assert table(tmp_path, path).table.x.tobytes() == whole
    shutil.rmtree(folder)
    (folder.parent / f".{folder.name}.part").mkdir()
    (folder.parent / f".{folder.name}.part" / "x").write_bytes(b"half")
    assert table(tmp_path, path).table.x.tobytes() == whole
    assert not list(folder.parent.glob(".*.part"))


def test_an_error_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    frame = people(200)
    frame.loc[7, "income"] = np.inf
    with pytest.raises(UserError, match="column income is infinite in row 8"):
        table(tmp_path, written(tmp_path, frame, "p.parquet"))
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def _prepare(path: str, folder: str, sums: Any) -> None:
    data = table_data(path=path, target="bought", seed=1, cache_dir=folder)
    data.prepare_data()
    data.setup()
    sums.put(float(data.tensors("train")[0].sum()))


@pytest.mark.slow
def test_two_runs_that_prepare_at_once_get_the_same_table(tmp_path: Path) -> None:
    path = written(tmp_path, people(3000))
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    runs = [context.Process(target=_prepare, args=(path, str(tmp_path / "cache"), queue)) for _ in range(3)]
    for run in runs:
        run.start()
    sums = {queue.get(timeout=120) for _ in runs}
    for run in runs:
        run.join(60)
    assert len(sums) == 1
    assert len([p for p in (tmp_path / "cache").iterdir() if p.is_dir()]) == 1


def test_no_space_for_the_cache_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from logreg.data.tables.preparing import convert

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(convert, "append", full)
    with pytest.raises(UserError, match=r"data\.cache_dir=.*no space is left"):
        table(tmp_path, written(tmp_path, people(100)))
    monkeypatch.undo()
    assert len(table(tmp_path, written(tmp_path, people(100))).rows["train"]) == 80


def test_a_manifest_is_plain_json(tmp_path: Path) -> None:
    data = table(tmp_path, written(tmp_path, people(100)))
    manifest = json.loads((data.table.folder / cache.MANIFEST).read_text())
    assert manifest["rows"] == {"train": 80, "val": 10, "test": 10}


def test_leftovers_of_killed_preparations_are_removed_by_the_next_one(tmp_path: Path) -> None:
    left = tmp_path / "cache" / ".0123.part"
    left.mkdir(parents=True)
    (left / "x").write_bytes(b"0" * 100)
    table(tmp_path, written(tmp_path, people(100)))
    assert not left.exists()
