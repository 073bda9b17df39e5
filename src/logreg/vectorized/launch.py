"""A sweep's jobs from their overrides to their directories: composed, grouped, trained together, written.

What cannot be fused runs as it would without this launcher, one job after the other.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from logreg import settings
from logreg.cli import trusted_packages
from logreg.errors import UserError
from logreg.experiment import hyperparameters, in_force, quiet_lightning, threshold_rule, with_groups
from logreg.runs import CONFIG, RECORD, RunRecord, git_state, read_record
from logreg.settings import AUTO
from logreg.vectorized.compose import ComposedJob, compose_jobs
from logreg.vectorized.plan import Group, plan

log = logging.getLogger("hydra.logreg")  # its lines are Hydra's own: a job's logging is not set up yet


BYTES_OF_A_JOB, FILES_OF_A_JOB = 100_000, 16  # in its directory, folders included


@dataclass(frozen=True)
class Hydra:
    """What Hydra hands to a launcher."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig


def launch(hydra: Hydra, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Run the jobs; those that fail, diverge or are not valid leave their records, and the others go on.

    Returns:
        For each job what its task returned: the final value of the monitored metric, or None.

    Raises:
        HydraException: a job cannot be composed; nothing has been run then.
        KeyboardInterrupt: after a clean stop by Ctrl-C.
    """
    setup_globals()
    configure_log(hydra.config.hydra.hydra_logging, hydra.config.hydra.verbose)
    jobs = compose_jobs(hydra.context.config_loader, hydra.config, job_overrides, first)
    for job in jobs:
        if isinstance(job.error, HydraException):
            raise job.error
    configs = {position: config for position, job in enumerate(jobs) if (config := _checked(job)) is not None}
    returns: dict[int, JobReturn] = {}
    unfinished: list[Path] = []
    if hydra.config.get("sweep", {}).get("resume") is not None:
        returns, unfinished = _done(str(hydra.config.hydra.sweep.dir), jobs, configs)
    if returns:
        log.info("%d of %d jobs are done already", len(returns), len(jobs))
    configs = {position: config for position, config in configs.items() if position not in returns}
    positions = list(configs)
    groups = [_placed(group, positions) for group in plan([configs[p] for p in positions])]
    alone = [p for p in range(len(jobs)) if p not in configs and p not in returns]
    if alone:
        groups.append(Group(alone, [], "their settings are not valid"))
    if hydra.config.hydra.job.chdir:
        for group in groups:
            group.reason = group.reason or "hydra.job.chdir gives each a working directory of its own"
    for group in groups:
        log.info("%s", _line(group, jobs))
    if _option(hydra, "dry_run"):
        for job in jobs:
            log.info("job %d: %s", job.number, " ".join(job.overrides))
        return [_returned(job, None) for job in jobs]
    check_space(Path(hydra.config.hydra.sweep.dir), len(configs))
    for directory in unfinished:  # each is a job's own, as was seen
        shutil.rmtree(directory)
    for group in groups:
        if group.reason is None:
            returns |= _together(hydra, group, jobs, configs)
        for position in group.jobs:
            if position not in returns:
                returns[position] = _alone(hydra, job_overrides[position], jobs[position].number)
    return [returns[position] for position in range(len(jobs))]


def _done(
    sweep: str, jobs: Sequence[ComposedJob], configs: dict[int, dict[str, Any]]
) -> tuple[dict[int, JobReturn], list[Path]]:
    """What the jobs returned that a sweep which is resumed has finished, and the directories of those it has not.

    Raises:
        UserError: a job there was another one.
    """
    found: dict[int, JobReturn] = {}
    unfinished: list[Path] = []
    there: dict[str, list[Path]] = {}
    for path in Path(sweep).glob(f"*/{RECORD}"):
        there.setdefault(path.parent.name.partition("_")[0], []).append(path.parent.absolute())
    for position, job in enumerate(jobs):
        others = there.get(str(job.number), [])
        own = [job.directory] if job.directory.is_dir() and job.directory not in others else []
        for directory in [*others, *own]:
            status, metric, same = _earlier(directory, job, configs.get(position))
            if not same:
                raise UserError(
                    f"sweep.resume: job {job.number} is {directory.name} there, and {job.directory.name} with other "
                    "settings here; give the command that the sweep was started with."
                )
            if status in ("completed", "diverged"):
                found[position] = _returned(job, metric)
            elif (directory / ".hydra").is_dir() or (directory / RECORD).is_file():
                unfinished.append(directory)
    return found, unfinished


def _earlier(directory: Path, job: ComposedJob, config: dict[str, Any] | None) -> tuple[str, float | None, bool]:
    """Status and monitored metric of a job of an earlier sweep, and whether it is this one."""
    try:
        record = read_record(directory)
    except UserError:
        return "failed", None, directory == job.directory
    metric = record.get("metrics", {}).get((record.get("monitor") or {}).get("metric"))
    same = directory == job.directory and record.get("overrides") == list(job.overrides)
    if same and config is not None and (directory / CONFIG).is_file():
        earlier, given = json.loads((directory / CONFIG).read_text(encoding="utf-8")), config["penalty"]["l2"] != AUTO
        same = _essence(earlier, given) == _essence(config, given)
    return str(record.get("status")), metric, same


def _essence(config: dict[str, Any], has_number: bool) -> Any:
    """A configuration without what says how a sweep is run, and, where it is worked out, without its penalty."""
    kept = {key: value for key, value in config.items() if key not in ("sweep", "vectorized", "resume")}
    kept["penalty"] = {key: value for key, value in config["penalty"].items() if key != "l2" or has_number}
    return json.loads(json.dumps(kept, default=str))


def check_jobs(job_overrides: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    """The jobs of a grid as they are.

    Raises:
        UserError: there are none, or two are the same.
    """
    if not job_overrides:
        raise UserError("the sweep has no jobs: one of its keys has no value, as in seed='range(0)'.")
    seen: dict[tuple[str, ...], int] = {}
    for number, overrides in enumerate(job_overrides):
        first = seen.setdefault(tuple(overrides), number)
        if first != number:
            shown = " ".join(overrides)
            raise UserError(f"jobs {first} and {number} of the sweep are the same, {shown}; give each value once.")
    return job_overrides


def check_space(directory: Path, jobs: int) -> None:
    """Refuse a sweep for whose files there is no room.

    Raises:
        UserError: says how much is needed and how much is free.
    """
    directory.mkdir(parents=True, exist_ok=True)
    free = os.statvfs(directory)
    needed, room = jobs * BYTES_OF_A_JOB, free.f_bavail * free.f_frsize
    if needed > room:
        raise UserError(
            f"hydra.sweep.dir={directory}: {jobs:,} jobs need {needed / 1e6:,.0f} MB, and {room / 1e6:,.0f} MB are "
            "free there; free some, or give another directory."
        )
    files = jobs * FILES_OF_A_JOB
    if free.f_files > 0 and files > free.f_favail:
        raise UserError(
            f"hydra.sweep.dir={directory}: {jobs:,} jobs need {files:,} files, and its file system has room for "
            f"{free.f_favail:,}; give another directory."
        )


def _checked(job: ComposedJob) -> dict[str, Any] | None:
    """The configuration of a job as `logreg.experiment.run` uses it; None if it will be refused there."""
    if job.error is not None:
        return None
    try:
        config = with_groups(job.config)
        settings.check(config)
        config = in_force(config)
        settings.check_targets(config, trusted_packages())
    except UserError:
        return None
    return config


def _placed(group: Group, positions: Sequence[int]) -> Group:
    return Group([positions[i] for i in group.jobs], group.differ, group.reason)


def _option(hydra: Hydra, name: str) -> Any:
    """One of the settings below ``vectorized``, which are those of the sweep and not of its jobs."""
    return (hydra.config.get("vectorized") or {}).get(name)


def _line(group: Group, jobs: Sequence[ComposedJob]) -> str:
    """What becomes of a group, in a line."""
    count = len(group.jobs)
    number = jobs[group.jobs[0]].number
    which = f"job {number}" if count == 1 else f"{count:,} jobs, the first is {number}"
    if group.reason is not None:
        return f"{which}: each by itself, as {group.reason}"
    return f"{which}: together, as they differ in {', '.join(group.differ) or 'nothing'} alone"


def _returned(job: ComposedJob, value: float | None) -> JobReturn:
    return JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=value)


def _alone(hydra: Hydra, overrides: Sequence[str], number: int) -> JobReturn:
    """One job as Hydra's basic launcher runs it."""
    config = hydra.context.config_loader.load_sweep_config(hydra.config, list(overrides))
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    returned = run_job(
        hydra_context=hydra.context,
        task_function=hydra.task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    configure_log(hydra.config.hydra.hydra_logging, hydra.config.hydra.verbose)
    return returned


def _together(
    hydra: Hydra, group: Group, jobs: Sequence[ComposedJob], configs: dict[int, dict[str, Any]]
) -> dict[int, JobReturn]:
    """Train the jobs of a group together; those that turn out not to fit are not among what is returned."""
    quiet_lightning()
    from logreg.vectorized.assemble import Assembler, CannotFuse, stacks

    assembler, members = Assembler(trusted_packages()), []
    try:
        for position in group.jobs:
            try:
                members.append(assembler.member(position, configs[position]))
            except CannotFuse:
                raise
            except Exception:
                continue  # it says what is wrong when it runs alone
        if not members:
            return {}
        common = assembler.settings(members[0])
    except CannotFuse as reason:
        log.info("each by itself, as %s", reason)
        return {}
    except UserError:
        return {}
    returns: dict[int, JobReturn] = {}
    for stack in stacks(members, common, _option(hydra, "memory")):
        try:
            for position, record in _fit(hydra, stack, common, jobs):
                returns[position] = _returned(jobs[position], record.metrics.get(record.monitor["metric"]))
        except CannotFuse as reason:
            log.info("each by itself, as %s", reason)
    return returns


def _fit(hydra: Hydra, stack: Any, common: Any, jobs: Sequence[ComposedJob]) -> Iterator[tuple[int, RunRecord]]:
    """Train one stack and write its jobs; yields each job's position and record."""
    import torch
    from tqdm import tqdm

    from logreg.training import signals_stop
    from logreg.vectorized.assemble import CannotFuse
    from logreg.vectorized.fit import Fit
    from logreg.vectorized.results import measure
    from logreg.vectorized.writing import JobFiles, write_all

    began, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    fit = Fit(stack.tables, stack.jobs(), common, stack.counted)
    total = max(job.epochs for job in fit.jobs) * fit.batches.batches_per_pass
    quiet = not sys.stderr.isatty()
    log.info("training %d jobs, %d updates each", int(stack.counted.sum()), total)
    with signals_stop(fit), tqdm(total=total, unit=" updates", desc="training", disable=quiet, leave=False) as bar:
        try:
            fit.run(bar.update)
        except torch.OutOfMemoryError as error:
            raise UserError("the jobs do not fit into memory together; give vectorized.memory=<bytes>.") from error
        except (RuntimeError, NotImplementedError) as error:  # what torch.func says of a forward it cannot take
            raise CannotFuse(f"its model cannot be vectorized ({str(error).splitlines()[0]})") from error
    results = measure(fit, [threshold_rule(member.config) if member else None for member in stack.members])
    files: list[JobFiles | None] = []
    for member in stack.members:
        if member is None:
            files.append(None)
            continue
        record = _record(jobs[member.position], member.config, started)
        directory = jobs[member.position].directory
        _write_hydra(hydra, jobs[member.position], directory)
        with_figures = bool(member.config["figures"]) and len(jobs) <= (_option(hydra, "figures") or 0)
        files.append(JobFiles(directory, member.config, record, member.data, member.random_state, with_figures))
    with tqdm(total=int(stack.counted.sum()), unit=" jobs", desc="writing", disable=quiet, leave=False) as bar:
        for i, file in write_all(files, fit, results, began):
            bar.update()
            yield stack.members[i].position, file.record
    if fit.interrupt:
        raise KeyboardInterrupt


def _record(job: ComposedJob, config: dict[str, Any], started: str) -> RunRecord:
    """The record of a job before it is trained."""
    record = RunRecord(overrides=list(job.overrides), started=started, git=git_state())
    record.name, record.seed = str(config["name"]), config["seed"]
    record.monitor = {"metric": config["monitor"], "mode": config["mode"]}
    record.hyperparameters = hyperparameters(config, record, job.choices)
    return record


def _write_hydra(hydra: Hydra, job: ComposedJob, directory: Path) -> None:
    """The directory of a job with what Hydra puts there."""
    directory.mkdir(parents=True, exist_ok=True)
    folder = hydra.config.hydra.output_subdir
    if folder is not None:
        (directory / folder).mkdir(exist_ok=True)
        for name, text in job.hydra_files().items():
            (directory / folder / name).write_text(text, encoding="utf-8")
