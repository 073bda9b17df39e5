"""The jobs of one group: their objects, their fits, and what each leaves in its directory."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from tqdm import tqdm

from logreg.cli import trusted_packages
from logreg.errors import UserError
from logreg.experiment import hyperparameters, splits_in_sweep, threshold_rule
from logreg.runs import RunRecord, git_state
from logreg.training import signals_stop
from logreg.vectorized.assemble import Assembler, CannotFuse, Member
from logreg.vectorized.checks import check_space
from logreg.vectorized.chunks import Stack, bytes_on_disk, default_memory, stacks
from logreg.vectorized.compose import ComposedJob
from logreg.vectorized.fit import Fit, Settings
from logreg.vectorized.networks import agree
from logreg.vectorized.results import measure
from logreg.vectorized.writing import JobFiles, write_all

log = logging.getLogger("hydra.logreg")

Jobs = Mapping[int, ComposedJob]
Trained = Iterator[tuple[int, RunRecord]]


@dataclass(frozen=True)
class Options:
    """What a sweep is asked for.

    Attributes:
        memory: bytes that one fit may take; None: a share of what is free.
        figures: the most jobs whose figures are drawn.
        hydra_folder: where Hydra's own files of a job are; None: it writes none.
        log_file: name of a job's log.
    """

    memory: int | None
    figures: int
    hydra_folder: str | None
    log_file: str


class _OutOfMemory(Exception):
    """A fit was too large after all."""


def train_together(jobs: Jobs, configs: Mapping[int, dict[str, Any]], options: Options) -> Trained:
    """Train jobs that are alike and write their directories; yields the position and the record of each.

    Those that turn out not to fit together, or not to be valid, are left out: they say why when they run alone.

    Raises:
        KeyboardInterrupt: after a clean stop by Ctrl-C.
    """
    assembler, members = Assembler(trusted_packages()), []
    try:
        for position in jobs:
            with contextlib.suppress(UserError):
                members.append(assembler.member(position, configs[position]))
        common = assembler.settings(members[0]) if members else None
    except CannotFuse as reason:
        log.info("each by itself, as %s", reason)
        return
    except UserError:
        return
    if common is None:
        return
    memory = options.memory or default_memory()
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
            left = [member for each in (stack, *waiting) for member in each.members if member is not None]
            if stack.counted.sum() == 1:
                raise UserError("a job does not fit into memory; a smaller data.batch_size needs less.") from None
            memory //= 2
            log.info("they do not fit into memory together; trying with vectorized.memory=%d", memory)
            waiting = stacks(left, common, memory)


def _train(jobs: Jobs, stack: Stack, common: Settings, options: Options) -> Trained:
    """Train one stack and write its jobs."""
    began, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    count = int(stack.counted.sum())
    with _failures_named():
        fit = Fit(stack.tables, stack.jobs(), common, stack.counted)
        if not agree(fit.networks, [job.network for job in fit.jobs], fit.batches.x):
            raise CannotFuse("its model gives other values by itself than among others of its kind")
    files = [None if m is None else _files(jobs, m, started, options) for m in stack.members]
    for file in files:
        if file is not None:
            file.begin(fit.settings.device, options.hydra_folder)
    total = max(job.epochs for job in fit.jobs) * fit.batches.batches_per_pass
    log.info("training %d jobs, %d updates each", count, total)
    with signals_stop(fit), _bar(total, " updates", "training") as bar, _failures_named():
        fit.run(bar.update)
    first = next(member for member in stack.members if member is not None)
    rules = [threshold_rule(member.config) if member else None for member in stack.members]
    with _failures_named():
        results = measure(fit, rules, splits_in_sweep(first.config, first.data))
    with _bar(count, " jobs", "writing") as bar:
        for file in write_all(files, fit, results, began):
            bar.update()
            yield file.member.position, file.record
    if fit.interrupt:
        raise KeyboardInterrupt


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


def _files(jobs: Jobs, member: Member, started: str, options: Options) -> JobFiles:
    """The directory of a job, with the record of before it is trained."""
    job, config = jobs[member.position], member.config
    record = RunRecord(overrides=list(job.overrides), started=started, git=git_state())
    record.name, record.seed = str(config["name"]), config["seed"]
    record.monitor = {"metric": config["monitor"], "mode": config["mode"]}
    record.hyperparameters = hyperparameters(config, record, job.choices)
    with_figures = bool(config["figures"]) and max(len(jobs), job.number + 1) <= options.figures
    return JobFiles(job, member, record, with_figures, options.log_file)
