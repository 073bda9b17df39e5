"""A class that a configuration names by its path, with its arguments; and which classes it may name.

A ``_target_`` names what to call, so it is code execution. Nothing is called here: see `logreg.core.build` for the
objects.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from logreg.core.errors import UserError, nearest

TARGET = "_target_"
# Where classes may come from that a configuration names.
PACKAGES = ("logreg", "torch", "torchmetrics", "lightning")

# Classes that moved: the names that recorded configurations have for them, and today's.
ALIASES = {
    "logreg.brier.BrierScore": "logreg.evaluation.scores.BrierScore",
    "logreg.callbacks.Checkpoints": "logreg.training.callbacks.Checkpoints",
    "logreg.callbacks.UpdateBar": "logreg.training.callbacks.UpdateBar",
    "logreg.data.builtin.BreastCancerData": "logreg.data.tables.builtin.BreastCancerData",
    "logreg.data.builtin.ToyData": "logreg.data.tables.builtin.ToyData",
    "logreg.data.breast_cancer.BreastCancerData": "logreg.data.tables.builtin.BreastCancerData",
    "logreg.data.table.TableData": "logreg.data.tables.table.TableData",
    "logreg.data.toy.ToyData": "logreg.data.tables.builtin.ToyData",
    "logreg.metrics.BinaryLogLoss": "logreg.evaluation.scores.BinaryLogLoss",
    "logreg.metrics.MeanLoss": "logreg.evaluation.scores.MeanLoss",
    "logreg.choosing.Auto": "logreg.optim.auto.Auto",
    "logreg.data.digits.DigitsData": "logreg.data.images.digits.DigitsData",
    "logreg.data.image_folder.ImageFolderData": "logreg.data.images.folder.ImageFolderData",
    "logreg.report.boundary.BoundarySeries": "logreg.report.figures.boundary.BoundarySeries",
    "logreg.report.photos.PhotoGrids": "logreg.report.figures.photos.PhotoGrids",
    "logreg.report.tensorboard.TensorBoardLogger": "logreg.report.tensorboard.events.TensorBoardLogger",
}


@dataclass(frozen=True)
class Component:
    """What a node with a ``_target_`` says: a class, and what it is called with.

    Attributes:
        target: the path of the class, where it is now.
        arguments: by name; ``_args_`` are those by position. Nodes with a target inside them are made with it.
    """

    target: str
    arguments: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, node: object, key: str) -> Component:
        """The component of a node of the configuration.

        Args:
            key: where the node stands, for messages.

        Raises:
            UserError: the node names no class.
        """
        target = node.get(TARGET) if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping) or not isinstance(target, str):
            raise UserError(f"{key}: a {TARGET} that names a class is needed here.")
        arguments = {str(name): value for name, value in node.items() if name != TARGET}
        return cls(ALIASES.get(target, target), arguments)

    def as_node(self) -> dict[str, object]:
        """The node that `of` makes this of."""
        return {TARGET: self.target, **self.arguments}

    def without(self, *names: str) -> Component:
        """The same class without some of the arguments."""
        return Component(self.target, {name: value for name, value in self.arguments.items() if name not in names})


def components_of(group: object, key: str) -> dict[str, Component]:
    """The named entries of a group such as callbacks; one that is null is switched off.

    Raises:
        UserError: the group has no names, or an entry names no class.
    """
    if not isinstance(group, Mapping):
        raise UserError(f"{key}={group}: a group takes the name of a file in conf/{key}.")
    return {str(name): Component.of(node, f"{key}.{name}") for name, node in group.items() if node is not None}


def check_target(target: str, key: str, trusted: Sequence[str]) -> None:
    """Refuse a ``_target_`` outside the packages on the allow-list.

    Raises:
        UserError: names the key, the packages, and how to trust another one.
    """
    allowed = (*PACKAGES, *trusted)
    package = target.partition(".")[0]
    if package not in allowed:
        raise UserError(
            f"{key}={target}: only classes of {', '.join(allowed)} are instantiated; to trust another package, say "
            f"trusted_packages=[{package}] on the command line."
        )


def locate(target: str, key: str, trusted: Sequence[str]) -> object:
    """What a ``_target_`` names; its module is imported, and nothing called.

    Raises:
        UserError: it is not of a package on the allow-list, or there is nothing of this name.
    """
    check_target(target, key, trusted)
    parts = target.split(".")
    named: object = None
    for position in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:position])
        try:
            named = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and name.startswith(error.name):
                continue
            raise UserError(f"{key}={target}: {name} cannot be imported ({error}).") from error
        break
    if named is None:
        raise UserError(f"{key}={target}: there is no such class; give its full path, such as torch.optim.SGD.")
    for part in parts[position:]:
        if not hasattr(named, part):
            owner = getattr(named, "__name__", target)
            raise UserError(f"{key}={target}: {owner} has no {part}{nearest(part, dir(named))}.")
        named = getattr(named, part)
    if isinstance(named, type):
        check_target(named.__module__, key, trusted)  # where it lives, not only where it was found
    return named


def check_targets(node: object, trusted: Sequence[str], key: str = "") -> None:
    """`check_target` for every ``_target_`` below a node of a configuration."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        path = f"{key}.{name}".lstrip(".")
        if name == TARGET:
            check_target(str(value), path, trusted)
        check_targets(value, trusted, path)


def renamed(node: Any) -> Any:
    """A configuration, or a part of one, that names every class by its present name."""
    if isinstance(node, Mapping):
        return {
            key: ALIASES.get(item, item) if key == TARGET and isinstance(item, str) else renamed(item)
            for key, item in node.items()
        }
    return [renamed(item) for item in node] if isinstance(node, list) else node
