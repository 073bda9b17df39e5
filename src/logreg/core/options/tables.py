"""The settings of a table, by what they decide: its files, how they are read, its columns, how it is prepared.

Nothing heavy is imported here, so that settings are checked before anything else happens.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from logreg.core.errors import UserError
from logreg.core.options.rows import CACHE_DIR, LABEL, Options, ServingOptions, label_text, location
from logreg.core.rules import Rule, choice, either, flag, mapping, number, optional, setting, text, texts, whole

# A dot and a name, and what may follow it for compressed text.
FORMATS = {
    "csv": ("csv", "tsv", "tab", "txt", "data", "dat", "psv"),
    "parquet": ("parquet", "pq", "parq"),
    "arrow": ("arrow", "feather", "ipc"),
    "libsvm": ("svm", "libsvm", "svmlight"),
}
COMPRESSED = ("gz", "zst", "zstd")
MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "?")
STORAGE = ("float32", "float64")
FIRST = "first"  # data.reference: the first level of every text column

PATH = location("a file, a folder or a glob")
COLUMN = optional(text("the name of a column"))
TAB = r"\t"  # as a shell or YAML without quotes gives it


def _is_character(value: object) -> bool:
    return value == TAB or (isinstance(value, str) and len(value) == 1 and value not in "\r\n\0")


def _is_encoding(value: object) -> bool:
    try:
        "\n".encode(str(value or "utf-8"))
    except (LookupError, ValueError):  # such as hex, which is a codec and no encoding
        return False
    return isinstance(value, str)


CHARACTER = Rule(
    _is_character, 'a single character, for a tab "\\t",', {"type": "string", "maxLength": 2},
    lambda value: "\t" if value == TAB else value,
)  # fmt: skip
ENCODING = Rule(
    _is_encoding, "the name of an encoding, such as utf-8 or latin-1,", {"type": "string"}, lambda name: name or "utf-8"
)
NOTHING = choice("", words='"" for none')


def _names(key: str, example: str) -> Rule:
    return texts(f"a list of names or globs, in quotes, such as 'data.{key}=[{example}]',")


TABLE = ServingOptions("table")


@dataclass(frozen=True)
class TablePaths(Options):
    """Where a table is, and where it is kept when it has been prepared.

    Attributes:
        path: a file, a folder or a glob; of the training rows, and of the others unless they have files of their own.
        val_path, test_path: files of validation and test rows.
        cache_dir: where prepared tables are kept.
    """

    path: str = setting(PATH)
    val_path: str | None = setting(optional(PATH), None)
    test_path: str | None = setting(optional(PATH), None)
    cache_dir: str = setting(CACHE_DIR, "outputs/cache")

    @property
    def own_files(self) -> list[str]:
        """The splits besides train whose rows come from files of their own."""
        return [name for name, path in (("val", self.val_path), ("test", self.test_path)) if path is not None]


@dataclass(frozen=True)
class Dialect:
    """The form of a text file; that of the table of a run is tried first on other tables.

    Attributes:
        delimiter: one character.
        quote: one character, or None where nothing is quoted.
        header: whether the first line names the columns.
        padded: fields may have blanks around them, as in ``a, b``.
        width: how many columns there are.
        missing: the texts that stood for a missing value, in the record of a run.
    """

    delimiter: str
    quote: str | None
    header: bool
    padded: bool
    width: int
    missing: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether polars can read the file; otherwise Python's csv module does.

        A blank line in a table of one column looks like a missing value to polars, and it knows ASCII delimiters alone.
        """
        return not self.padded and self.width > 1 and (self.delimiter + (self.quote or "")).isascii()


@dataclass(frozen=True)
class ReadOptions(Options):
    """How to read files that do not say it themselves; None is inferred.

    Attributes:
        format: ``csv``, ``parquet``, ``arrow`` or ``libsvm``.
        delimiter, quote: of text, one character each; ``quote=""`` for none.
        header: whether the first line of a text file names the columns.
        encoding: of text.
        missing: the texts that stand for a missing value.
        zero_based: indices of a LIBSVM file start at 0.
        text: columns of text files that are not to be taken for numbers or dates; names or globs.
        names: of columns that must be there: a first line that has them all is a header.
        form: tried before the form of a text file is inferred.
    """

    format: str | None = setting(optional(choice(*FORMATS), f"{', '.join(FORMATS)} or null"), None)
    delimiter: str | None = setting(optional(CHARACTER), None)
    quote: str | None = setting(optional(either(CHARACTER, NOTHING)), None)
    header: bool | None = setting(optional(flag(), "true, false or null"), None)
    encoding: str = setting(ENCODING, "utf-8")
    missing: tuple[str, ...] = setting(texts("a list of texts, in quotes, such as 'data.missing=[NA,-]',"), MISSING)
    zero_based: bool = setting(flag(), False)
    text: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    form: Dialect | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quote and self.quote in (self.delimiter, " "):
            raise UserError(
                f"data.quote={self.quote!r}: another character is needed, which separates neither fields nor words."
            )

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


def parsed_labels(labels: Mapping[str, int] | str | None) -> dict[str, int]:
    """What ``data.labels`` says: a mapping, or its JSON.

    Raises:
        UserError: it is neither.
    """
    if isinstance(labels, str):
        try:
            labels = json.loads(labels)
        except json.JSONDecodeError as error:
            raise UserError(f"data.labels={labels}: a mapping of labels to 0 and 1 is needed ({error.msg}).") from error
    if labels is not None and not isinstance(labels, Mapping):
        raise UserError(f"data.labels={labels}: a mapping of labels to 0 and 1 is needed.")
    for label, meaning in (labels or {}).items():
        if isinstance(meaning, bool) or meaning not in (0, 1):
            raise UserError(f"data.labels: {label!r} is {meaning}; 0 or 1 is needed.")
    return {label_text(label): meaning for label, meaning in (labels or {}).items()}


@dataclass(frozen=True)
class RoleOptions(Options):
    """What the columns are for.

    Attributes:
        target: the column to predict; sparse formats carry theirs.
        positive: the label that is 1.
        labels: what each label stands for, 0 or 1; a mapping or its JSON.
        features: names or globs of the columns to use; all others by default.
        exclude: names or globs of columns to leave out.
        categorical: names or globs of columns whose numbers are levels.
        weight: column of row weights.
        group: column whose equal values stay in one split.
        drop_missing_target: leave out rows without a label instead of refusing the table.
    """

    target: str | None = setting(optional(text("the name of a column", (str, int))), None)
    positive: str | None = setting(LABEL, None)
    labels: Mapping[str, int] = setting(
        replace(optional(either(mapping("a mapping of labels to 0 and 1"), text("its JSON"))), read=parsed_labels), None
    )
    features: tuple[str, ...] | None = setting(optional(_names("features", "age,x*")), None)
    exclude: tuple[str, ...] = setting(_names("exclude", "id"), ())
    categorical: tuple[str, ...] = setting(_names("categorical", "zip"), ())
    weight: str | None = setting(COLUMN, None)
    group: str | None = setting(COLUMN, None)
    drop_missing_target: bool = setting(flag(), False)


def _levels(reference: Mapping[str, str | float | None]) -> dict[str, str]:
    return {str(name): "" if level is None else label_text(level) for name, level in reference.items()}


@dataclass(frozen=True)
class PrepareOptions(Options):
    """How columns become features.

    Attributes:
        min_count: levels of fewer training rows share one feature; None: one row in a hundred, from 2 to 10.
        reference: the levels that have no feature: ``first`` of each text column, or one for each column named.
        leak_auroc: warn of a column whose AUROC alone reaches this.
        storage: ``float32`` or ``float64``; None: float64 for small tables.
    """

    min_count: int | None = setting(optional(whole(1), "a whole number above 0, or null"), None)
    reference: str | Mapping[str, str] | None = setting(
        either(
            choice(FIRST, None),
            replace(mapping("a mapping"), read=_levels),
            words="first, null, or a mapping, in quotes, such as 'data.reference={race: white}',",
        ),
        None,
    )
    leak_auroc: float = setting(number(above=0.5, words="a number above 0.5"), 0.99)
    storage: str | None = setting(optional(choice(*STORAGE), "float32, float64 or null"), None)
