"""LIBSVM / SVMLight text: ``label index:value index:value …``, one row a line, indices ascending and 1-based.

scikit-learn parses blocks of whole lines; a block that it refuses is read again line by line, to say which line it is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix

from logreg.data.tables.careful import TRUNCATED, open_bytes
from logreg.errors import UserError

BLOCK_BYTES = 2**23
_PAIR = re.compile(r"(\d+):(\S+)")
_LINE = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?([ \t]+(qid|\d+):[^\s:]+)*[ \t]*(#.*)?$")


def looks_like_libsvm(text: str) -> bool:
    """Whether the beginning of a text is of this form, with at least one pair in it."""
    lines = [line.strip() for line in text.splitlines()[:50] if line.strip()]
    lines = lines[:-1] if len(lines) > 1 and not text.endswith("\n") else lines
    return bool(lines) and all(_LINE.match(line) for line in lines) and any(":" in line for line in lines)


def read_blocks(
    source_key: str, path: object, zero_based: bool = False
) -> Iterator[tuple[csr_matrix, np.ndarray, int]]:
    """Features (rows, columns) with the first column at 0, labels (rows,), and the bytes read so far.

    Every block has as many columns as it needs.

    Raises:
        UserError: a line with a label or value that is no number, or with an index that is bad or out of order.
    """
    from sklearn.datasets import load_svmlight_file

    lines = done = 0
    try:
        with open_bytes(path) as file:  # type: ignore[arg-type]
            rest = b""
            while True:
                read = file.read(BLOCK_BYTES)
                done += len(read)
                cut = read.rfind(b"\n") + 1 if read else len(rest)
                block, rest = (rest + read[:cut], read[cut:]) if read else (rest, b"")
                if block.strip():
                    try:
                        x, y = load_svmlight_file(io.BytesIO(block), zero_based=True)
                        if not zero_based and x.nnz and x.indices.min() == 0:
                            raise ValueError("index 0")
                    except (ValueError, OverflowError) as error:
                        raise _located(source_key, block, lines, zero_based, error) from error
                    yield (x if zero_based else _from_zero(x)), y, done
                lines += block.count(b"\n")
                if not read:
                    return
    except TRUNCATED as error:
        raise UserError(f"{source_key}: the file is truncated or damaged ({error}).") from error


def _from_zero(x: csr_matrix) -> csr_matrix:
    return csr_matrix((x.data, x.indices - 1, x.indptr), shape=(x.shape[0], max(x.shape[1] - 1, 0)))


def _located(key: str, block: bytes, lines: int, zero_based: bool, error: Exception) -> UserError:
    """The error for a block that was refused: the first line in it that is wrong, and how."""
    first = 0 if zero_based else 1
    for number, raw in enumerate(block.splitlines(), lines + 1):
        wrong = _what_is_wrong(raw, first)
        if wrong:
            return UserError(f"{key}: line {number}: {wrong}.")
    return UserError(f"{key}: the file cannot be read as LIBSVM ({error}).")


def _what_is_wrong(raw: bytes, first: int) -> str | None:
    try:
        text = raw.decode().partition("#")[0].strip()
    except UnicodeDecodeError:
        return "it is not text"
    if not text:
        return None
    label, *pairs = text.split()
    if not _is_number(label):
        return f"the label {label[:40]!r} is not a number"
    before = first - 1
    for pair in pairs:
        if pair.startswith("qid:"):
            continue
        index, colon, value = pair.partition(":")
        if not colon or not index.lstrip("-").isdigit():
            return f"{pair[:40]!r} is not index:value"
        if int(index) < first:
            hint = "; data.zero_based=true reads indices that start at 0" if first and int(index) == 0 else ""
            return f"index {index} is below {first}{hint}"
        if int(index) <= before:
            return f"index {index} follows {before}; indices must ascend"
        if int(index) > 2**31 - 2:
            return f"index {index} is too large"
        if not _is_number(value):
            return f"the value of {pair[:40]!r} is not a number"
        before = int(index)
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
