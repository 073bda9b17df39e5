"""Tables that are refused, and the sentence by which they are."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from logreg.core.errors import UserError
from logreg.data import TableData
from tests.helpers import table_data


def prepare(path: Path | str, **settings: Any) -> TableData:
    folder = settings.pop("folder", Path(path).parent)
    data = table_data(path=str(path), cache_dir=str(folder / "cache"), **{"target": "y", **settings})
    data.prepare_data()
    data.setup()
    return data


def refusal(path: Path | str, **settings: Any) -> str:
    """What is said of a table, without the folder of its files."""
    with pytest.raises(UserError) as refused:
        prepare(path, **settings)
    text = str(refused.value)
    assert len(text.splitlines()) == 1
    assert text.endswith(".")
    assert not re.search(r"[.;,]\.$", text)
    assert re.match(r"data\.\w+|the labels", text)
    return text.replace(f"{Path(path).parent}{os.sep}", "")


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(count: int = 40, **changes: str) -> list[str]:
    """Lines of a table of numbers ``a``, levels ``b`` and labels ``y``; ``line_7="…"`` is another line 7."""
    lines = ["a,b,y", *(f"{i * 0.5},{'uvw'[i % 3]},{i % 2}" for i in range(count))]
    for key, line in changes.items():
        lines[int(key.removeprefix("line_")) - 1] = line
    return lines


def text(count: int = 40, **changes: str) -> str:
    return "\n".join(rows(count, **changes)) + "\n"


def frame(count: int = 40) -> pl.DataFrame:
    return pl.read_csv(text(count).encode())


def labelled(folder: Path, labels: list[str]) -> Path:
    return written(folder, "a,y\n" + "".join(f"{i / 2},{label}\n" for i, label in enumerate(labels)))
