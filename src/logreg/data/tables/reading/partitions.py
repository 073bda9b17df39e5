"""Columns that stand in the names of folders, as in ``year=2024/country=NL/part-0.parquet``.

polars' own ``hive_partitioning`` also takes folders above the path that was given, and finds types for the files of one
scan; files whose columns are stored as different types need a scan each, and would then differ in these types too.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

Value = str | int | None
NOTHING = "__HIVE_DEFAULT_PARTITION__"  # what writers call the folder of a missing value
_FOLDER = re.compile(r"([^=]+)=(.*)")
_WHOLE = re.compile(r"-?\d{1,18}")


def partitions_of(files: Sequence[Path], path: str) -> tuple[dict[Path, dict[str, Value]], dict[str, str]]:
    """The columns of each file that its folders name, and their kinds; none unless all files have the same.

    Args:
        path: what was given: folders above it, or above its first wildcard, are not looked at.
    """
    parts = Path(path).parts
    depth = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    by_file = {file: _named(file.parts[depth:-1]) for file in files}
    names = {tuple(values) for values in by_file.values()}
    if len(names) != 1 or not next(iter(names)):
        return {}, {}
    kinds = {}
    for name in next(iter(names)):
        texts = [values[name] for values in by_file.values() if values[name] is not None]
        are_whole = bool(texts) and all(_WHOLE.fullmatch(str(text)) for text in texts)
        kinds[name] = "integer" if are_whole else "string" if texts else "empty"
    typed: dict[Path, dict[str, Value]] = {
        file: {n: int(v) if v is not None and kinds[n] == "integer" else v for n, v in values.items()}
        for file, values in by_file.items()
    }
    return typed, kinds


def _named(folders: Sequence[str]) -> dict[str, str | None]:
    pairs = [match.groups() for folder in folders if (match := _FOLDER.fullmatch(folder))]
    return {name: None if value == NOTHING else unquote(value) for name, value in pairs}
