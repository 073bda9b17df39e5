"""The run directories of a fused fit's jobs: for each what a run alone would have left."""

from __future__ import annotations

import csv
import functools
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import __version__ as lightning_version
from lightning.pytorch.loggers import CSVLogger

from logreg.core.components import Component
from logreg.core.errors import plural
from logreg.core.files import open_atomically, write_atomically
from logreg.core.provenance import versions
from logreg.data.datamodule import BlockData
from logreg.data.images.data import ImageData
from logreg.evaluation.reliability import accuracy_intervals
from logreg.records.record import PREPROCESSING, Evaluated, RunRecord, write_settings
from logreg.report.figures import boundary, photos
from logreg.report.run import draw_run
from logreg.report.tensorboard.events import EventFile, TensorBoardLogger
from logreg.report.tensorboard.texts import write_texts
from logreg.report.terminal.coefficients import coefficients
from logreg.sweeps.fused.composed_job import ComposedJob
from logreg.sweeps.fused.fit import Fit, JobStates
from logreg.sweeps.fused.members import GroupMember
from logreg.sweeps.fused.obstacle import class_of
from logreg.sweeps.fused.results import Results
from logreg.training.callbacks import Checkpoints

LOG_FORMAT = logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] %(message)s")  # as in conf/hydra/job_logging

History = list[tuple[int, dict[str, float]]]  # step and values, with the epoch among those of training


def history(fit: Fit, job: int) -> History:
    """The rows of ``metrics.csv`` in the order in which a run alone logs them."""
    updates, per_pass = int(fit.final_updates[job]), fit.batches.batches_per_pass
    rows: list[tuple[int, int, dict[str, float]]] = [
        (step, 0, {f"val/{name}": float(of_jobs[job]) for name, of_jobs in values.items()})
        for step, values, counts in fit.validations
        if counts[job] and step <= updates
    ]
    for i, (step, losses, accuracies) in enumerate(zip(fit.steps, fit.losses, fit.accuracies, strict=True)):
        if step >= updates:
            break
        values = {"epoch": step // per_pass, "train/loss": float(losses[job]), "train/accuracy": float(accuracies[job])}
        if fit.solver_values:
            values |= {name: float(of_jobs[job]) for name, of_jobs in fit.solver_values[i].items()}
        rows.append((step, 1, values))
    rows.sort(key=lambda row: row[:2])
    return [(step, values) for step, _, values in rows]


@functools.lru_cache(maxsize=1)  # jobs of one table follow each other
def _as_json(data: BlockData) -> str:
    """The content of ``preprocessing.json``."""
    return data.preprocessor.to_json()


@dataclass
class JobFiles:
    """Writes the directory of one job."""

    job: ComposedJob
    member: GroupMember
    record: RunRecord  # with what was known before training
    with_figures: bool  # draw the job's figures, which takes longer than everything else
    log_file: str

    def __post_init__(self) -> None:
        self.directory, self.settings, self.data = self.job.directory, self.member.settings, self.member.data

    def begin(self, device: torch.device, hydra_folder: str | None) -> None:
        """What a run alone has written when its training starts."""
        record = self.record
        self.directory.mkdir(parents=True, exist_ok=True)
        if hydra_folder is not None:
            (self.directory / hydra_folder).mkdir(exist_ok=True)
            for name, text in self.job.hydra_files().items():
                (self.directory / hydra_folder / name).write_text(text, encoding="utf-8")
        write_settings(self.directory, self.settings)
        write_atomically(self.directory / PREPROCESSING, _as_json(self.data))
        self._log(self.member.notes)
        record.hyperparameters["penalty.l2"] = self.settings.penalty.l2
        record.versions, record.device, record.data = versions(), str(device), self.data.describe()
        record.write(self.directory)

    def drawn_updates(self, fit: Fit) -> set[int]:
        """The updates after which there is something to draw into TensorBoard; none where no figures are drawn."""
        if not (self.with_figures and self._logs(TensorBoardLogger)):
            return set()
        epochs, per_pass = self.settings.epochs, fit.batches.batches_per_pass
        if self._callback(boundary.BoundarySeries) is not None and boundary.is_plane(self.data):
            return set(boundary.moments(epochs * per_pass))
        grids = self._callback(photos.PhotoGrids)
        if grids is not None and isinstance(self.data, ImageData) and len(fit.held_out):
            every = grids.arguments["every_n_epochs"]
            assert isinstance(every, int)
            passes = photos.moments(epochs, every, fit.settings.validate_every)
            return {number * per_pass for number in passes}
        return set()

    def _log(self, lines: Iterable[logging.LogRecord]) -> None:
        with (self.directory / self.log_file).open("a", encoding="utf-8") as file:
            file.writelines(f"{LOG_FORMAT.format(line)}\n" for line in lines)

    def write(self, fit: Fit, results: Results, job: int, share: float, with_layout: bool) -> None:
        """What the fit gave, the record last.

        Args:
            share: seconds of the job, of those that all took together.
            with_layout: lay out TensorBoard's charts, which one job does for all.
        """
        started, record = time.perf_counter(), self.record
        rows, updates = history(fit, job), int(fit.final_updates[job])
        record.updates, record.epochs = updates, updates // fit.batches.batches_per_pass
        record.end(fit.status[job])
        record.intervals = accuracy_intervals(record.metrics, self.data)
        if fit.last.saved[job]:  # as all are but those that diverged before their very last update
            which, state = ("best", fit.best) if results.uses_best[job] else ("last", fit.last)
            record.evaluated = Evaluated(which, int(state.updates[job]))
        if self._logs(CSVLogger):
            self._write_csv(rows)
        events = EventFile(self.directory) if self._logs(TensorBoardLogger) else None
        if events is not None:
            for step, values in rows:
                events.scalars({tag: value for tag, value in values.items() if tag != "epoch"}, step)
            if with_layout:
                events.layout()
        if self.with_figures:
            self._draw(results, job, events, share)
            if events is not None:
                self._draw_series(fit, results, job, events)
        if events is not None:
            events.finish(record)
        if self._callback(Checkpoints) is not None:
            self._write_checkpoints(fit, job)
        if record.metrics:
            table = coefficients(results.classifier_of(job), self.data.preprocessor, record.optimality, None)
            if table is not None:
                table.write(self.directory)
        self._log([outcome(record)])
        record.seconds = {"fit": share, "total": share + time.perf_counter() - started}
        record.write(self.directory)

    def _draw(self, results: Results, job: int, events: EventFile | None, share: float) -> None:
        """The figures and, as they take as long, the curves and texts in TensorBoard."""
        record = self.record
        if record.metrics:
            draw_run(record, results.classifier_of(job), self.data, self.directory, events)
        if events is not None:
            record.seconds = {"fit": share}
            write_texts(events, record, self.settings, self.directory)

    def _draw_series(self, fit: Fit, results: Results, job: int, events: EventFile) -> None:
        """The decision boundary or the grids of photos on their way, as callbacks draw those of a run alone."""
        last, due = int(fit.final_updates[job]), self.drawn_updates(fit)
        passed = sorted(update for update in due & fit.copied_parameters.keys() if update <= last)
        states = {update: fit.networks.state_dict_of(job, fit.copied_parameters[update]) for update in passed}
        if fit.last.saved[job] and due:
            states[last] = fit.networks.state_dict_of(job, fit.last.parameters)
        classifier = results.classifier_of(job)
        if not isinstance(self.data, ImageData):
            boundary.write_series(events, classifier, states if passed else {}, self.data)
            return
        classifier = classifier.to(fit.settings.dtype)
        classifier.decide(fit.jobs[job].threshold, None)  # as it is before the end
        for update in sorted(states.keys() & due):
            classifier.network.load_state_dict(states[update], strict=False)
            photos.write_grids(events, classifier, self.data, update)

    def _callback(self, cls: type) -> Component | None:
        return next((each for each in self.settings.callbacks.values() if class_of(each) is cls), None)

    def _logs(self, cls: type) -> bool:
        return any(class_of(each) is cls for each in self.settings.logger.values())

    def _write_csv(self, rows: History) -> None:
        names = sorted({"step", *(name for _, values in rows for name in values)})
        if len(names) > 1:
            with open_atomically(self.directory / "metrics.csv") as file:
                writer = csv.writer(file)  # twice as fast as one of dictionaries
                writer.writerow(names)
                for step, values in rows:
                    row = {"step": step, **values}
                    writer.writerow([row.get(name, "") for name in names])

    def _write_checkpoints(self, fit: Fit, job: int) -> None:
        folder = self.directory / "checkpoints"
        for name, state in (("best", fit.best), ("last", fit.last)):
            if state.saved[job]:
                folder.mkdir(exist_ok=True)
                save(self.checkpoint(fit, state, job), folder / f"{name}.ckpt")
        if fit.last.saved[job] and not fit.best.saved[job]:
            (folder / "best.ckpt").write_bytes((folder / "last.ckpt").read_bytes())

    def checkpoint(self, fit: Fit, state: JobStates, job: int) -> dict[str, Any]:
        """What Lightning saves of a run, without the counters of its loops, which a resume does not read."""
        updates = int(state.updates[job])
        parameters = fit.networks.state_dict_of(job, state.parameters)
        passes, batches = divmod(updates, fit.batches.batches_per_pass)
        position = {"passes": passes, "batches": batches}
        scheduler = state.schedulers.get(job)
        names = {"model": self.settings.model.target, "features": self.data.num_features}
        return {
            "epoch": int(state.epoch[job]),
            "global_step": updates,
            "pytorch-lightning_version": lightning_version,
            "state_dict": {f"network.{name}": value for name, value in parameters.items()},
            "callbacks": state.callbacks[job],
            "optimizer_states": [state.optimizer.state_dict_of(job)],
            "lr_schedulers": [scheduler] if scheduler else [],
            "hparams_name": "hyperparameters",
            "hyper_parameters": names | dict(vars(self.settings.penalty)),
            type(self.data).__qualname__: {**self.data.state_dict(), **position},
            "logreg": {
                "optimizer": fit.settings.optimizer.__name__,
                "loss": fit.settings.loss.name,
                "random_state": {"cpu": self.member.random_state},
            },
        }


def save(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint, which appears under its name when it is complete."""
    part = path.with_name(f".{path.name}.part")
    torch.save(dict(checkpoint), part)
    part.replace(path)


def outcome(record: RunRecord) -> logging.LogRecord:
    """How a job ended, for its log."""
    losses = [f"{name} {value:.6g}" for name, value in record.metrics.items() if name.endswith("/loss")]
    text = (
        f"{record.status} after {plural(record.updates, 'update')} in a fused fit: {record.error or ', '.join(losses)}"
    )
    return logging.makeLogRecord({"name": __name__, "levelno": logging.INFO, "levelname": "INFO", "msg": text})
