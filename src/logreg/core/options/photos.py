"""The settings of photos; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from logreg.core.options.rows import CACHE_DIR, LABEL, Options, ServingOptions, location
from logreg.core.rules import Rule, check_names, flag, mapping, number, optional, rules_of, setting, whole

DIGIT = Rule(lambda value: str(value) in [*map(str, range(10))], "a digit from 0 to 9", {"type": "integer"}, int)
SHARE = number(least=0, below=1, words="a number from 0 to below 1, 0 for none,")


@dataclass(frozen=True)
class AugmentOptions(Options):
    """How training photos are changed at random.

    Attributes:
        flip: mirrored left to right, one time in two.
        crop: moved by up to this share of the side in each direction; what comes in repeats the border.
        jitter: brightness, contrast and saturation are multiplied by up to 1 - jitter to 1 + jitter.
    """

    prefix: ClassVar[str] = "data.augment."

    flip: bool = setting(flag(), False)
    crop: float = setting(SHARE, 0.0)
    jitter: float = setting(SHARE, 0.0)

    @property
    def changes(self) -> bool:
        """Whether anything is changed."""
        return self.flip or self.crop > 0 or self.jitter > 0

    @classmethod
    def parsed(cls, given: Mapping[str, float] | AugmentOptions | None) -> AugmentOptions:
        """What ``data.augment`` says.

        Raises:
            UserError: a key or a value is not valid.
        """
        if isinstance(given, AugmentOptions):
            return given
        check_names(given or {}, [field.name for field in fields(cls)], "data.augment", "there is no such change")
        return cls(**(given or {}))  # type: ignore[arg-type]


NO_CHANGE = AugmentOptions()
AUGMENT = Rule(
    lambda value: value is None or isinstance(value, Mapping | AugmentOptions),
    "null for none, or a mapping, in quotes, such as 'data.augment={flip: true, crop: 0.1, jitter: 0.2}',",
    optional(mapping("", rules_of(AugmentOptions))).schema,
    AugmentOptions.parsed,
)


@dataclass(frozen=True)
class PhotoOptions(Options):
    """What photos become before a network sees them.

    Attributes:
        size: side of a photo, in pixels.
        augment: how training photos are changed at random.
    """

    size: int = setting(whole(1, 4096, "a whole number of pixels from 1 to 4096"), 32)
    augment: AugmentOptions = setting(AUGMENT, NO_CHANGE)


@dataclass(frozen=True)
class FolderOptions(Options):
    """Where photos are, and which of them are used.

    Attributes:
        path: a folder with a folder for each of two classes; or with folders ``train``, ``val`` and ``test`` that have
            them. Where there is ``train`` and no ``val``, validation photos are taken from those of ``train``.
        positive: the class that is label 1; by default the obvious one, else the later in order.
        skip_bad: leave out files that cannot be read as photos, instead of refusing them.
        cache_dir: where decoded photos are kept.
    """

    path: str = setting(location("a folder"))
    positive: str | None = setting(LABEL, None)
    skip_bad: bool = setting(flag(), False)
    cache_dir: str = setting(CACHE_DIR, "outputs/cache")


@dataclass(frozen=True)
class DigitOptions(Options):
    """Which of the digits is told from the others.

    Attributes:
        positive: the digit that is label 1.
    """

    positive: int = setting(DIGIT, 8)


DIGITS = ServingOptions("digits", batch_size=32)
IMAGES = ServingOptions("images", batch_size=32)
