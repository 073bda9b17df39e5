"""What the user says of how a table is to be read."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from logreg.core.errors import UserError

# A dot and a name, and what may follow it for compressed text.
FORMATS = {
    "csv": ("csv", "tsv", "tab", "txt", "data", "dat", "psv"),
    "parquet": ("parquet", "pq", "parq"),
    "arrow": ("arrow", "feather", "ipc"),
    "libsvm": ("svm", "libsvm", "svmlight"),
}
COMPRESSED = ("gz", "zst", "zstd")
MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "?")


@dataclass(frozen=True)
class Form:
    """How the text file was written that a run was trained on; another one with its columns is likely to be alike.

    Attributes:
        width: its columns.
        missing: the texts that stood for a missing value.
    """

    delimiter: str
    quote: str | None
    header: bool
    padded: bool
    width: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """How to read files that do not say it themselves; None is found out.

    Attributes:
        format: ``csv``, ``parquet``, ``arrow`` or ``libsvm``.
        delimiter, quote, header: of text; ``quote=""`` for none.
        encoding: of text.
        missing: the texts that stand for a missing value.
        text: columns of text files that are not to be taken for numbers or dates; names or globs.
        names: of columns that must be there: a first line that has them all is a header.
        form: tried before the form of a text file is found out.
    """

    format: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    header: bool | None = None
    encoding: str = "utf-8"
    missing: tuple[str, ...] = MISSING
    text: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    form: Form | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", self.encoding or "utf-8")
        if self.format not in (None, *FORMATS):
            raise UserError(f"data.format={self.format}: one of {', '.join(FORMATS)} is needed.")
        if self.delimiter == r"\t":  # what a shell makes of an unquoted tab
            object.__setattr__(self, "delimiter", "\t")
        for name, value in (("delimiter", self.delimiter), ("quote", self.quote or None)):
            if value is not None and (len(value) != 1 or value in "\r\n\0"):
                raise UserError(f"data.{name}={value!r}: a single character is needed; '\\t' is written as \"\\t\".")
        if self.quote and self.quote in (self.delimiter, " "):
            raise UserError(
                f"data.quote={self.quote!r}: another character is needed, which neither parts fields nor words."
            )
        try:
            "\n".encode(self.encoding)
        except (LookupError, ValueError) as error:
            raise UserError(
                f"data.encoding={self.encoding}: there is no such encoding; try utf-8 or latin-1."
            ) from error

    @property
    def absent(self) -> frozenset[str]:
        """``missing`` and the empty text, without blanks around them."""
        return frozenset({"", *(text.strip() for text in self.missing)})

    @property
    def is_utf8(self) -> bool:
        return codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig", "ascii")

    @property
    def is_wide(self) -> bool:
        """Whether a character takes several bytes, some of which may be zero."""
        return codecs.lookup(self.encoding).name.startswith(("utf-16", "utf-32"))
