"""How sure the ranking of a sweep is, where its jobs repeat each setting with other seeds or on other folds.

The means of ten seeds differ even where settings do not. So jobs are grouped by setting, each mean gets a confidence
interval, and each setting is compared with the best one over the repetitions that both have: a seed or a fold that is
hard for one is hard for the other, and drops out of the difference.

With d_1 … d_n the differences of the monitored metric to the best setting, d their mean and s² their variance (ddof 1),

    t = d / sqrt((1/n + c) s²),    n - 1 degrees of freedom,    c = n_test / n_train

Different folds are not independent, since their training sets overlap: s²/n is too small, by much. c is the correction
of Nadeau and Bengio (2003), Inference for the Generalization Error, Machine Learning 52, 239-281: 1/(folds - 1) where
`data.fold` is swept. With several seeds that draw folds of their own, n counts all of them (Bouckaert and Frank, 2004,
Evaluating the Replicability of Significance Tests, PAKDD); seeds on the same folds, where `data.seed` is given, are no
further evidence about the rows, and are averaged fold by fold first. Where seeds alone are repeated, c is 0: the plain
paired t-test, which speaks about seeds. Seeds that draw the split too, as they do by default, have training sets that
overlap as well; give ``overlap=n_val/n_train`` for a statement about rows.

A setting with failed jobs ranks after those without: its mean is that of its luckier repetitions. A setting differs
from the best where it is worse on the common repetitions, at the two-sided level 0.05 with Holm's correction (1979,
Scandinavian Journal of Statistics 6, 65-70) for all comparisons with the best. What does not differ may be the best;
the harmful error is to drop a setting that is as good. Each test alone drops one in twenty of those, some in any large
sweep; Holm bounds the chance of dropping any by 0.05, at the price of keeping more that are worse. The bound is that
for a best setting known beforehand. The best of many equal ones looks too good: simulated with ten seeds, 9 % of the
sweeps of 10 equal settings drop some and 31 % of those of 50; without Holm it is 55 % and all.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.special import stdtr, stdtrit

from logreg.records.jobs import Job, swept_keys

SEED, DATA_SEED, FOLD, FOLDS = "seed", "data.seed", "data.fold", "data.folds"
REPEATED = (SEED, DATA_SEED, FOLD)
LEVEL = 0.05
HEADER = ("n", "failed", "mean", "sd", "95 % interval", "verdict")

Repetition = tuple[str | None, ...]  # the values of `_Design.keys`


@dataclass(frozen=True)
class Setting:
    """A setting and what its repetitions say.

    Attributes:
        settings: the swept keys but the repeated ones; "" where a job does not have the key.
        jobs: the completed ones with a score, by number, one per repetition.
        failed: jobs of this setting without a result.
        mean: of the scores. Where seeds share folds, of the folds' means, as ``deviation`` is.
        deviation: their standard deviation (ddof 1); nan for one job.
        low, high: the 95 % interval of the mean, ``mean ∓ t(0.975, n - 1) · sqrt(1/n + c) · deviation``.
        rank: 1 is the best mean among the settings without a failed job; equal means share a rank.
        indistinguishable: from the best setting. None where the two have fewer than two repetitions in common.
    """

    settings: dict[str, str]
    jobs: list[Job]
    failed: int
    mean: float
    deviation: float
    low: float
    high: float
    rank: int
    indistinguishable: bool | None

    @property
    def standard_error(self) -> float:
        """Of the mean, as if repetitions were independent; nan for one job."""
        return self.deviation / math.sqrt(len(self.jobs))

    @property
    def name(self) -> str:
        """Its keys and values as they are typed."""
        return " ".join(f"{key}={value}" for key, value in self.settings.items() if value) or "the one setting"


class _Moments(NamedTuple):
    mean: float
    deviation: float
    error: float  # of the mean
    freedom: int


@dataclass(frozen=True)
class _Design:
    """Which jobs of two settings belong together, and how much their training sets overlap.

    Attributes:
        keys: those whose values name a repetition.
        folds: how many different folds the sweep names; None where it does not sweep them.
        overlap: n_test/n_train, where it was given.
    """

    keys: tuple[str, ...]
    folds: int | None
    overlap: float | None

    def correction(self, repetition: Repetition) -> float:
        """n_test/n_train of a repetition."""
        if self.overlap is not None or self.folds is None:
            return self.overlap or 0.0
        given = dict(zip(self.keys, repetition, strict=True))[FOLDS] or ""
        return 1 / (max(2, int(given) if given.isdigit() else self.folds) - 1)

    def split(self, repetition: Repetition) -> Repetition:
        """What names its rows; repetitions of equal rows are one observation where folds are compared."""
        if self.folds is None:
            return repetition
        values = dict(zip(self.keys, repetition, strict=True))
        return values.get(DATA_SEED) or values.get(SEED), values[FOLDS], values.get(FOLD)

    def moments(self, values: Mapping[Repetition, float]) -> _Moments:
        by_split: dict[Repetition, list[float]] = {}
        for repetition, value in values.items():
            by_split.setdefault(self.split(repetition), []).append(value)
        means = [fmean(each) for each in by_split.values()]
        n, correction = len(means), self.correction(next(iter(values)))
        deviation = stdev(means) if n > 1 else math.nan
        return _Moments(fmean(means), deviation, math.sqrt(1 / n + correction) * deviation, n - 1)


def compared_keys(jobs: Sequence[Job]) -> list[str]:
    """The swept keys but those that name repetitions, or how jobs are judged."""
    return [key for key in swept_keys(list(jobs)) if key not in (*REPEATED, "monitor", "mode")]


def compare(
    jobs: Sequence[Job], repeated: Sequence[str] = REPEATED, overlap: float | None = None
) -> dict[str, list[Setting]]:
    """The settings of a sweep by monitored metric, best first; nothing of a metric whose settings were not repeated.

    A job that appears twice, with equal settings and an equal repetition, counts once. A setting without any result is
    left out: there is no mean to compare.

    Args:
        jobs: of one sweep, in any order; those without settings (their record could not be read) belong nowhere.
        repeated: the keys in which the repetitions of one setting differ.
        overlap: n_test/n_train of the repetitions, see above; by default 1/(folds - 1) for folds and 0 for seeds.
    """
    known = sorted((job for job in jobs if job.settings), key=lambda job: (job.number, str(job.directory)))
    swept = swept_keys(known)
    keys = [key for key in swept if key not in repeated]
    folds = {job.settings[FOLD] for job in known if FOLD in job.settings}
    names = tuple(dict.fromkeys([*repeated, *(key for key in REPEATED if key not in swept), FOLDS]))
    design = _Design(names, len(folds) if FOLD in swept and FOLD in repeated else None, overlap)
    failed = Counter(_values_of(job, keys) for job in known if not job.is_ranked)
    metrics: dict[str, dict[Repetition, dict[Repetition, Job]]] = {}
    for job in (job for job in known if job.is_ranked):
        setting = metrics.setdefault(job.monitor, {}).setdefault(_values_of(job, keys), {})
        setting.setdefault(_values_of(job, design.keys), job)
    return {
        metric: _ranked(list(groups.values()), keys, failed, design)
        for metric, groups in metrics.items()
        if any(len(group) > 1 for group in groups.values())
    }


def _values_of(job: Job, keys: Sequence[str]) -> Repetition:
    return tuple(job.settings.get(key) for key in keys)


def _scores(group: Mapping[Repetition, Job]) -> dict[Repetition, float]:
    return {repetition: job.score for repetition, job in group.items() if job.score is not None}


def _ranked(
    groups: list[dict[Repetition, Job]], keys: list[str], failed: Mapping[Repetition, int], design: _Design
) -> list[Setting]:
    """The settings of one metric, best first; a group holds the jobs of a setting by repetition."""
    direction = next(iter(groups[0].values())).sign
    ranked = []
    for group in groups:
        missing = failed.get(_values_of(next(iter(group.values())), keys), 0)
        moments = design.moments(_scores(group))
        # A setting that lost repetitions is known by its luckier ones: it comes after those that have all.
        ranked.append(((missing > 0, direction * moments.mean), missing, moments, group))
    ranked.sort(key=itemgetter(0))
    best, *others = (_scores(group) for *_, group in ranked)
    verdicts = [True, *_indistinguishable(best, others, direction, design)]
    settings = []
    for (place, missing, moments, group), verdict in zip(ranked, verdicts, strict=True):
        jobs = list(group.values())
        values = {key: jobs[0].settings.get(key, "") for key in keys}
        rank = 1 + bisect_left(ranked, place, key=itemgetter(0))
        mean, freedom = moments.mean, moments.freedom
        half = float(stdtrit(freedom, 1 - LEVEL / 2)) * moments.error if freedom > 0 else math.nan
        interval = mean - half, mean + half  # of Student's t
        settings.append(Setting(values, jobs, missing, mean, moments.deviation, *interval, rank, verdict))
    return settings


def _indistinguishable(
    best: Mapping[Repetition, float], others: list[dict[Repetition, float]], direction: int, design: _Design
) -> list[bool | None]:
    p_values: dict[int, float] = {}
    for index, other in enumerate(others):
        differences = {each: direction * (other[each] - best[each]) for each in best if each in other}
        moments = design.moments(differences) if differences else None
        if moments is not None and moments.freedom > 0:
            rounding = 1e-12 * max(abs(best[each]) for each in differences)
            # A setting with the worse mean may be better on the common repetitions, where the best has fewer of them.
            if moments.mean <= rounding:
                p_values[index] = 1.0
            elif moments.error == 0:
                p_values[index] = 0.0
            else:  # two-sided
                p_values[index] = 2 * float(stdtr(moments.freedom, -moments.mean / moments.error))
    rejected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [not rejected[index] if index in rejected else None for index in range(len(others))]


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which hypotheses are rejected: by rising p value, each at `LEVEL` over the number of those still there."""
    rejected = [False] * len(p_values)
    for decided, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > LEVEL / (len(p_values) - decided):
            break
        rejected[index] = True
    return rejected


def tied(settings: Sequence[Setting]) -> int:
    """How many settings may be as good as the best one, the first."""
    return sum(each.indistinguishable is not False for each in settings) - 1


def table_rows(comparison: Mapping[str, Sequence[Setting]], digits: int = 6) -> list[list[str]]:
    """The comparison as text, a header first: metric, the settings' keys, and `HEADER`.

    Numbers that are not defined are empty.

    Args:
        digits: significant ones of the ends of intervals.
    """
    keys = list(dict.fromkeys(key for settings in comparison.values() for each in settings for key in each.settings))
    rows = [["metric", *keys, *HEADER]]
    for metric, settings in comparison.items():
        for each in settings:
            values = [each.settings.get(key, "") for key in keys]
            spread = ["", ""]
            if not math.isnan(each.deviation):
                spread = [f"{each.deviation:.3g}", f"{each.low:.{digits}g} to {each.high:.{digits}g}"]
            numbers = [str(len(each.jobs)), str(each.failed), f"{each.mean:.6g}", *spread]
            rows.append([metric, *values, *numbers, verdict(each, settings)])
    return rows


def verdict(setting: Setting, settings: Sequence[Setting]) -> str:
    """``best``, ``may be best`` where it does not differ from that, else ``worse``; ``unknown`` where too few
    repetitions are in common.
    """
    if setting is settings[0]:
        return "best"
    return {True: "may be best", False: "worse", None: "unknown"}[setting.indistinguishable]
