"""What ``data.path`` stands for: files, the format of each, and the columns that folders name."""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import unquote

from logreg.core.errors import UserError
from logreg.core.options.tables import COMPRESSED, FORMATS
from logreg.data.tables.reading.libsvm import looks_like_libsvm
from logreg.data.tables.reading.text_blocks import head_of

NOTES = ("txt", "data", "dat")  # endings of tables that may as well be those of a note
# Files of Arrow's that are no Arrow files, by their first four bytes.
OTHER_ARROW = {b"\xff\xff\xff\xff": "an Arrow stream", b"FEA1": "Feather version 1"}
Value = str | int | None
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # what writers call the folder of a missing value
_FOLDER = re.compile(r"([^=]+)=(.*)")
_WHOLE = re.compile(r"-?\d{1,18}")


def files_of(path: str, form: str | None, name: str) -> list[Path]:
    """The files that a path stands for.

    Raises:
        UserError: there are none, or one of them is empty or cannot be read.
    """
    try:
        given = Path(path)
        if path and given.is_dir():
            return _tables_in(given, form, name)
        files = [given] if path and given.exists() else [Path(p) for p in sorted(glob.glob(path, recursive=True))]
        files = [file for file in files if not file.is_dir()]
        if not files:
            what = "no file matches" if glob.has_magic(path) else "there is no such file"
            if "://" in path:
                what = "addresses are not read; download the file and give its path"
            raise UserError(f"{name}: {what}.")
        for file in files:
            _check_content(file, f"{name}: " + (f"{file.name}" if len(files) > 1 else "the file"))
        return files
    except OSError as error:
        raise UserError(f"{name}: {error.filename or path} cannot be read ({error.strerror}).") from error


def _tables_in(folder: Path, form: str | None, name: str) -> list[Path]:
    """The tables in a folder: whatever has the ending of a table; notes beside Parquet files are none."""
    known = {end for ends in FORMATS.values() for end in ends}
    visible = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(("_", "."))]
    files = [p for p in visible if form or _ending(p) in known]
    if any(_ending(p) in FORMATS["parquet"] for p in files) and not form:
        files = [p for p in files if _ending(p) not in NOTES]
    if not files:
        raise UserError(f"{name}: this folder has no table in it; give a file, or a folder of Parquet files.")
    for file in files:
        _check_content(file, f"{name}: {file.name}")
    if not form and len({format_of(p, name) for p in files}) > 1:
        raise UserError(
            f"{name}: this folder has files of several formats; give one file, or a glob such as {folder}/*.csv."
        )
    return files


def _check_content(file: Path, name: str) -> None:
    if not file.is_file():
        raise UserError(f"{name} is a device or a pipe; give a file.")
    with file.open("rb") as opened:
        if not opened.read(1):
            raise UserError(f"{name} is empty.")


def _ending(path: Path) -> str:
    parts = path.name.lower().split(".")
    return parts[-2] if len(parts) > 2 and parts[-1] in COMPRESSED else parts[-1]


def format_of(path: Path, name: str) -> str:
    """The format of a file by its first bytes, its name and, for text, its beginning."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith((b"PAR1", b"PARE")):
        return "parquet"
    if magic.startswith((b"ARROW1", *OTHER_ARROW)):
        return "arrow"
    for form, endings in FORMATS.items():
        if _ending(path) in endings and form != "csv":
            return form
    head, _ = head_of(path, name)
    return "libsvm" if looks_like_libsvm(head.decode("utf-8", errors="replace")) else "csv"


def partitions_of(
    files: Sequence[Path], path: str, inside: Collection[str]
) -> tuple[dict[Path, dict[str, Value]], dict[str, str]]:
    """The columns of each file that its folders name, and their kinds; none unless all files have the same.

    They stand in the names of folders, as in ``year=2024/country=NL/part-0.parquet``. polars' own ``hive_partitioning``
    also takes folders above the path that was given, and finds types for the files of one scan; files whose columns are
    stored as different types need a scan each, and would then differ in these types too.

    Args:
        path: what was given: folders above it, or above its first wildcard, are not looked at.
        inside: the columns inside the files, which come first.
    """
    parts = Path(path).parts
    depth = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    by_file = {file: _named(file.parts[depth:-1]) for file in files}
    names, *others = {tuple(values) for values in by_file.values()}
    if others:
        return {}, {}
    kinds = {}
    for name in names:
        texts = [values[name] for values in by_file.values() if values[name] is not None]
        are_whole = bool(texts) and all(_WHOLE.fullmatch(str(text)) for text in texts)
        kinds[name] = "integer" if are_whole else "string" if texts else "empty"
    kinds = {name: kind for name, kind in kinds.items() if name not in inside}
    typed: dict[Path, dict[str, Value]] = {
        file: {n: int(v) if v is not None and kinds[n] == "integer" else v for n, v in values.items() if n in kinds}
        for file, values in by_file.items()
    }
    return typed, kinds


def _named(folders: Sequence[str]) -> dict[str, str | None]:
    pairs = [match.groups() for folder in folders if (match := _FOLDER.fullmatch(folder))]
    return {name: None if value == NO_PARTITION else unquote(value) for name, value in pairs}
