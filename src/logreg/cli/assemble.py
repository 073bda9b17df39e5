"""From a resolved configuration to its objects: data, classifier, Trainer, lesson; and to its hyperparameters.

The heavy imports are inside the functions, as in `logreg.cli.experiment`. Nothing here knows Hydra.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import OmegaConf

from logreg.core.components import Component, locate
from logreg.core.errors import UserError
from logreg.core.optimizer_traits import AutoChoice
from logreg.core.rules import lookup
from logreg.core.settings import AUTO, CONF, Settings
from logreg.records.record import settings_of

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from logreg.data.adapter import AnyData
    from logreg.evaluation.thresholds import ThresholdRule
    from logreg.lessons.lesson import Lesson, SweepLesson
    from logreg.training.classifier import BinaryClassifier
    from logreg.training.standard_errors import Wanted


# Settings that every run shows in TensorBoard's HParams tab, beside the keys that were overridden.
HYPERPARAMETERS = ("seed", "epochs", "lr", "accelerator", "penalty.l2", "data.batch_size")
GROUPS = ("data", "model", "optimizer", "scheduler")

log = logging.getLogger(__name__)


class RunParts(NamedTuple):
    """The objects of a run; its settings with what the rows decide: ``penalty.l2=auto`` and ``optimizer=auto``."""

    settings: Settings
    data: AnyData
    classifier: BinaryClassifier
    trainer: Trainer


def assemble(settings: Settings, directory: Path, trusted: Sequence[str] = ()) -> RunParts:
    """The objects of a run, whose Trainer writes into ``directory``."""
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.loggers import Logger

    from logreg.core.build import build

    data = make_data(settings, trusted)
    if settings.penalty.l2 == AUTO:
        settings = replace(settings, penalty=settings.penalty.of_rows(data.training_weight))
    if settings.chooses_optimizer:
        chosen, optimizer = choose_optimizer(settings, data, trusted)
        log.info(chosen.sentence)
        settings = replace(settings, chosen=chosen, optimizer=optimizer)
    where = {"save_dir": str(directory), "directory": str(directory)}
    kind: type[Logger] = Logger  # type: ignore[type-abstract]
    loggers = [build(each, kind, f"logger.{key}", trusted, **where) for key, each in settings.logger.items()]
    callbacks = [build(each, Callback, f"callbacks.{key}", trusted) for key, each in settings.callbacks.items()]
    firth = 1 / data.training_weight if settings.penalty.firth else 0.0
    classifier = make_classifier(settings, data.num_features, trusted, firth)
    given = {"callbacks": callbacks, "logger": loggers, "default_root_dir": str(directory)}
    trainer = build(settings.trainer.component, Trainer, "trainer", trusted, (), **given)
    return RunParts(settings, data, classifier, trainer)


def make_lesson(component: Component | None, trusted: Sequence[str] = ()) -> Lesson | None:
    """The lesson of a run, if there is one."""
    if component is None:
        return None
    from logreg.core.build import build
    from logreg.lessons.lesson import Lesson

    return build(component, Lesson, "lesson", trusted)  # type: ignore[type-abstract]


def make_sweep_lesson(component: Component | None, trusted: Sequence[str] = ()) -> SweepLesson | None:
    """The lesson of a sweep, if there is one."""
    if component is None:
        return None
    from logreg.core.build import build
    from logreg.lessons.lesson import SweepLesson

    return build(component, SweepLesson, "sweep.lesson", trusted)  # type: ignore[type-abstract]


def quiet_lightning() -> None:
    """Lightning's remarks go to train.log: it gives its logger a handler of its own when it is imported."""
    import lightning  # noqa: F401

    logging.getLogger("lightning").handlers.clear()


def check_device(accelerator: str | None) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        UserError: names the accelerators of this machine.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    available = {"cpu": True, "gpu": cuda or mps, "cuda": cuda, "mps": mps, "auto": True}
    if accelerator is not None and not available[accelerator]:
        valid = ", ".join(name for name, is_available in available.items() if is_available)
        raise UserError(f"accelerator={accelerator}: this machine has no such device; valid here: {valid}.")


def make_data(settings: Settings, trusted: Sequence[str] = ()) -> AnyData:
    """The DataModule of a run, read and split.

    Raises:
        UserError: it does not say how many features a row has.
    """
    from logreg.core.build import build_data
    from logreg.data.adapter import adapted

    module = build_data(settings.data, trusted)
    module.prepare_data()
    module.setup("fit")
    data = adapted(module)
    if settings.class_weight is not None:
        data.weigh_labels(settings.class_weight)
    _ = data.num_features  # which a DataModule may lack
    return data


def make_classifier(
    settings: Settings, features: int, trusted: Sequence[str] = (), firth: float = 0.0
) -> BinaryClassifier:
    """The network of a run, drawn right after its seed, with its optimizer around it."""
    import torch

    from logreg.core.build import build_metrics, build_network, optimizer_factory, scheduler_factory
    from logreg.training.classifier import BinaryClassifier

    optimizer = optimizer_factory(settings.optimizer, trusted)
    scheduler = scheduler_factory(settings.scheduler, trusted)
    torch.manual_seed(settings.seed)
    network = build_network(settings.model, features, trusted)
    return BinaryClassifier(
        network,
        optimizer,
        scheduler,
        loss=settings.loss,
        l1=settings.penalty.l1,
        l2=float(settings.penalty.l2),
        firth=firth,
        threshold=settings.fixed_threshold,
        metrics=build_metrics(settings.metrics, trusted),
        certify_every=settings.certify_every,
        hyperparameters={"model": settings.model.target, "features": features, **vars(settings.penalty)},
    )


def check_separation(separation: bool | str, classifier: BinaryClassifier, data: AnyData) -> None:
    """Refuse to look for what another model than a linear one does not have, or what there is no memory for.

    Raises:
        UserError: ``separation=true`` for such a model, or for so large a table.
    """
    from logreg.evaluation.coefficients.separation import check_memory
    from logreg.optim.objective import linear_coefficients

    if separation is not True:
        return
    if linear_coefficients(classifier.network) is None:
        raise UserError("separation=true needs a linear model, which this one is not; use separation=auto.")
    if data.blocks is not None:
        check_memory(len(data.blocks.rows["train"]), data.num_features)


def threshold_rule(settings: Settings) -> ThresholdRule | None:
    """How to choose the threshold, unless it is a number."""
    from logreg.evaluation.thresholds import ThresholdRule

    costs = settings.costs
    if not isinstance(settings.threshold, str):
        return None
    return ThresholdRule(settings.threshold, costs.false_positive, costs.false_negative)


def wanted_inference(settings: Settings, in_sweep: bool) -> Wanted | None:
    """The inference that a run is to make; in a sweep none that is not asked for by name."""
    from logreg.training.standard_errors import Wanted

    by_name = settings.wants_inference
    if settings.inference == "none" or (in_sweep and not by_name):
        return None
    return Wanted(settings.inference, settings.covariance, by_name)


def splits_in_sweep(settings: Settings, data: AnyData, trusted: Sequence[str]) -> Sequence[str]:
    """The splits that a job of a sweep is measured on: the test rows are kept for the winner, see
    `logreg.sweeps.finish`.

    A job that cannot be loaded again is measured at once, and so is one that is to be judged by its test rows.
    """
    from logreg.data.splits import SPLITS
    from logreg.training.callbacks import Checkpoints

    classes = [locate(callback.target, "callbacks", trusted) for callback in settings.callbacks.values()]
    keeps_state = any(isinstance(cls, type) and issubclass(cls, Checkpoints) for cls in classes)
    later = keeps_state and data.blocks is not None and not settings.monitor.startswith("test/")
    return SPLITS[:2] if later else SPLITS


def choose_optimizer(settings: Settings, data: AnyData, trusted: Sequence[str] = ()) -> tuple[AutoChoice, Component]:
    """What ``optimizer=auto`` is for these rows, by name and as a component.

    Raises:
        UserError: no solver is right: the model is not linear and the penalty not smooth, or the rows come batch by
            batch; or the right one has not a setting that was given.
    """
    from logreg.core.build import build_network
    from logreg.data.rows import SparseRows
    from logreg.optim.auto import choose
    from logreg.optim.objective import linear_coefficients

    table = data.needs_blocks(
        f"optimizer=auto: every solver needs the rows at once, and {data.name} serves them batch by "
        "batch; use adam or sgd, or derive it from BlockData."
    )
    linear = linear_coefficients(build_network(settings.model, data.num_features, trusted)) is not None
    l1, firth = settings.penalty.l1, settings.penalty.firth
    if l1 > 0 and not linear:
        raise UserError("optimizer=auto: no solver takes penalty.l1 for a model that is not linear; use adam or sgd.")
    sparse = isinstance(table.served("train"), SparseRows)
    chosen = choose(len(table.rows["train"]), data.num_features, sparse=sparse, linear=linear, l1=l1, firth=firth)
    file = OmegaConf.load(CONF / "optimizer" / f"{chosen.name}.yaml")
    component = Component.of(OmegaConf.to_container(file.optimizer, resolve=True), "optimizer")
    given = settings.optimizer.arguments
    for key in given.keys() - component.arguments.keys():
        raise UserError(
            f"optimizer.{key}: {chosen.sentence}, and has no such setting; valid: {', '.join(component.arguments)}."
        )
    return chosen, replace(component, arguments={**component.arguments, **given})


def hyperparameters(
    config: Mapping[str, Any], overrides: Sequence[str], choices: Mapping[str, str | None]
) -> dict[str, Any]:
    """What the HParams tab shows of a run: the settings people sweep, and every key and group that was overridden.

    A value that is null is there as text, so that all runs of a sweep have the same keys.

    Args:
        config: with the short keys in force; it need not be valid, since a failed run has its hyperparameters too.
        choices: the groups' files, ``hydra.runtime.choices``.
    """
    values = {}
    for key in (*GROUPS, *HYPERPARAMETERS, *settings_of(list(overrides))):
        value = choices[key] if key in choices else lookup(config, key)
        values[key] = "null" if value is None else value
    if config.get("tags"):
        values["tags"] = ", ".join(map(str, config["tags"]))
    return values
