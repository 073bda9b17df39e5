"""The settings that all DataModules share, and how parts of ``data`` are checked; nothing heavy is imported here.

A part is a frozen dataclass whose fields carry their rules. The keys of the configuration stay flat: `data.seed` is
``seed`` of `ServingOptions`, whichever class ``data._target_`` names; see `logreg.core.options.data`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import ClassVar

from logreg.core.errors import UserError
from logreg.core.rules import Rule, check, check_names, flag, mapping, number, optional, read_part, setting, text, whole

SPLITS = ("train", "val", "test")
DEFAULT_SPLIT = {"train": 0.8, "val": 0.1, "test": 0.1}  # of data that come without a split of their own
ALL_FOR_TRAINING = {"train": 1.0}

NAME = text("a name for the data", (str, int))
SEED = whole(0, 2**63 - 1)
BATCH_SIZE = optional(whole(1), "a whole number above 0, or null for the full batch")
FRACTION = number(least=0, most=1, words="a fraction between 0 and 1")
SPLIT = mapping(
    "a mapping, in quotes, such as 'data.split={train:0.8,val:0.1,test:0.1}',",
    dict.fromkeys(SPLITS, FRACTION),
)
FOLDS = optional(whole(2), "a whole number, 2 or more, or null")
FOLD = optional(whole(0), "a whole number, 0 or more, or null")


def label_text(value: str | float) -> str:
    """A label as its text, whatever YAML made of it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, int | float) and value == int(value) else str(value)


LABEL = optional(replace(text("the label that is to be 1", (str, int, float, bool)), read=label_text))


def location(words: str) -> Rule:
    """The path of a file or folder."""
    return Rule(lambda value: isinstance(value, str | PathLike) and str(value) != "", words, {"type": "string"}, str)


CACHE_DIR = location("a directory")


@dataclass(frozen=True)
class Options:
    """A part of the data settings, checked when it is made.

    Raises:
        UserError: a value is not valid; names its key.
    """

    prefix: ClassVar[str] = "data."

    def __post_init__(self) -> None:
        read_part(self, self.prefix)


@dataclass(frozen=True)
class ServingOptions(Options):
    """How rows are served.

    Attributes:
        name: what the run is called after, unless ``name`` is given.
        seed: fixes the split and the order of the rows, each from its own stream.
        batch_size: rows per update; None is the full batch.
        standardize: centre and scale by mean and standard deviation (ddof 0) of the training rows.
    """

    name: str = setting(NAME, "data")
    seed: int = setting(SEED, 0)
    batch_size: int | None = setting(BATCH_SIZE, None)
    standardize: bool = setting(flag(), True)


@dataclass(frozen=True)
class SplitOptions(Options):
    """Which rows are for what.

    Attributes:
        split: fractions of ``train``, ``val`` and ``test``, which add up to 1, stratified by label; one that is not
            named is 0. ``{"train": 0.8, "val": 0.1, "test": 0.1}`` by default.
        folds, fold: train on all of ``folds`` folds but number ``fold``, counted from 0, and validate on that one.
    """

    split: Mapping[str, float] = setting(SPLIT, DEFAULT_SPLIT)
    folds: int | None = setting(FOLDS, None)
    fold: int | None = setting(FOLD, None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.folds is None) != (self.fold is None):
            raise UserError(
                "data.folds and data.fold belong together; data.folds=10 data.fold=3 validates on the fourth of ten."
            )
        if self.folds is not None and self.fold is not None and self.fold >= self.folds:
            raise UserError(
                f"data.fold={self.fold}: a number from 0 to {self.folds - 1} is needed, one below data.folds; "
                f"-m 'data.fold=range({self.folds})' takes them all."
            )

    def fractions(self, own_files: Sequence[str] = ()) -> dict[str, float]:
        """The fractions of all three splits in the rows that are split; a split that is not named gets none.

        Args:
            own_files: splits whose rows come from files of their own: the others share what ``split`` gives those.

        Raises:
            UserError: an unknown split, a fraction outside 0 to 1, no training rows, or a sum other than 1; or folds of
                rows that have a file for validation.
        """
        if self.folds is not None and "val" in own_files:
            raise UserError("data.val_path: the validation rows come from data.folds already; give one of the two.")
        check_names(self.split, SPLITS, "data.split", "there is no such split")
        check({"data": {"split": self.split}}, {f"data.split.{name}": FRACTION for name in self.split})
        shares = {name: 0.0 if name in own_files else float(self.split.get(name, 0)) for name in SPLITS}
        total = sum(shares.values())
        rescaled = any(name in self.split for name in own_files) and 0 < total <= 1 + 1e-6
        if rescaled:
            shares = {name: share / total for name, share in shares.items()}
        if shares["train"] == 0 or (not rescaled and abs(total - 1) > 1e-6):
            raise UserError(
                f"data.split={shares}: the fractions of train, val and test must add up to 1, with train above 0; "
                "one that is not given keeps its default."
            )
        return shares
