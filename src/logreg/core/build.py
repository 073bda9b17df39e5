"""From a configuration node to an object, without letting the configuration run code.

A ``_target_`` names what to call, and a package prefix is no fence: ``torch.load`` and ``torch.hub.load`` lie behind
it. So only *classes* are called, only subclasses of what the key stands for, only from packages on the allow-list.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from beartype import BeartypeConf
from beartype.door import is_bearable
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import Metric

from logreg.core.components import TARGET, Component, locate
from logreg.core.errors import UserError
from logreg.core.options.data import DataSettings
from logreg.core.rules import check_names, rules_of

T = TypeVar("T")

KINDS: tuple[type, ...] = (
    nn.Module, Optimizer, LRScheduler, LightningDataModule, Callback, Logger, Trainer, Metric,
)  # fmt: skip
_NUMBERS_AS_PEP_484 = BeartypeConf(is_pep484_tower=True)  # an int will do where a float is asked for


def build(
    component: Component,
    kind: type[T],
    key: str,
    trusted: Sequence[str] = (),
    args: Sequence[object] = (),
    **given: object,
) -> T:
    """Instantiate a component.

    Args:
        kind: the class that the target must derive from.
        key: where the component stands in the configuration, for messages.
        trusted: packages besides `logreg.core.components.PACKAGES`.
        args, given: positional and keyword arguments from the program; a keyword is passed only if the class takes it
            and the configuration does not set it.

    Raises:
        UserError: the target is not allowed, or its arguments are not what it takes.
    """
    cls = _class_of(component, kind, key, trusted)
    values = {name: _value(item, f"{key}.{name}", trusted) for name, item in component.arguments.items()}
    positional = [*args, *values.pop("_args_", ())]
    parameters = inspect.signature(cls).parameters
    values = {name: value for name, value in given.items() if name in parameters} | values
    values = _checked_arguments(cls, positional, values, key)
    try:
        return cls(*positional, **values)
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise UserError(f"{key}: {cls.__name__} refused its settings: {_sentence(error)}") from error


def _class_of(component: Component, kind: type[T], key: str, trusted: Sequence[str]) -> type[T]:
    cls = locate(component.target, f"{key}._target_", trusted)
    if inspect.isclass(cls) and issubclass(cls, kind):
        return cls
    raise UserError(
        f"{key}._target_={component.target}: only classes derived from {kind.__name__} are instantiated here."
    )


def _value(item: object, key: str, trusted: Sequence[str]) -> Any:
    """A plain value, with the components inside it instantiated under the same rules."""
    if isinstance(item, Mapping) and TARGET in item:
        component = Component.of(item, key)
        cls = locate(component.target, f"{key}._target_", trusted)
        kind = next((kind for kind in KINDS if inspect.isclass(cls) and issubclass(cls, kind)), nn.Module)
        return build(component, kind, key, trusted)
    if isinstance(item, Mapping):
        return {name: _value(value, f"{key}.{name}", trusted) for name, value in item.items()}
    if isinstance(item, list | tuple):
        return [_value(value, key, trusted) for value in item]
    return item


def _checked_arguments(
    cls: type, positional: Sequence[object], values: Mapping[str, object], key: str
) -> dict[str, object]:
    """Hold the arguments against the signature of the class: names, presence and types."""
    signature, hints = inspect.signature(cls), _hints(cls)
    parameters = signature.parameters
    if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        check_names(values, parameters, key, f"{cls.__name__} takes no such argument")
    try:
        signature.bind(*positional, **values)
    except TypeError as error:
        raise UserError(f"{key}: {cls.__name__} cannot be made from these settings: {_sentence(error)}") from error
    return {name: _typed(value, hints.get(name, object), f"{key}.{name}", cls) for name, value in values.items()}


def _typed(value: object, hint: Any, key: str, cls: type) -> object:
    """The value, as a tuple where the class takes a tuple: YAML knows lists only."""
    for candidate in (value, tuple(value)) if isinstance(value, list) else (value,):
        if is_bearable(candidate, hint, conf=_NUMBERS_AS_PEP_484):
            return candidate
    readable = hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")
    raise UserError(f"{key}={value!r} has the wrong type: {cls.__name__} takes {readable}.")


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except (NameError, TypeError, AttributeError):  # annotations that exist for type checkers only
        return {}


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if text.endswith(".") else text + "."


def build_data(data: DataSettings, trusted: Sequence[str] = ()) -> LightningDataModule:
    """The DataModule of a ``data``, which is given its settings in the parts that it takes."""
    cls = _class_of(data, LightningDataModule, "data", trusted)
    data = data.derived(trusted)
    parameters = inspect.signature(cls).parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())  # for its base
    taken = [name for name in data.takes if takes_any or name in parameters]
    parts = {name: part for name in taken if (part := getattr(data, name)) is not None}
    fields = [field for part in parts.values() for field in rules_of(part)]
    component = Component(data.target, {**data.without(*fields).arguments, **parts})
    return build(component, LightningDataModule, "data", trusted)


def build_network(model: Component, features: int, trusted: Sequence[str] = ()) -> nn.Module:
    """The network of a ``model`` for rows of this many features."""
    return build(model, nn.Module, "model", trusted, in_features=features)


def build_metrics(metrics: Mapping[str, Component], trusted: Sequence[str] = ()) -> dict[str, Metric]:
    """Metrics by name."""
    for name, metric in metrics.items():
        if "threshold" in metric.arguments:
            raise UserError(f"metrics.{name}.threshold: predictions follow the run's own threshold=…; leave this out.")
    kind: type[Metric] = Metric  # type: ignore[type-abstract]
    return {name: build(metric, kind, f"metrics.{name}", trusted) for name, metric in metrics.items()}


def optimizer_factory(
    component: Component, trusted: Sequence[str] = ()
) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    """The function from parameters to the optimizer; made once on trial, so that a bad setting shows at once."""

    def make(parameters: Iterable[nn.Parameter]) -> Optimizer:
        return build(component, Optimizer, "optimizer", trusted, args=[list(parameters)])

    make([nn.Parameter(torch.zeros(1, 1))])
    return make


def scheduler_factory(
    component: Component | None, trusted: Sequence[str] = ()
) -> Callable[[Optimizer], LRScheduler] | None:
    """The function from the optimizer to its learning-rate scheduler, or None for none."""
    if component is None:
        return None

    def make(optimizer: Optimizer) -> LRScheduler:
        return build(component, LRScheduler, "scheduler", trusted, args=[optimizer])

    trial = torch.optim.SGD([nn.Parameter(torch.zeros(1, 1))], lr=1.0, momentum=0.9)
    try:
        scheduler = make(trial)
        trial.step()
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()
    except (ArithmeticError, TypeError, ValueError) as error:
        raise UserError(f"scheduler: {component.target} refused its settings: {_sentence(error)}") from error
    return make
