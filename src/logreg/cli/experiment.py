"""One run from start to finish: configuration → objects → fit → results → report.

The heavy imports are inside the functions: a value that is not valid is refused before torch is imported.
"""

from __future__ import annotations

import logging
import signal
import time
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from logreg.cli import pages, plain, trusted_packages
from logreg.cli.assemble import (
    assemble,
    check_device,
    check_separation,
    hyperparameters,
    make_lesson,
    quiet_lightning,
    splits_in_sweep,
    threshold_rule,
    wanted_inference,
)
from logreg.cli.configuration import parse
from logreg.core.errors import UserError, plural
from logreg.core.files import write_atomically
from logreg.core.settings import Settings, complete, in_force
from logreg.records.checkpoints import find_checkpoint
from logreg.records.record import PREPROCESSING, Monitor, RunRecord, shown, write_settings

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Train one configuration in the directory that Hydra gave it.

    Whatever happens is in ``run.json`` when this ends. In a sweep a failure ends here: the other jobs still run.

    Returns:
        The final value of ``monitor``, for sweepers that optimise it.

    Raises:
        UserError: outside a sweep, with the sentence that is also in the record.
        KeyboardInterrupt: after a clean stop by Ctrl-C.
    """
    started = time.perf_counter()
    hydra_config = HydraConfig.get()
    directory = Path(hydra_config.runtime.output_dir)
    record = RunRecord.begun(hydra_config.overrides.task)
    record.write(directory)
    logging.captureWarnings(True)
    terminated = signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same as Ctrl-C, also outside of fit
    try:
        config = complete(plain(cfg))
        record.name, record.seed = str(config["name"]), config["seed"]
        record.monitor = Monitor(config["monitor"], config["mode"])
        choices = hydra_config.runtime.choices
        record.hyperparameters = hyperparameters(in_force(config), record.overrides, choices)
        settings = parse(config, trusted_packages())
        record.tags = list(map(str, settings.tags))
        if isinstance(settings.threshold, float):
            record.threshold = settings.threshold
        write_settings(directory, settings)
        if settings.data.folder is not None:  # seen before anything heavy is imported
            from logreg.data.images.discover import find_photos

            find_photos(settings.data.folder.path, settings.data.folder.positive, settings.data.split.folds)
        if settings.resume is not None:
            settings = replace(settings, resume=str(find_checkpoint(settings.resume)))
        record.write(directory)
        _train(settings, directory, record, started)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
        saved = (directory / "checkpoints" / "last.ckpt").exists()
        where = "after training, before the results were complete" if saved else "before there was anything to save"
        _fail(record, directory, started, "interrupted", f"stopped {where}.")
        log.info("interrupted: %s", record.error)
        raise KeyboardInterrupt from None
    except Exception as error:
        sentence = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        _fail(record, directory, started, "failed", " ".join(sentence.split()))
        logging.getLogger().error("the run failed", exc_info=error)  # the traceback goes to train.log alone
        if hydra_config.mode is RunMode.MULTIRUN:
            log.error("job %s failed: %s", hydra_config.job.num, record.error)
            from logreg.report.tensorboard.events import EventFile

            EventFile(directory).finish(record)  # its row in the HParams tab; what it wrote before it failed stays
            return None
        raise
    finally:
        signal.signal(signal.SIGTERM, terminated)
    if settings.report and hydra_config.mode is RunMode.RUN:
        pages.write_page_of("run", directory, trusted_packages())
    return _outcome(record, directory, hydra_config.mode is RunMode.MULTIRUN)


def _fail(record: RunRecord, directory: Path, started: float, status: str, error: str) -> None:
    record.end(status, error)
    record.seconds = {**record.seconds, "total": time.perf_counter() - started}
    record.write(directory)


def _outcome(record: RunRecord, directory: Path, in_sweep: bool) -> float | None:
    if record.status == "interrupted":
        log.info(
            "interrupted after %s; resume=%s goes on from here", plural(record.updates, "update"), shown(directory)
        )
        raise KeyboardInterrupt
    if record.status == "diverged":
        if not in_sweep:
            raise UserError(f"the run diverged: {record.error}")
        log.error("a job diverged: %s", record.error)
    return record.score


def _train(settings: Settings, directory: Path, record: RunRecord, started: float) -> None:
    """Objects from the configuration, then fit, results and report; fills in the record."""
    check_device(settings.trainer.accelerator)
    quiet_lightning()
    from rich.console import Console

    from logreg.data.splits import SPLITS
    from logreg.evaluation.coefficients.optimality import MOST_SEARCHED, MOST_SEARCHED_IN_SWEEP
    from logreg.report.run import report_run
    from logreg.training.baseline import check_baseline, linear_baseline
    from logreg.training.checks import check_monitor
    from logreg.training.loop import train
    from logreg.training.standard_errors import check_model, infer_run

    lesson = make_lesson(settings.lesson, trusted_packages())
    settings, data, classifier, trainer = assemble(settings, directory, trusted_packages())
    write_settings(directory, settings)  # with what the rows decided
    record.hyperparameters["penalty.l2"] = settings.penalty.l2
    if settings.chosen is not None:
        record.optimizer = settings.chosen
        record.hyperparameters["optimizer"] = settings.chosen.name
    if data.blocks is not None:
        write_atomically(directory / PREPROCESSING, data.blocks.preprocessor.to_json())
        check_monitor(settings.monitor, classifier, data.blocks)
    record.data = data.describe()
    record.write(directory)
    if lesson is not None:
        lesson.check(data, classifier)
    brief = HydraConfig.get().mode is RunMode.MULTIRUN
    splits = splits_in_sweep(settings, data, trusted_packages()) if brief else SPLITS
    rule = threshold_rule(settings)
    wanted = wanted_inference(settings, brief)
    check_separation(settings.separation, classifier, data)
    table = check_baseline(data) if settings.baseline else None
    if wanted is not None and wanted.by_name:
        check_model(classifier, data)
    most = settings.most_searched(MOST_SEARCHED_IN_SWEEP if brief and wanted is None else MOST_SEARCHED)
    train(data, classifier, trainer, settings.resume, record, rule, splits, most, settings.calibration)
    if table is not None and record.status == "completed":
        record.baseline = linear_baseline(table, classifier, rule, splits)
    inference = None if wanted is None else infer_run(record, classifier, data, wanted)
    record.seconds["total"] = time.perf_counter() - started
    report_run(record, classifier, data, trainer, directory, settings.figures, brief, inference)
    if lesson is not None and record.metrics and data.blocks is not None:
        lesson.teach(data.blocks, classifier).write(lesson, directory, Console())
    record.seconds["total"] = time.perf_counter() - started
    record.write(directory)
