"""Settings of a table that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from logreg.core.errors import UserError
from logreg.core.options.tables import ReadOptions
from tests.data.tables.refusals import refusal, text, written


@pytest.mark.parametrize("encoding", ["klingon", "hex", "undefined"])
def test_an_encoding_that_does_not_exist_is_refused(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, text())
    assert f"data.encoding={encoding}: the name of an encoding" in refusal(path, encoding=encoding)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("format", "xls"), ("delimiter", ""), ("delimiter", ",,"), ("delimiter", "\n"), ("quote", "''"), ("quote", " ")],
)
def test_a_dialect_that_cannot_be_is_refused(setting: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"data\.{setting}="):
        ReadOptions(**{setting: value})
    with pytest.raises(UserError, match=r"data\.quote=';'"):
        ReadOptions(delimiter=";", quote=";")
