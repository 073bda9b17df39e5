"""LIBSVM / SVMLight text: ``label index:value index:value …``, one row a line, indices ascending and 1-based.

scikit-learn parses blocks of whole lines; a block that it refuses is read again line by line, to say which line it is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from logreg.core.errors import UserError
from logreg.core.options.tables import Dialect
from logreg.data.tables.reading.dialect import NUMBER, REGULAR
from logreg.data.tables.reading.text_blocks import TextBlock, blocks

LINES = Dialect(" ", None, header=False, padded=False, width=0)  # without quotes a row is a line
# A column takes a name, a weight and a place in every report: an index beyond this is a mistake.
MOST_COLUMNS = 2**26
_LINE = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?([ \t]+(qid|\d+):[^\s:]+)*[ \t]*(#.*)?$")
SNIFFED_LINES = 50
_NUMBER = re.compile(NUMBER.pattern.encode() + rb"|[+-]?nan", re.IGNORECASE)
_INDEX = re.compile(rb"[+-]?\d{1,18}")


def looks_like_libsvm(text: str) -> bool:
    """Whether the beginning of a text is of this form, with at least one pair in it."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()[:SNIFFED_LINES] if line.strip()]
    lines = lines[:-1] if len(lines) > 1 and not text.endswith("\n") else lines
    fitting = [line for line in lines if _LINE.match(line)]
    return any(":" in line for line in fitting) and len(fitting) >= REGULAR * len(lines)


def read_blocks(source_key: str, path: Path, zero_based: bool = False) -> Iterator[tuple[csr_matrix, np.ndarray]]:
    """Features (rows, columns) with the first column at 0, and labels (rows,).

    Every block has as many columns as it needs; all its values are finite.

    Raises:
        UserError: a line with a label or value that is no number, or with an index that is bad or out of order.
    """
    for block in blocks(path, source_key, "utf-8", LINES):
        if block.data.strip():
            yield _parsed(block, source_key, zero_based)


def _parsed(block: TextBlock, key: str, zero_based: bool) -> tuple[csr_matrix, np.ndarray]:
    from sklearn.datasets import load_svmlight_file

    first = 0 if zero_based else 1
    try:
        x, y = load_svmlight_file(io.BytesIO(block.data), zero_based=True)
    except (ValueError, OverflowError) as error:
        raise _located(key, block, first) or UserError(
            f"{key}: the file cannot be read as LIBSVM ({' '.join(str(error).split())})."
        ) from error
    # What scikit-learn does not mind: underscores between digits, as Python has them, and what is here not used.
    odd = x.nnz and (x.indices.min() < first or x.shape[1] - first > MOST_COLUMNS or not np.isfinite(x.data).all())
    if (odd or b"_" in block.data or not np.isfinite(y).all()) and (wrong := _located(key, block, first)):
        raise wrong
    if zero_based:
        return x, y
    return csr_matrix((x.data, x.indices - 1, x.indptr), shape=(x.shape[0], max(x.shape[1] - 1, 0))), y


def _located(key: str, block: TextBlock, first: int) -> UserError | None:
    """The error for a block: the first line in it that is wrong, and how."""
    for number, line in enumerate(block.data.split(b"\n"), block.line):
        if wrong := _what_is_wrong(line.partition(b"#")[0].split(), first):
            return UserError(f"{key}: line {number}: {wrong}.")
    return None


def _what_is_wrong(words: list[bytes], first: int) -> str | None:
    """What is wrong with the words of a line, if anything is; its indices begin at ``first``."""
    if not words:
        return None
    label, *pairs = words
    if not _NUMBER.fullmatch(label):
        return f"the label {_shown(label)} is not a number"
    if not np.isfinite(float(label)):
        return f"the label {_shown(label)} is not finite"
    before = first - 1
    if pairs and pairs[0].startswith(b"qid:"):
        del pairs[0]
    for pair in pairs:
        index, colon, value = pair.partition(b":")
        if not colon or not (index.isdigit() or _INDEX.fullmatch(index)):
            return f"{_shown(pair)} is not index:value"
        if len(index) > 18 or int(index) - first >= MOST_COLUMNS:
            return f"index {_shown(index)} is too large; there can be {MOST_COLUMNS:,} columns"
        if int(index) < first:
            hint = "; data.zero_based=true reads indices that start at 0" if int(index) == 0 else ""
            return f"index {int(index)} is below {first}{hint}"
        if int(index) <= before:
            return f"index {int(index)} follows {before}; indices must ascend"
        if not _NUMBER.fullmatch(value):
            return f"the value of {_shown(pair)} is not a number"
        if not np.isfinite(float(value)):
            return f"the value of {_shown(pair)} is not finite"
        before = int(index)
    return None


def _shown(word: bytes) -> str:
    return repr(word[:40].decode("utf-8", errors="backslashreplace"))
