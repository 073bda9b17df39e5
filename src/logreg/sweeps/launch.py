"""A sweep's jobs from their overrides to their directories: composed, grouped, trained together, written.

What cannot be fused runs as it would without this launcher, one job after the other.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from logreg.cli import trusted_packages
from logreg.cli._compat import returned
from logreg.cli.assemble import make_sweep_lesson, quiet_lightning
from logreg.cli.configuration import parse
from logreg.cli.directories import searches
from logreg.core.errors import UserError, plural
from logreg.core.settings import Settings, Vectorized
from logreg.records.jobs import REFIT
from logreg.records.record import RunRecord, settings_of
from logreg.records.selection import prepare_refit
from logreg.sweeps.checks import check_any_valid, check_folds, earlier_jobs
from logreg.sweeps.compose import compose_jobs
from logreg.sweeps.fused.composed_job import AllRefused, ComposedJob, check_space
from logreg.sweeps.plan import Group, plan

log = logging.getLogger("hydra.logreg")  # its lines are Hydra's own: a job's logging is not set up yet


@dataclass(frozen=True)
class Hydra:
    """What Hydra hands to a launcher."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig

    @property
    def vectorized(self) -> Vectorized:
        """How the jobs are trained together: a setting of the sweep, not of its jobs."""
        return Vectorized.of(self.config.get("vectorized") or {})


def launch(hydra: Hydra, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Run the jobs; those that fail, diverge or are not valid leave their records, and the others go on.

    Returns:
        For each job what its task returned: the final value of the monitored metric, or None.

    Raises:
        Exception: of Hydra or OmegaConf, a job cannot be composed; nothing has been run then.
        UserError: the same is wrong with all jobs; nothing has been run then either.
        KeyboardInterrupt: after a clean stop by Ctrl-C.
    """
    setup_globals()
    configure_log(hydra.config.hydra.hydra_logging, hydra.config.hydra.verbose)
    jobs: list[ComposedJob] = []
    for job in compose_jobs(hydra.context.config_loader, hydra.config, job_overrides, first):
        if job.error is not None and not job.choices:
            raise job.error  # without looking at the others
        jobs.append(job)
    if hydra.config.get("path") is not None:
        check_folds(job_overrides, hydra.config.data.get("folds"))
    settings, refused = parse_jobs(jobs)
    batches = hydra.config.hydra.sweeper.get("max_batch_size") is not None
    all_known = not batches and not searches(hydra.config)  # else further jobs are still to be drawn
    if all_known:
        check_any_valid(refused, len(jobs))
    for first_settings in list(settings.values())[:1]:  # said before anything is trained
        make_sweep_lesson(first_settings.sweep.lesson, trusted_packages())
    sweep = Path(hydra.config.hydra.sweep.dir)
    returns: dict[int, JobReturn] = {}
    unfinished: list[Path] = []
    if hydra.config.get("sweep", {}).get("resume") is not None:
        finished, unfinished = earlier_jobs(sweep, jobs, settings, batches)
        returns = {position: returned(jobs[position].overrides, metric) for position, metric in finished.items()}
        log.info("%d of %s are done already", len(returns), plural(len(jobs), "job"))
    groups = _groups(hydra, settings, [position for position in range(len(jobs)) if position not in returns])
    for line in _lines(groups, jobs):
        log.info("%s", line)
    if hydra.vectorized.dry_run:
        for job in jobs:
            log.info("job %d: %s", job.number, " ".join(job.overrides))
        return [returned(job.overrides, None) for job in jobs]
    check_space(sweep, len(jobs) - len(returns))
    for directory in unfinished:  # each is a job's own, as was seen
        shutil.rmtree(directory)
    for position, record in _together(hydra, groups, jobs, settings, refused):
        returns[position] = returned(jobs[position].overrides, record.score)
    if all_known:
        check_any_valid(refused, len(jobs))
    for position in (position for group in groups for position in group.jobs if position not in returns):
        log.info("#%d: %s", jobs[position].number, " ".join(jobs[position].overrides))
        returns[position] = _alone(hydra, job_overrides[position], jobs[position].number)
    return [returns[position] for position in range(len(jobs))]


def _groups(hydra: Hydra, settings: Mapping[int, Settings], positions: Sequence[int]) -> list[Group]:
    valid = [position for position in positions if position in settings]
    obstacle = _obstacle(hydra.config.hydra)
    groups = [
        replace(group, jobs=[valid[i] for i in group.jobs], reason=group.reason or obstacle)
        for group in plan([settings[position] for position in valid])
    ]
    alone = [position for position in positions if position not in settings]
    return [*groups, Group(alone, [], "their settings are not valid")] if alone else groups


def _obstacle(settings_of_hydra: DictConfig) -> str | None:
    """What Hydra was asked to do around each job, and does not do for jobs that are trained together."""
    if settings_of_hydra.job.chdir:
        return "hydra.job.chdir gives each a working directory of its own"
    if settings_of_hydra.job.env_set:
        return "hydra.job.env_set gives each an environment of its own"
    if set(settings_of_hydra.callbacks) - {"directories"}:
        return "a callback of hydra.callbacks watches each"
    if settings_of_hydra.runtime.choices.get("hydra/job_logging") != "quiet":
        return "hydra/job_logging gives each a log of its own"
    return None


def _together(
    hydra: Hydra,
    groups: Sequence[Group],
    jobs: Sequence[ComposedJob],
    settings: Mapping[int, Settings],
    refused: dict[int, UserError],
) -> Iterator[tuple[int, RunRecord]]:
    """Train the jobs of each group together; yields those that fit, and adds groups without a valid job to refused."""
    fused = [group for group in groups if group.reason is None]
    if not fused:
        return
    quiet_lightning()
    from logreg.sweeps.fused.group import FusedOptions, train_together

    log_file = f"{hydra.config.hydra.job.name}.log"
    options = FusedOptions(hydra.vectorized, hydra.config.hydra.output_subdir, log_file)
    for group in fused:
        try:
            yield from train_together({p: jobs[p] for p in group.jobs}, settings, options)
        except AllRefused as error:
            refused |= error.errors


def parse_jobs(jobs: Sequence[ComposedJob]) -> tuple[dict[int, Settings], dict[int, UserError]]:
    """The jobs' settings, and why some are not valid, both by position."""
    settings: dict[int, Settings] = {}
    refused: dict[int, UserError] = {}
    trusted = trusted_packages()
    for position, job in enumerate(jobs):
        if isinstance(job.error, UserError):
            refused[position] = job.error
        if job.error is not None:
            continue
        try:
            settings[position] = parse(job.config, trusted)
        except UserError as error:
            refused[position] = error
    return settings, refused


def _lines(groups: Sequence[Group], jobs: Sequence[ComposedJob]) -> Iterator[str]:
    """What becomes of each group: what sets its jobs apart from the others, and whether they are fused."""
    settings_of_jobs = [settings_of(job.overrides) for job in jobs]
    keys = dict.fromkeys(key for each in settings_of_jobs for key in each)
    swept = [key for key in keys if len({each.get(key) for each in settings_of_jobs}) > 1]
    for group in groups:
        members, count, first = [settings_of_jobs[p] for p in group.jobs], len(group.jobs), jobs[group.jobs[0]].number
        shared = [f"{key}={members[0].get(key)}" for key in swept if len({each.get(key) for each in members}) == 1]
        which = f"{plural(count, 'job')} from {first} on" if count > 1 else f"job {first}"
        which += f" ({' '.join(shared)})" if shared and len(groups) > 1 else ""
        if group.reason is None:
            yield f"{which}: together, as they differ in {', '.join(group.differ) or 'nothing'} alone"
        else:
            yield f"{which}: {'each ' if count > 1 else ''}by itself, as {group.reason}"


def refit(hydra: Hydra) -> None:
    """Choose the penalty of a sweep over folds, and run it on all rows; see `logreg.records.selection`."""
    if hydra.vectorized.dry_run:
        return
    overrides = prepare_refit(Path(hydra.config.hydra.sweep.dir), hydra.config.path.rule)
    if overrides is not None:
        log.info("refit on all rows")
        _alone(hydra, overrides, 0, REFIT)


def _alone(hydra: Hydra, overrides: Sequence[str], number: int, folder: str | None = None) -> JobReturn:
    """One job as Hydra's basic launcher runs it, in a folder of this name."""
    config = hydra.context.config_loader.load_sweep_config(hydra.config, list(overrides))
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
        if folder is not None:
            config.hydra.sweep.subdir = folder
    result = run_job(
        hydra_context=hydra.context,
        task_function=hydra.task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    configure_log(hydra.config.hydra.hydra_logging, hydra.config.hydra.verbose)
    return result
