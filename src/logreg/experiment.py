"""One run from start to finish: configuration → objects → fit → results → report; and the end of a sweep.

The heavy imports are inside the functions: a value that is not valid is refused before torch is imported.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from logreg import settings
from logreg.errors import UserError
from logreg.runs import PREPROCESSING, RunRecord, git_state, settings_of, write_atomically

if TYPE_CHECKING:
    from logreg.classifier import BinaryClassifier

log = logging.getLogger(__name__)

# Settings that every run shows in TensorBoard's HParams tab, beside the keys that were overridden.
HYPERPARAMETERS = ("seed", "epochs", "lr", "accelerator", "penalty.l2", "data.batch_size")
GROUPS = ("data", "model", "optimizer", "scheduler")


def run(cfg: DictConfig) -> float | None:
    """Train one configuration in the directory that Hydra gave it.

    Whatever happens is in ``run.json`` when this ends. In a sweep a failure ends here, so that the other jobs still run.

    Returns:
        The final value of ``monitor``, for sweepers that optimise it.

    Raises:
        UserError: outside a sweep, with the sentence that is also in the record.
        KeyboardInterrupt: after a clean stop by Ctrl-C.
    """
    started = time.perf_counter()
    hydra_config = HydraConfig.get()
    directory = Path(hydra_config.runtime.output_dir)
    record = RunRecord(
        overrides=list(hydra_config.overrides.task),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        git=git_state(),
    )
    record.write(directory)
    logging.captureWarnings(True)
    try:
        config = resolve(cfg)
        record.name, record.seed = str(config["name"]), config["seed"]
        record.monitor = {"metric": config["monitor"], "mode": config["mode"]}
        settings.check(config)
        record.write(directory)
        _train(config, directory, record, started)
    except KeyboardInterrupt:
        _fail(record, directory, started, "interrupted", "stopped by a second Ctrl-C; nothing was saved.")
        raise
    except Exception as error:
        sentence = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        _fail(record, directory, started, "failed", " ".join(sentence.split()))
        logging.getLogger().error("the run failed", exc_info=error)  # the traceback goes to train.log alone
        if hydra_config.mode is RunMode.MULTIRUN:
            log.error("job %s failed: %s", hydra_config.job.num, record.error)
            return None
        raise
    return _outcome(record, hydra_config.mode is RunMode.MULTIRUN)


def _fail(record: RunRecord, directory: Path, started: float, status: str, error: str) -> None:
    record.status, record.error = status, error
    record.seconds = {**record.seconds, "total": time.perf_counter() - started}
    record.write(directory)


def _outcome(record: RunRecord, in_sweep: bool) -> float | None:
    if record.status == "interrupted":
        log.info("interrupted: %s", record.error)
        raise KeyboardInterrupt
    if record.status == "diverged":
        if not in_sweep:
            raise UserError(f"the run diverged: {record.error}")
        log.error("a job diverged: %s", record.error)
    return record.metrics.get(record.monitor["metric"])


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values, with ``lr`` and ``accelerator`` naming what is in force.

    Raises:
        UserError: an interpolation leads nowhere, or a value is missing.
    """
    try:
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except (InterpolationKeyError, MissingMandatoryValue) as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}.") from error
    except OmegaConfBaseException as error:
        raise UserError(" ".join(str(error).split())) from error
    assert isinstance(config, dict)
    for group in ("data", "model", "optimizer", "trainer", "penalty"):
        if not isinstance(config[group], dict):
            raise UserError(f"{group}={config[group]}: a group takes the name of a file in conf/{group}.")
    return {str(key): value for key, value in config.items()}


def trusted_packages(overrides: list[str]) -> list[str]:
    """The packages that the command line trusts; a configuration file cannot put itself on that list.

    Raises:
        UserError: the value is not a list of names.
    """
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.key_or_group == "trusted_packages":
            value = override.value()
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                raise UserError(f"{override.input_line}: a list of package names is needed, such as [mypackage].")
            return [str(name) for name in value]
    return []


def _train(config: dict[str, Any], directory: Path, record: RunRecord, started: float) -> None:
    """Objects from the configuration, then fit, results and report; fills in the record."""
    check_device(config["trainer"]["accelerator"])
    _quiet_lightning()
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.loggers import Logger

    from logreg.build import build
    from logreg.report.run import report_run
    from logreg.training import train

    trusted = trusted_packages(record.overrides)
    data = make_data(config, trusted)
    if hasattr(data, "standardizer"):
        write_atomically(directory / PREPROCESSING, data.standardizer.to_json(data.source.features))
    where = {"save_dir": str(directory), "directory": str(directory)}
    loggers = [build(node, Logger, f"logger.{key}", trusted, **where) for key, node in parts(config["logger"])]
    classifier = make_classifier(config, data.num_features, trusted)
    callbacks = [build(node, Callback, f"callbacks.{key}", trusted) for key, node in parts(config["callbacks"])]
    trainer = build(
        config["trainer"],
        Trainer,
        "trainer",
        trusted,
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=str(directory),
    )
    train(data, classifier, trainer, resume=config["resume"], record=record)
    record.seconds["total"] = time.perf_counter() - started
    report_run(record, classifier, data, loggers, directory, hyperparameters(config, record), config["figures"])
    record.seconds["total"] = time.perf_counter() - started
    record.write(directory)


def _quiet_lightning() -> None:
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


def make_data(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> Any:
    """The DataModule of a configuration, read and split.

    Raises:
        UserError: it does not say how many features a row has.
    """
    from lightning.pytorch import LightningDataModule

    from logreg.build import build

    data = build(config["data"], LightningDataModule, "data", trusted)
    data.prepare_data()
    data.setup("fit")
    if not hasattr(data, "num_features"):
        raise UserError(f"data: {type(data).__name__} needs an attribute num_features, the columns of a row.")
    return data


def make_classifier(config: Mapping[str, Any], features: int, trusted: Sequence[str] = ()) -> BinaryClassifier:
    """The network of a configuration, drawn right after its seed, with its optimizer around it."""
    import torch

    from logreg.build import build_network, optimizer_factory, scheduler_factory
    from logreg.classifier import BinaryClassifier

    optimizer = optimizer_factory(config["optimizer"], trusted)
    scheduler = scheduler_factory(config["scheduler"], trusted)
    torch.manual_seed(config["seed"])
    network = build_network(config["model"], features, trusted)
    return BinaryClassifier(
        network,
        optimizer,
        scheduler,
        l2=config["penalty"]["l2"],
        threshold=config["threshold"],
        hyperparameters={"model": config["model"]["_target_"], "features": features, "l2": config["penalty"]["l2"]},
    )


def parts(group: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    """The named entries of a group such as callbacks; one that is null is switched off."""
    return [(key, node) for key, node in (group or {}).items() if node is not None]


def hyperparameters(config: Mapping[str, Any], record: RunRecord) -> dict[str, Any]:
    """What the HParams tab shows of a run: the settings people sweep, and every key that was overridden."""
    choices = HydraConfig.get().runtime.choices
    values = {group: choices[group] for group in GROUPS}
    for key in (*HYPERPARAMETERS, *settings_of(record.overrides)):
        value = OmegaConf.select(OmegaConf.create(dict(config)), key)
        if key not in choices and value is not None:
            values[key] = value
    return values


def finish_sweep(directory: Path) -> int:
    """Write the leaderboard of a sweep and show its top.

    Returns:
        How many jobs failed, diverged or were interrupted.
    """
    from rich.console import Console

    from logreg.report import leaderboard

    jobs = leaderboard.read_jobs(directory)
    if not jobs:
        return 0
    leaderboard.write(directory, jobs)
    leaderboard.show(directory, jobs, Console())
    failed = leaderboard.failures(jobs)
    if failed:
        print(f"error: {len(failed)} of {len(jobs)} jobs did not complete:", file=sys.stderr)
        for job in sorted(failed, key=lambda job: job.number):
            print(f"  job {job.number} {job.record['status']}: {job.record.get('error')}", file=sys.stderr)
    return len(failed)
