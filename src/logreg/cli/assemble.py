"""From a resolved configuration to its objects: data, classifier, Trainer, lesson.

The heavy imports are inside the functions, as in `logreg.cli.experiment`. Nothing here knows Hydra.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from logreg.core import settings
from logreg.core.errors import UserError
from logreg.core.settings import CONF, is_auto

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from logreg.data.adapter import AnyData
    from logreg.evaluation.thresholds import ThresholdRule
    from logreg.optim.auto import Choice
    from logreg.training.classifier import BinaryClassifier
    from logreg.training.standard_errors import Wanted


log = logging.getLogger(__name__)

PHOTOS = "logreg.data.ImageFolderData"


def assemble(
    config: dict[str, Any], directory: Path, trusted: Sequence[str] = ()
) -> tuple[AnyData, BinaryClassifier, Trainer]:
    """The objects of a resolved configuration: DataModule, classifier, and a Trainer that writes into ``directory``.

    A penalty or an optimizer that depends on the rows is put into the configuration.
    """
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.loggers import Logger

    from logreg.core.build import build

    data = make_data(config, trusted)
    if config["penalty"]["l2"] == settings.AUTO:
        config["penalty"]["l2"] = 1 / data.training_weight
    if is_auto(config):
        choice, config["optimizer"] = chosen_optimizer(config, data, trusted)
        config["chosen"] = {"name": choice.name, "why": choice.why}
        log.info(choice.sentence)
    where = {"save_dir": str(directory), "directory": str(directory)}
    loggers = [build(node, Logger, f"logger.{key}", trusted, **where) for key, node in parts(config["logger"])]
    callbacks = [build(node, Callback, f"callbacks.{key}", trusted) for key, node in parts(config["callbacks"])]
    firth = 1 / data.training_weight if config["penalty"].get("firth") else 0.0
    classifier = make_classifier(config, data.num_features, trusted, firth)
    trainer = build(
        config["trainer"],
        Trainer,
        "trainer",
        trusted,
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=str(directory),
    )
    return data, classifier, trainer


def make_lesson(node: Mapping[str, Any] | str | None, key: str, trusted: Sequence[str] = ()) -> Any:
    """The lesson of a run, ``lesson``, or of a sweep, ``sweep.lesson``; None where there is none."""
    if node is None:
        return None
    if isinstance(node, str):
        raise UserError(
            f"{key}={node}: a lesson is an experiment; use one of conf/experiment/lessons, as in "
            "experiment=lessons/sigmoid."
        )
    from logreg.core.build import build
    from logreg.lessons.lesson import Lesson, SweepLesson

    return build(node, SweepLesson if key == "sweep.lesson" else Lesson, key, trusted)


def check_photos(node: Mapping[str, Any]) -> None:
    """Look for the photos of a folder before anything heavy is imported.

    Raises:
        UserError: there are none, or not of two classes.
    """
    if node.get("_target_") == PHOTOS and isinstance(node.get("path"), str):
        from logreg.data.images.discover import find_photos
        from logreg.data.labels import label_text

        find_photos(node["path"], label_text(node.get("positive")))


def quiet_lightning() -> None:
    """Lightning's remarks go to train.log: it gives its logger a handler of its own when it is imported."""
    import lightning  # noqa: F401

    logging.getLogger("lightning").handlers.clear()


def check_device(accelerator: str) -> None:
    """Refuse a device that is not there.

    Raises:
        UserError: names the accelerators of this machine.
    """
    import torch

    there = {"gpu": torch.cuda.is_available() or torch.backends.mps.is_available()}
    there |= {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(accelerator, True):
        valid = [name for name, found in {"cpu": True, **there, "auto": True}.items() if found]
        raise UserError(f"accelerator={accelerator}: this machine has no such device; valid here: {', '.join(valid)}.")


def make_data(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> AnyData:
    """The DataModule of a configuration, read and split.

    Raises:
        UserError: it does not say how many features a row has.
    """
    from lightning.pytorch import LightningDataModule

    from logreg.core.build import build
    from logreg.data.adapter import adapted

    module = build(config["data"], LightningDataModule, "data", trusted)
    module.prepare_data()
    module.setup("fit")
    data = adapted(module)
    if config.get("class_weight") is not None:
        data.weigh_labels(config["class_weight"])
    _ = data.num_features  # which a DataModule may lack
    return data


def make_classifier(
    config: Mapping[str, Any], features: int, trusted: Sequence[str] = (), firth: float = 0.0
) -> BinaryClassifier:
    """The network of a configuration, drawn right after its seed, with its optimizer around it."""
    import torch

    from logreg.core.build import build_metrics, build_network, optimizer_factory, scheduler_factory
    from logreg.training.classifier import BinaryClassifier

    optimizer = optimizer_factory(config["optimizer"], trusted)
    scheduler = scheduler_factory(config["scheduler"], trusted)
    torch.manual_seed(config["seed"])
    network = build_network(config["model"], features, trusted)
    return BinaryClassifier(
        network,
        optimizer,
        scheduler,
        loss=config.get("loss", "log_loss"),
        l1=config["penalty"]["l1"],
        l2=config["penalty"]["l2"],
        firth=firth,
        threshold=config["threshold"] if isinstance(config["threshold"], float) else 0.5,
        metrics=build_metrics(config["metrics"], trusted),
        certify_every=config.get("certify_every"),
        hyperparameters={"model": config["model"]["_target_"], "features": features, **config["penalty"]},
    )


def check_separation(config: Mapping[str, Any], classifier: BinaryClassifier, data: AnyData) -> None:
    """Refuse to look for what another model than a linear one does not have, or what there is no memory for.

    Raises:
        UserError: ``separation=true`` for such a model, or for so large a table.
    """
    from logreg.evaluation.coefficients.separation import check_memory
    from logreg.optim.objective import linear_coefficients

    if config.get("separation") is not True:
        return
    if linear_coefficients(classifier.network) is None:
        raise UserError("separation=true needs a linear model, which this one is not; use separation=auto.")
    if data.blocks is not None:
        check_memory(len(data.blocks.rows["train"]), data.num_features)


def threshold_rule(config: Mapping[str, Any]) -> ThresholdRule | None:
    """How to choose the threshold, unless it is a number."""
    from logreg.evaluation.thresholds import ThresholdRule

    return ThresholdRule(config["threshold"], **config["costs"]) if isinstance(config["threshold"], str) else None


def wanted_inference(config: Mapping[str, Any], in_sweep: bool) -> Wanted | None:
    """The inference that a run is to make; in a sweep none that is not asked for by name."""
    from logreg.training.standard_errors import Wanted

    by_name = settings.wants_inference(config)
    if config["inference"] == "none" or (in_sweep and not by_name):
        return None
    return Wanted(config["inference"], config["covariance"], by_name)


def splits_in_sweep(config: Mapping[str, Any], data: AnyData) -> Sequence[str]:
    """The splits that a job of a sweep is measured on: the test rows are kept for the winner, see
    `logreg.sweeps.finish`.

    A job that cannot be loaded again is measured at once, and so is one that is to be judged by its test rows.
    """
    from logreg.data.splits import SPLITS

    keeps = any(
        node.get("_target_") == "logreg.training.callbacks.Checkpoints" for _, node in parts(config["callbacks"])
    )
    later = keeps and data.blocks is not None and not config["monitor"].startswith("test/")
    return SPLITS[:2] if later else SPLITS


def parts(group: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    """The named entries of a group such as callbacks; one that is null is switched off."""
    return [(key, node) for key, node in (group or {}).items() if node is not None]


def chosen_optimizer(
    config: Mapping[str, Any], data: AnyData, trusted: Sequence[str] = ()
) -> tuple[Choice, dict[str, Any]]:
    """The choice, and the ``optimizer`` node that it stands for.

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
    linear = linear_coefficients(build_network(config["model"], data.num_features, trusted)) is not None
    l1 = config["penalty"]["l1"]
    if l1 > 0 and not linear:
        raise UserError("optimizer=auto: no solver takes penalty.l1 for a model that is not linear; use adam or sgd.")
    sparse = isinstance(table.served("train"), SparseRows)
    firth = bool(config["penalty"].get("firth"))
    choice = choose(len(table.rows["train"]), data.num_features, sparse=sparse, linear=linear, l1=l1, firth=firth)
    given = {key: value for key, value in config["optimizer"].items() if key != "_target_"}
    node = _node(choice.name)
    for key in given.keys() - node.keys():
        valid = ", ".join(name for name in node if name != "_target_")
        raise UserError(f"optimizer.{key}: {choice.sentence}, and has no such setting; valid: {valid}.")
    return choice, node | given


def _node(name: str) -> dict[str, Any]:
    """What ``optimizer=<name>`` puts into a configuration."""
    file = OmegaConf.load(CONF / "optimizer" / f"{name}.yaml")
    container: Any = OmegaConf.to_container(file, resolve=True)
    return container["optimizer"]
