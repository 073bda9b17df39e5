"""The configuration of a run as typed, checked values; nothing heavy is imported for it.

`Settings.of` makes a tree of frozen dataclasses of what Hydra composed. `logreg.cli.configuration.parse` refuses what
is not valid: each value by the rule on its field, then those that do not go together, see `logreg.core.consistency`. A
default stands once, in ``conf/``: it is read from there for a key that the configuration of an older version does not
have.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from logreg.core.components import Component, components_of
from logreg.core.errors import UserError
from logreg.core.optimizer_traits import AUTO_OPTIMIZER, AutoChoice
from logreg.core.options.data import DataSettings
from logreg.core.rules import (
    Rule,
    as_typed,
    check,
    check_names,
    choice,
    either,
    flag,
    lookup,
    number,
    optional,
    part_of,
    rules_of,
    setting,
    text,
    texts,
    whole,
)

Config = dict[str, Any]  # a resolved configuration, as Hydra composes and config.json holds it
CONF = Path(__file__).resolve().parents[3] / "conf"

AUTO = "auto"  # penalty.l2: one over the number of training rows, which is scikit-learn's C = 1
THRESHOLD_RULES = ("max_f1", "max_youden", "cost")
PRECISIONS = ("32-true", "64-true", "bf16-mixed")

COUNT, SEED = whole(1), whole(0, 2**63 - 1)
POSITIVE, NOT_NEGATIVE = number(above=0, words="a number above 0"), number(least=0, words="a number, 0 or more,")
RATE = number(above=0, most=3e38, words="a number above 0, up to 3e38,")  # which an optimizer can multiply a float32 by
ACCELERATOR = choice("cpu", "gpu", "mps", "auto", aliases=["cuda"])


def _is_folder(value: object) -> bool:
    parts = str(value).split("/")
    return isinstance(value, str | int) and all(part.strip(". ") and "\0" not in part for part in parts)


def _are_devices(value: object) -> bool:
    numbers = value.split(",") if isinstance(value, str) else value
    several = isinstance(numbers, list) and numbers and all(str(number).strip().isdigit() for number in numbers)
    return COUNT.allows(value) or value in (-1, "-1", AUTO) or bool(several)


def _are_weights(value: object) -> bool:
    return isinstance(value, Mapping) and len(value) > 0 and all(map(POSITIVE.allows, value.values()))


DEVICES = Rule(
    _are_devices,
    "a whole number above 0, -1 for all, auto, or a list of their numbers, such as [0,1],",
    {"anyOf": [COUNT.schema, {"enum": [AUTO, -1]}, {"type": "string", "pattern": "\\d"}, {"type": "array"}]},
)
TAGS = texts("a list of words, in quotes, such as 'tags=[baseline,v2]',")
METRIC = Rule(
    lambda value: isinstance(value, str) and value != "",
    "the name of a metric, such as val/loss",
    {"type": "string", "minLength": 1},
)
FOLDER = Rule(_is_folder, "a name for the run's folder below outputs, without '..',", {"type": ["string", "integer"]})
WEIGHTS = Rule(
    _are_weights,
    "a weight above 0 for each label",
    {"type": "object", "minProperties": 1, "additionalProperties": POSITIVE.schema},
)


@dataclass(frozen=True)
class Penalty:
    """What is added to the mean loss: ``l1 * ||w||_1 + l2/2 * ||w||²``, or Firth's penalty."""

    l1: float = setting(NOT_NEGATIVE)
    l2: float | str = setting(either(NOT_NEGATIVE, choice(AUTO), words="a number, 0 or more, or auto"))
    firth: bool = setting(flag())

    def of_rows(self, training_weight: float) -> Penalty:
        """The same with a number for ``l2=auto``."""
        return replace(self, l2=1 / training_weight) if self.l2 == AUTO else self


@dataclass(frozen=True)
class Costs:
    """What wrong predictions cost, for ``threshold=cost``."""

    false_positive: float = setting(NOT_NEGATIVE)
    false_negative: float = setting(NOT_NEGATIVE)


@dataclass(frozen=True)
class Vectorized:
    """How the jobs of a sweep are trained together."""

    memory: float | None = setting(
        optional(number(above=0, words="a number of bytes above 0"), "a number of bytes above 0, or null")
    )
    figures: int = setting(whole(0))
    dry_run: bool = setting(flag())

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Vectorized:
        """These values, and the defaults of the others."""
        return part_of(cls, {**_defaults()["vectorized"], **values}, "vectorized")


@dataclass(frozen=True)
class PenaltyPath:
    """The grid of penalties of ``experiment=path``."""

    smallest: float = setting(POSITIVE)
    largest: float = setting(POSITIVE)
    points: int = setting(COUNT)
    rule: str = setting(choice("best", "one_standard_error"))

    def __post_init__(self) -> None:
        if self.smallest > self.largest:
            raise UserError(
                f"path.smallest={self.smallest} is above path.largest={self.largest}; give the smaller number first."
            )


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """What a sweep has that its jobs have not."""

    lesson: Component | None
    resume: str | None = setting(optional(text("the directory of a sweep"), "the directory of a sweep, or null"))


@dataclass(frozen=True)
class TrainerSettings:
    """Lightning's Trainer: the settings of it that this project reads, and all of them as a component.

    One that is None was left out, so Lightning's own default holds.
    """

    component: Component
    max_epochs: int | None = setting(COUNT, None)
    accelerator: str | None = setting(ACCELERATOR, None)
    devices: int | str | Sequence[int] | None = setting(DEVICES, None)
    precision: str | int | None = setting(choice(*PRECISIONS, aliases=["32", "64", 32, 64]), None)
    deterministic: bool | str | None = setting(optional(either(flag(), choice("warn")), "true, false or warn"), None)
    log_every_n_steps: int | None = setting(COUNT, None)
    check_val_every_n_epoch: int | None = setting(COUNT, None)
    gradient_clip_val: float | None = setting(optional(POSITIVE), None)
    gradient_clip_algorithm: str | None = setting(optional(choice("norm", "value"), "norm, value or null"), None)
    accumulate_grad_batches: int | None = setting(COUNT, None)
    num_sanity_val_steps: int | None = setting(whole(-1, words="a whole number of batches, or -1 for all,"), None)
    enable_model_summary: bool | None = setting(optional(flag(), "true or false"), None)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run is asked for.

    Attributes:
        lr, accelerator, epochs: what is in force, also where the long keys were given.
        resume: a run directory, a checkpoint, or the name of runs; the checkpoint once it was found.
        source: the configuration that this was made of.
    """

    name: str = setting(FOLDER)
    tags: Sequence[str] = setting(TAGS)
    seed: int = setting(SEED)
    epochs: int = setting(COUNT)
    lr: float | None = setting(RATE)
    accelerator: str = setting(ACCELERATOR)
    loss: str = setting(choice("log_loss", "mse", words="one of log_loss, mse"))
    penalty: Penalty
    class_weight: str | Mapping[str, float] | None = setting(
        optional(
            either(choice("balanced"), WEIGHTS),
            "balanced, null, or a weight above 0 for each label, in quotes, such as 'class_weight={no:1,yes:3}',",
        )
    )
    inference: str = setting(choice(AUTO, "wald", "profile", "none"))
    covariance: str = setting(choice("model", "HC0", "HC1", "cluster"))
    baseline: bool = setting(flag())
    separation: bool | str = setting(either(flag(), choice(AUTO), words="true, false or auto"))
    certify_every: int | None = setting(optional(COUNT, "a whole number of epochs above 0, or null"))
    calibration: str | None = setting(optional(choice("sigmoid", "isotonic"), "sigmoid, isotonic or null"))
    threshold: float | str = setting(
        either(
            number(above=0, below=1, words="a number between 0 and 1"),
            choice(*THRESHOLD_RULES, words=f"one of {', '.join(THRESHOLD_RULES)}"),
        )
    )
    costs: Costs
    monitor: str = setting(METRIC)
    mode: str = setting(choice("min", "max"))
    resume: str | None = setting(optional(text("a run directory or a checkpoint"), "a run directory or a checkpoint"))
    figures: bool = setting(flag())
    report: bool = setting(flag())
    lesson: Component | None
    sweep: SweepSettings
    vectorized: Vectorized
    path: PenaltyPath | None
    data: DataSettings
    model: Component
    optimizer: Component
    scheduler: Component | None
    trainer: TrainerSettings
    metrics: Mapping[str, Component]
    callbacks: Mapping[str, Component]
    logger: Mapping[str, Component]
    chosen: AutoChoice | None = None
    source: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """The settings of a resolved configuration, such as that of a run that was checked when it was made.

        Raises:
            UserError: it has not the groups and keys that every run has.
        """
        config = in_force(complete(config))
        sweep, trainer, path = config["sweep"], config["trainer"], config.get("path")
        return cls(
            **{key: config[key] for key in _PLAIN},
            penalty=part_of(Penalty, config["penalty"], "penalty"),
            costs=part_of(Costs, config["costs"], "costs"),
            vectorized=part_of(Vectorized, config["vectorized"], "vectorized"),
            path=None if path is None else part_of(PenaltyPath, path, "path"),
            lesson=_lesson(config["lesson"], "lesson"),
            sweep=part_of(SweepSettings, sweep, "sweep", lesson=_lesson(sweep["lesson"], "sweep.lesson")),
            data=DataSettings.of(config["data"]),
            model=Component.of(config["model"], "model"),
            optimizer=Component.of(config["optimizer"], "optimizer"),
            scheduler=Component.of(config["scheduler"], "scheduler") if config["scheduler"] else None,
            trainer=part_of(TrainerSettings, trainer, "trainer", component=Component.of(trainer, "trainer")),
            metrics=components_of(config["metrics"], "metrics"),
            callbacks=components_of(config["callbacks"], "callbacks"),
            logger=components_of(config["logger"], "logger"),
            chosen=AutoChoice.from_json(config.get("chosen")),
            source=config,
        )

    def as_config(self) -> Config:
        """The configuration as ``config.json`` holds it, with what a run has filled in."""
        config = dict(self.source)
        config["penalty"] = config["penalty"] | {"l2": self.penalty.l2}
        config["resume"] = self.resume
        if self.chosen is not None:
            config |= {"optimizer": self.optimizer.as_node(), "chosen": dict(vars(self.chosen))}
        return config

    @property
    def chooses_optimizer(self) -> bool:
        """Whether the optimizer is to be chosen when data and penalty are known."""
        return self.optimizer.target == AUTO_OPTIMIZER

    @property
    def wants_inference(self) -> bool:
        """Whether standard errors are asked for by name, so that a fit that has none is to say why."""
        return self.inference in ("wald", "profile") or self.covariance != "model"

    @property
    def fixed_threshold(self) -> float:
        """The threshold, which is 0.5 until a rule chooses another one."""
        return self.threshold if isinstance(self.threshold, float) else 0.5

    def most_searched(self, unasked: int) -> float:
        """Rows times columns up to which a separation of the labels is looked for.

        Args:
            unasked: those for ``separation=auto``.
        """
        return unasked if self.separation == AUTO else math.inf if self.separation else 0


# Of a configuration that is to be trained; the choice is the run's own.
KEYS = ({each.name for each in fields(Settings)} - {"chosen", "source"}) | {"trusted_packages"}
_PLAIN = [each.name for each in fields(Settings) if "rule" in each.metadata]
_GROUPS = ("scheduler", "metrics", "callbacks", "logger")  # which can be left out, as in ~callbacks


def _lesson(node: object, key: str) -> Component | None:
    if isinstance(node, str):
        raise UserError(
            f"{key}={node}: a lesson is an experiment; use one of conf/experiment/lessons, as in "
            "experiment=lessons/sigmoid."
        )
    return None if node is None else Component.of(node, key)


def complete(config: Mapping[str, Any]) -> Config:
    """A configuration with every group and key there, also those that were left out or that an older version had not.

    Raises:
        UserError: a group is no group.
    """
    for group in ("costs", "sweep", "vectorized", "path"):
        if not isinstance(config.get(group), dict | None):
            raise UserError(f"{group}={as_typed(config[group])}: its keys are set one by one; --help shows them.")
    for group in ("data", "model", "optimizer", "trainer"):
        if not isinstance(config.get(group), dict):
            raise UserError(f"{group}={config.get(group)}: a group takes the name of a file in conf/{group}.")
    if not isinstance(config.get("penalty"), dict) or "l2" not in config["penalty"]:
        raise UserError(f"penalty={config.get('penalty')}: give penalty.l1=<number> or penalty.l2=<number>.")
    defaults = _defaults()
    absent = {key: defaults[key] for key in _PLAIN if key != "lr"} | {"lesson": None}
    groups = {group: config.get(group) or {} for group in _GROUPS}
    parts = {key: defaults[key] | (config.get(key) or {}) for key in ("penalty", "costs", "sweep", "vectorized")}
    return {**config, **groups, **parts, **{key: value for key, value in absent.items() if key not in config}}


def in_force(config: Config) -> Config:
    """The same with the short keys saying what is in force, also where the long ones were given."""
    long = {"lr": "optimizer.lr", "accelerator": "trainer.accelerator", "epochs": "trainer.max_epochs"}
    return config | {key: lookup(config, name, config.get(key)) for key, name in long.items()}


@functools.cache
def _defaults() -> Config:
    """What ``conf/train.yaml`` says of each key."""
    import yaml  # type: ignore[import-untyped]

    return yaml.safe_load((CONF / "train.yaml").read_text(encoding="utf-8"))


# Arguments of components that can be checked before their classes are imported.
ARGUMENTS: dict[str, Rule] = {
    "optimizer.lr": RATE,
    "optimizer.tolerance": NOT_NEGATIVE,
    "optimizer.history_size": COUNT,
    "callbacks.checkpoints.every_seconds": number(above=0, words="a number of seconds above 0"),
    "callbacks.photos.every_n_epochs": whole(1, words="a whole number of epochs above 0"),
}
PARTS: dict[str, type] = {
    "penalty": Penalty, "costs": Costs, "path": PenaltyPath, "sweep": SweepSettings, "vectorized": Vectorized,
    "trainer": TrainerSettings,
}  # fmt: skip
RULES: dict[str, Rule] = rules_of(Settings) | ARGUMENTS
for _name, _class in PARTS.items():
    RULES |= rules_of(_class, f"{_name}.")


def check_values(values: Mapping[str, Any]) -> None:
    """Hold some of the settings, by dotted key or nested, against their rules.

    Raises:
        UserError: names the first key whose value is not valid, and what would be; or one that there is not.
    """
    check(values, RULES)
    for name, part in PARTS.items():
        if part is TrainerSettings or not (given := values.get(name)):
            continue
        known = [each.name for each in fields(part)]
        check_names(given, known, name)
        if all(key in given for key in known):  # what its values are together
            part(**given)
