"""The jobs of one group: their objects, their fits, and what each leaves in its directory."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import torch
from tqdm import tqdm

from logreg.cli import trusted_packages
from logreg.cli.assemble import hyperparameters, splits_in_sweep, threshold_rule
from logreg.core.errors import UserError, plural
from logreg.core.settings import Settings, Vectorized
from logreg.evaluation.coefficients.optimality import MOST_SEARCHED_IN_SWEEP
from logreg.optim.solver import Solver
from logreg.records.record import Monitor, RunRecord
from logreg.sweeps.fused.chunks import Stack, bytes_on_disk, default_memory, stacks
from logreg.sweeps.fused.composed_job import AllRefused, ComposedJob, check_space
from logreg.sweeps.fused.files import JobFiles
from logreg.sweeps.fused.fit import Fit, GroupSettings
from logreg.sweeps.fused.members import Assembler, CannotFuse, GroupMember
from logreg.sweeps.fused.networks import agree
from logreg.sweeps.fused.results import Results, measure
from logreg.sweeps.fused.solver_fit import SolverFit
from logreg.training.signals import signals_stop

log = logging.getLogger("hydra.logreg")

ComposedJobs = Mapping[int, ComposedJob]
Trained = Iterator[tuple[int, RunRecord]]


@dataclass(frozen=True)
class FusedOptions:
    """What a sweep is asked for."""

    vectorized: Vectorized
    hydra_folder: str | None  # where Hydra's own files of a job are; None: it writes none
    log_file: str  # name of a job's log


class _OutOfMemory(Exception):
    """A fit was too large after all."""


def train_together(jobs: ComposedJobs, settings: Mapping[int, Settings], options: FusedOptions) -> Trained:
    """Train jobs that are alike and write their directories; yields the position and the record of each.

    Those that turn out not to fit together, or not to be valid, are left out: they say why when they run alone.

    Raises:
        AllRefused: none of them is valid; nothing has been written then.
        KeyboardInterrupt: after a clean stop by Ctrl-C.
    """
    try:
        members, common = _assembled(jobs, settings)
    except CannotFuse as reason:
        log.info("each by itself, as %s", reason)
        return
    memory = int(options.vectorized.memory) if options.vectorized.memory else default_memory(common.device)
    waiting = stacks(members, common, memory)
    check_space(
        next(iter(jobs.values())).directory.parent, len(members), max(bytes_on_disk(m, common) for m in members)
    )
    while waiting:
        stack = waiting.pop(0)
        try:
            yield from _train(jobs, stack, common, options)
        except CannotFuse as reason:
            log.info("each by itself, as %s", reason)
        except _OutOfMemory:
            if stack.counted.sum() == 1:
                log.info("a job by itself, as it does not fit into memory with others")
                continue
            memory //= 2
            log.info("they do not fit into memory together; trying with vectorized.memory=%d", memory)
            left = [member for each in (stack, *waiting) for member in each.members if member is not None]
            waiting = stacks(left, common, memory)
        except Exception as error:  # each says by itself what is wrong with it
            log.info("each by itself, as together they failed (%s: %s)", type(error).__name__, error)


def _assembled(jobs: ComposedJobs, settings: Mapping[int, Settings]) -> tuple[list[GroupMember], GroupSettings]:
    """The jobs that are valid, and what they have in common."""
    assembler, members = Assembler(trusted_packages()), []
    errors: dict[int, UserError] = {}
    for position in jobs:
        try:
            members.append(assembler.member(position, settings[position]))
        except UserError as error:
            errors[position] = error
    try:
        if members:
            return members, assembler.common(members[0])
    except UserError as error:
        errors |= {member.position: error for member in members}
    raise AllRefused(errors)


def _train(jobs: ComposedJobs, stack: Stack, common: GroupSettings, options: FusedOptions) -> Trained:
    """Train one stack and write its jobs; a signal ends the training, and what was trained is written."""
    began, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    with _failures_named():
        form = SolverFit if issubclass(common.optimizer, Solver) else Fit
        fit = form(stack.tables, stack.jobs(), common, stack.counted)
        if not agree(fit.networks, [job.network for job in fit.jobs], fit.batches.x):
            raise CannotFuse("its model gives other values by itself than among others of its kind")
    with signals_stop(fit.stop):
        files = {i: _files(jobs, m, started, options) for i, m in enumerate(stack.members) if m is not None}
        for file in files.values():
            file.begin(fit.settings.device, options.hydra_folder)
            fit.copy_before(file.drawn_updates(fit))
        records = [files[i].record if i in files else RunRecord() for i in range(len(stack.members))]
        results = _results(fit, stack, records)
        share = (time.perf_counter() - began) / len(files)
        with _bar(len(files), " jobs", "writing") as bar:
            for job, file in files.items():
                file.write(fit, results, job, share, job == min(files))
                bar.update()
                yield file.member.position, file.record
    if fit.interrupt:
        raise KeyboardInterrupt


def _results(fit: Fit, stack: Stack, records: Sequence[RunRecord]) -> Results:
    """Train and measure; what comes out goes into the records."""
    epochs = [job.epochs for job, counts in zip(fit.jobs, stack.counted, strict=True) if counts]
    total, count = max(epochs) * fit.batches.batches_per_pass, len(epochs)
    most = "at most " if min(epochs) < max(epochs) or isinstance(fit, SolverFit) else ""  # a solver stops by itself
    each = " each" if count > 1 else ""
    log.info("training %s, %s%s%s", plural(count, "job"), most, plural(total, "update"), each)
    with _bar(total, " updates", "training") as bar, _failures_named():
        fit.run(bar.update)
    first = next(member for member in stack.members if member is not None)
    rules = [threshold_rule(member.settings) if member else None for member in stack.members]
    methods = [member.settings.calibration if member else None for member in stack.members]
    splits = splits_in_sweep(first.settings, first.data, trusted_packages())
    with _failures_named():
        searched = first.settings.most_searched(MOST_SEARCHED_IN_SWEEP)
        return measure(fit, rules, records, splits, methods, searched)


def _bar(total: int, unit: str, what: str) -> tqdm:
    return tqdm(total=total, unit=unit, desc=what, disable=not sys.stderr.isatty(), leave=False)


@contextlib.contextmanager
def _failures_named() -> Iterator[None]:
    """Tell a fit that is too large from a model that torch.func cannot take."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise _OutOfMemory from error
        raise CannotFuse(f"its model cannot be vectorized ({str(error).splitlines()[0]})") from error


def _files(jobs: ComposedJobs, member: GroupMember, started: str, options: FusedOptions) -> JobFiles:
    """The directory of a job, with the record of before it is trained."""
    job, settings = jobs[member.position], member.settings
    record = RunRecord.begun(job.overrides, started)
    record.name, record.seed = str(settings.name), settings.seed
    record.tags = list(map(str, settings.tags))
    record.monitor = Monitor(settings.monitor, settings.mode)
    record.hyperparameters = hyperparameters(settings.as_config(), record.overrides, job.choices)
    with_figures = settings.figures and max(len(jobs), job.number + 1) <= options.vectorized.figures
    return JobFiles(job, member, record, with_figures, options.log_file)
