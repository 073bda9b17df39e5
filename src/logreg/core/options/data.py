"""The group ``data`` of the settings: the class that the rows come from, and what it is given in typed parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from logreg.core.components import Component, locate
from logreg.core.errors import UserError
from logreg.core.options.photos import DIGITS, IMAGES, AugmentOptions, DigitOptions, FolderOptions, PhotoOptions
from logreg.core.options.rows import ALL_FOR_TRAINING, Options, ServingOptions, SplitOptions
from logreg.core.options.tables import TABLE, PrepareOptions, ReadOptions, RoleOptions, TablePaths
from logreg.core.rules import Rule, check_names, rules_of

Part = Options | type[Options]  # one with all defaults, or a class whose path has none
_IN_MEMORY: Mapping[str, Part] = {"serving": ServingOptions(), "split": SplitOptions(ALL_FOR_TRAINING)}
# The settings of this project's DataModules, by the names of the parameters; those in memory take them one by one.
SOURCES: Mapping[str, Mapping[str, Part]] = {
    "logreg.data.tables.table.TableData": {
        "paths": TablePaths, "serving": TABLE, "split": SplitOptions(), "reading": ReadOptions(),
        "roles": RoleOptions(), "preparing": PrepareOptions(),
    },
    "logreg.data.tables.builtin.ToyData": _IN_MEMORY,
    "logreg.data.tables.builtin.BreastCancerData": _IN_MEMORY,
    "logreg.data.images.digits.DigitsData": {
        "serving": DIGITS, "split": SplitOptions(ALL_FOR_TRAINING), "photos": PhotoOptions(), "digit": DigitOptions(),
    },
    "logreg.data.images.folder.ImageFolderData": {
        "folder": FolderOptions, "serving": IMAGES, "split": SplitOptions(), "photos": PhotoOptions(),
    },
}  # fmt: skip
_OF_OTHERS: Mapping[str, Part] = {
    "serving": ServingOptions(), "split": SplitOptions(), "reading": ReadOptions(), "roles": RoleOptions(),
}  # fmt: skip
_SHORT = {f"logreg.data.{target.rpartition('.')[2]}": target for target in SOURCES}  # as `logreg.data` has them


@dataclass(frozen=True)
class DataSettings(Component):
    """A DataModule and its arguments; those that this project knows are in parts, too.

    A configuration has them flat: ``data.seed`` is `serving`'s, whatever the class. A part that the class does not take
    has its defaults, and is None where it has none.

    Attributes:
        source: the class of `SOURCES` that it is or, where that is known, derives from.
    """

    source: str | None = None
    serving: ServingOptions = ServingOptions()
    split: SplitOptions = SplitOptions()
    paths: TablePaths | None = None
    reading: ReadOptions = ReadOptions()
    roles: RoleOptions = RoleOptions()
    preparing: PrepareOptions = PrepareOptions()
    folder: FolderOptions | None = None
    photos: PhotoOptions = PhotoOptions()
    digit: DigitOptions = DigitOptions()

    @classmethod
    def of(cls, node: object, key: str = "data", source: str | None = None) -> DataSettings:
        """The settings of a node; ``source`` is the class of `SOURCES` that another class derives from.

        Of a class whose base is not known the keys of a table are taken for such where they are valid.

        Raises:
            UserError: the node names no class, or a value is not valid.
        """
        component = Component.of(node, key)
        target, arguments = _SHORT.get(component.target, component.target), component.arguments
        source = source or (target if target in SOURCES else None)
        known = SOURCES[source] if source else _OF_OTHERS
        parts: dict[str, Options] = {}
        for name, part in known.items():
            given = {field: arguments[field] for field in rules_of(part) if field in arguments}
            try:
                if isinstance(part, Options):
                    parts[name] = replace(part, **given)
                elif "path" in given:
                    parts[name] = part(**given)
            except UserError:
                if source or name in _IN_MEMORY:
                    raise
        return cls(target, arguments, source, **parts)  # type: ignore[arg-type]

    def derived(self, trusted: Sequence[str]) -> DataSettings:
        """The same with the parts of the class of this project that a user's class derives from, which is imported.

        Raises:
            UserError: there is no such class, it is not of a package that is trusted, or a value is not valid.
        """
        if self.source:
            return self
        bases = getattr(locate(self.target, "data._target_", trusted), "__mro__", ())
        paths = [f"{base.__module__}.{base.__qualname__}" for base in bases]
        source = next((path for path in paths if path in SOURCES), None)
        return DataSettings.of(self.as_node(), source=source) if source else self

    @property
    def takes(self) -> tuple[str, ...]:
        """The parts that the class takes as they are, by the names of its parameters."""
        known = SOURCES.get(self.source or "", _IN_MEMORY)
        return () if known is _IN_MEMORY else tuple(known)

    @property
    def path(self) -> str:
        """Where the rows are, as far as the configuration says it."""
        return str(self.arguments.get("path") or "")

    def check(self) -> None:
        """Look at what a class of this project would refuse, before it is imported; a subclass has own keys.

        Raises:
            UserError: there is no such key, or the fractions of the splits are not valid.
        """
        if self.source is None:
            return
        known = [field for part in SOURCES[self.source].values() for field in rules_of(part)]
        if self.source == self.target:
            check_names(self.arguments, known, "data", f"{self.target.rpartition('.')[2]} takes no such argument")
        if "path" in known and "path" not in self.arguments:
            raise UserError("data.path: a file or a folder is needed.")
        self.split.fractions(self.paths.own_files if self.paths else ())


def rules() -> dict[str, Rule]:
    """The rules of all keys below ``data``."""
    parts = [*_OF_OTHERS.values(), *(part for takes in SOURCES.values() for part in takes.values())]
    return {part.prefix + field: rule for part in (*parts, AugmentOptions) for field, rule in rules_of(part).items()}
