"""Settings of photos that are not valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from logreg.core.errors import UserError
from logreg.core.options.photos import AugmentOptions
from tests.data.images.photos import class_folders, refusal
from tests.data.images.refusals import refusal_of
from tests.helpers import digits_data


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"flop": True}, "data.augment.flop: there is no such change (did you mean flip?)"),
        ({"flip": 1}, "data.augment.flip=1: true or false"),
        ({"crop": True}, "data.augment.crop=true: a number"),
        ({"crop": 1}, "data.augment.crop=1: a number from 0 to below 1"),
        ({"jitter": -0.1}, "data.augment.jitter=-0.1: a number"),
        ({"jitter": float("nan")}, "data.augment.jitter=nan: a number"),
        ({"crop": "0.1"}, "data.augment.crop='0.1': a number"),
    ],
)
def test_changes_that_there_are_not_are_refused(changes: dict[str, Any], start: str) -> None:
    with pytest.raises(UserError) as refused:
        AugmentOptions.parsed(changes)
    assert str(refused.value).startswith(start)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "photos", 6)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"size": 0}, "data.size=0: a whole number of pixels from 1 to 4096"),
        ({"size": 5000}, "data.size=5000"),
        ({"folds": 3}, "data.folds and data.fold belong together"),
        ({"folds": 3, "fold": 3}, "data.fold=3"),
        ({"split": {"train": 0.9}}, "data.split="),
        ({"batch_size": 0}, "data.batch_size=0"),
        ({"augment": {"crop": 2}}, "data.augment.crop=2"),
    ],
)
def test_settings_that_are_not_valid(tmp_path: Path, settings: dict[str, Any], key: str) -> None:
    assert refusal_of(tmp_path / "never looked at", **settings).startswith(key)
    assert refusal(lambda: digits_data(**settings)).startswith(key)


@pytest.mark.parametrize("positive", [10, -1, "x", "1.0"])
def test_a_digit_that_there_is_not(positive: Any) -> None:
    with pytest.raises(UserError, match=r"^data\.positive=.*a digit from 0 to 9 is needed\.$"):
        digits_data(positive=positive)
