"""The comparison of repeated settings against scipy, a worked example, and what must not matter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from logreg.records.comparison import HEADER, Setting, compare, holm, table_rows
from logreg.records.jobs import Job
from logreg.records.record import Monitor, RunRecord

# Multiples of 1/64: sums and differences are exact, so that a shift by one of them cannot move a verdict by rounding.
DYADIC = st.integers(-64, 64).map(lambda value: value / 64)
LRS = ("0.01", "0.1", "1", "10")
RESULTS = st.integers(2, 4).flatmap(
    lambda settings: st.integers(2, 5).flatmap(
        lambda seeds: st.lists(
            st.lists(DYADIC, min_size=seeds, max_size=seeds), min_size=settings, max_size=settings
        ).filter(lambda rows: len({sum(row) for row in rows}) == len(rows))
    )
)


def job(
    number: int,
    settings: Mapping[str, object],
    score: float | None,
    status: str = "completed",
    mode: str = "min",
    metric: str = "val/loss",
) -> Job:
    overrides = [f"{key}={value}" for key, value in settings.items()]
    metrics = {} if score is None else {metric: score}
    record = RunRecord(status=status, overrides=overrides, metrics=metrics, monitor=Monitor(metric, mode))
    return Job(number, Path(f"{number}"), record)


def sweep(scores: Sequence[Sequence[float | None]], repeated: str = "seed", mode: str = "min", **more: object):
    """A job per value; a row is a setting of lr, a column a repetition; None is a job that diverged."""
    cells = [(lr, i, value) for lr, row in zip(LRS, scores, strict=False) for i, value in enumerate(row)]
    extra = {key.replace("_", "."): value for key, value in more.items()}
    return [
        job(n, {"lr": lr, repeated: i, **extra}, value, "diverged" if value is None else "completed", mode)
        for n, (lr, i, value) in enumerate(cells)
    ]


def only(comparison: dict[str, list[Setting]]) -> list[Setting]:
    ((metric, settings),) = comparison.items()
    assert metric == "val/loss"
    return settings


def verdicts(settings: list[Setting]) -> dict[str, bool | None]:
    return {each.settings["lr"]: each.indistinguishable for each in settings}


def normal(settings: int, repetitions: int, seed: int = 0) -> list[list[float]]:
    random = np.random.default_rng(seed)
    common = random.normal(size=repetitions)
    return [(common + 0.15 * i + random.normal(scale=0.1, size=repetitions)).tolist() for i in range(settings)]


@pytest.mark.parametrize("fixed", [{}, {"data_seed": 3}])
def test_the_interval_of_seeds_is_scipys(fixed: dict) -> None:
    rows = normal(2, 7)
    for each, row in zip(only(compare(sweep(rows, **fixed))), rows, strict=True):
        expected = stats.t.interval(0.95, 6, np.mean(row), stats.sem(row))
        assert (each.low, each.high) == pytest.approx(expected, rel=1e-12)
        assert (each.mean, each.deviation) == pytest.approx((np.mean(row), np.std(row, ddof=1)), rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_two_settings_differ_where_scipys_paired_test_says_so(seed: int) -> None:
    first, second = normal(2, 5, seed)
    p = stats.ttest_rel(first, second).pvalue
    assert only(compare(sweep([first, second])))[1].indistinguishable == (p > 0.05)


def test_those_seeds_include_both_verdicts() -> None:
    assert 2 < sum(stats.ttest_rel(*normal(2, 5, seed)).pvalue > 0.05 for seed in range(20)) < 18


def test_a_worked_example_of_the_corrected_test() -> None:
    """Five folds: d = 1, 2, 3, 4, 5 hundredths, mean 3 and s² = 2.5, so t = 3 / sqrt((1/5 + 1/4) 2.5) = 2.828.

    The quantile of four degrees of freedom is 2.776: told apart, by little; half a hundredth less, and they are not.
    The plain test has t = 3 / sqrt(2.5 / 5) = 4.24 and tells both apart.
    """
    best, worse = [0.2, 0.1, 0.3, 0.2, 0.1], [0.01, 0.02, 0.03, 0.04, 0.05]
    for shift, corrected in ((0.0, False), (-0.005, True)):
        rows = [best, [a + b + shift for a, b in zip(best, worse, strict=True)]]
        assert verdicts(only(compare(sweep(rows, "data.fold", data_folds=5)))) == {"0.01": True, "0.1": corrected}
        assert verdicts(only(compare(sweep(rows, "data.fold")))) == {"0.01": True, "0.1": corrected}
        assert verdicts(only(compare(sweep(rows, "seed")))) == {"0.01": True, "0.1": False}
        assert verdicts(only(compare(sweep(rows, "seed"), overlap=0.25))) == {"0.01": True, "0.1": corrected}


def test_the_interval_of_folds_uses_the_same_variance() -> None:
    row = [0.1, 0.2, 0.4]
    quantile = 0.95 * math.sqrt(2 / (1 - 0.95**2))  # of two degrees of freedom, in closed form
    half = quantile * math.sqrt((1 / 3 + 1 / 9) * np.var(row, ddof=1))  # three of ten folds
    (each,) = only(compare(sweep([row], "data.fold", data_folds=10)))
    assert (each.low, each.high) == pytest.approx((np.mean(row) - half, np.mean(row) + half), rel=1e-12)


def test_repeated_cross_validation_counts_new_splits_and_averages_over_equal_ones() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 5))
    settings = [({"seed": s, "data.folds": 5, "data.fold": f}, scores[s, f]) for s in range(4) for f in range(5)]

    def deviation_and_half(fixed: dict, values: np.ndarray, n: int) -> None:
        (each,) = only(compare([job(i, row | fixed, value) for i, (row, value) in enumerate(settings)]))
        half = stats.t.ppf(0.975, n - 1) * math.sqrt((1 / n + 1 / 4) * np.var(values, ddof=1))
        assert (each.deviation, each.high - each.mean) == pytest.approx((np.std(values, ddof=1), half), rel=1e-9)
        assert len(each.jobs) == 20

    deviation_and_half({}, scores.ravel(), 20)
    deviation_and_half({"data.seed": 3}, scores.mean(axis=0), 5)


def test_holm_by_hand() -> None:
    # 0.01 <= 0.05/4, 0.015 <= 0.05/3, 0.03 > 0.05/2: the third and, whatever it is, the fourth stay
    assert holm([0.03, 0.01, 0.04, 0.015]) == [False, True, False, True]
    assert holm([]) == []


def test_more_comparisons_keep_more_settings() -> None:
    rows = next(rows for rows in (normal(2, 5, seed) for seed in range(99)) if 0.02 < stats.ttest_rel(*rows)[1] < 0.05)
    far = [value + 1000 + i for i, value in enumerate(rows[0])]
    near = [value + (-1) ** i for i, value in enumerate(rows[0])]
    assert verdicts(only(compare(sweep(rows))))["0.1"] is False
    assert verdicts(only(compare(sweep([*rows, far, near])))) == {"0.01": True, "0.1": True, "1": False, "10": True}


@given(RESULTS, st.randoms(use_true_random=False), st.sampled_from(["seed", "data.fold"]))
def test_the_order_of_the_jobs_does_not_matter(rows: list, random, repeated: str) -> None:
    jobs = sweep(rows, repeated)
    mixed = random.sample(jobs, len(jobs))
    assert compare(mixed) == compare(jobs)


@given(RESULTS, DYADIC, st.integers(0, 1), st.sampled_from(["seed", "data.fold"]))
def test_a_repetition_that_is_harder_for_all_changes_no_verdict(rows: list, by: float, which: int, key: str) -> None:
    shifted = [[value + by if i == which else value for i, value in enumerate(row)] for row in rows]
    before, after = only(compare(sweep(rows, key))), only(compare(sweep(shifted, key)))
    assert verdicts(after) == verdicts(before)
    assert [each.settings for each in after] == [each.settings for each in before]


@given(RESULTS, st.sampled_from(["min", "max"]))
def test_the_best_mean_is_first_and_in_the_set(rows: list, mode: str) -> None:
    settings = only(compare(sweep(rows, mode=mode)))
    assert settings[0].indistinguishable is True
    assert [each.rank for each in settings] == list(range(1, len(rows) + 1))
    expected = (min if mode == "min" else max)(rows, key=sum)
    assert settings[0].mean == pytest.approx(np.mean(expected))


@given(RESULTS)
def test_more_of_a_metric_is_less_of_its_negative(rows: list) -> None:
    least, most = only(compare(sweep(rows))), only(compare(sweep([[-v for v in row] for row in rows], mode="max")))
    for one, other in zip(least, most, strict=True):
        assert (one.settings, one.rank, one.indistinguishable) == (other.settings, other.rank, other.indistinguishable)
        assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))


def test_equal_values_are_indistinguishable_and_share_the_rank() -> None:
    settings = only(compare(sweep([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.3, 0.9, 0.4]])))
    assert [each.rank for each in settings] == [1, 1, 3]
    assert verdicts(settings) == {"0.01": True, "0.1": True, "1": False}  # the last is worse by 0.2 each time
    assert verdicts(only(compare(sweep([[0.3] * 3, [0.1 + 0.2] * 3])))) == {"0.01": True, "0.1": True}  # but for an ulp


def test_failed_repetitions_are_counted_and_the_common_ones_compared() -> None:
    first, second = normal(2, 6, 3)
    settings = only(compare(sweep([[None, *first[1:]], [*second[:-1], None]])))
    by_lr = {each.settings["lr"]: each for each in settings}
    assert [(len(each.jobs), each.failed) for each in settings] == [(5, 1), (5, 1)]
    assert by_lr["0.01"].mean == pytest.approx(np.mean(first[1:]))
    expected = stats.ttest_rel(first[1:-1], second[1:-1]).pvalue > 0.05
    assert settings[1].indistinguishable == expected


def test_a_setting_does_not_win_by_the_repetitions_it_lost() -> None:
    """The first has the better mean, since it has no result for the hard seed; where both have one, it is worse."""
    settings = only(compare(sweep([[0.2, 0.3, 0.4, None], [0.1, 0.2, 0.3, 9.0]])))
    assert [(each.settings["lr"], each.rank) for each in settings] == [("0.1", 1), ("0.01", 2)]
    better = only(compare(sweep([[0.1, 0.2, 0.3, None], [0.2, 0.3, 0.4, 9.0]])))
    assert [(each.settings["lr"], each.indistinguishable) for each in better] == [("0.1", True), ("0.01", True)]


@pytest.mark.parametrize("second", [[None, None, 0.5], [0.4, None, None]])
def test_fewer_than_two_common_repetitions_say_nothing(second: list) -> None:
    first, other = only(compare(sweep([[0.1, 0.2, None], second])))
    assert (first.indistinguishable, other.indistinguishable) == (True, None)
    assert all(map(math.isnan, (other.deviation, other.low, other.high)))


def test_folds_of_different_partitions_are_not_paired() -> None:
    jobs = [job(n, {"data.folds": k, "data.fold": f}, k + f / 9) for n, (k, f) in enumerate([(2, 0), (2, 1), (3, 0)])]
    assert [each.indistinguishable for each in only(compare(jobs))] == [True, None]


def test_nothing_is_compared_without_repetitions() -> None:
    assert compare([]) == {}
    assert compare(sweep([[0.1], [0.2]])) == {}
    assert compare(sweep([[0.1, None], [0.2, None]])) == {}
    assert compare(sweep([[0.1, 0.2], [0.2, 0.3]]), repeated=()) == {}
    assert compare([job(0, {"seed": 1, "lr": 1}, 0.5), job(1, {"seed": 1, "lr": 1}, 0.5)]) == {}  # the same job twice


def test_seeds_can_be_settings_where_folds_are_the_repetitions() -> None:
    jobs = [
        job(n, {"seed": s, "data.fold": f}, s + f / 9) for n, (s, f) in enumerate(itertools.product((1, 2), (0, 1)))
    ]
    settings = [(each.settings, each.indistinguishable) for each in only(compare(jobs, repeated=("data.fold",)))]
    assert settings == [({"seed": "1"}, True), ({"seed": "2"}, False)]


def test_different_monitors_are_ranked_apart_and_failures_stay_with_their_setting() -> None:
    loss = [job(i, {"model": "a", "lr": lr, "seed": s}, lr + s) for i, (lr, s) in enumerate([(1, 0), (1, 1), (2, 0)])]
    area = [job(9 + s, {"model": "b", "lr": 1, "seed": s}, 0.9, mode="max", metric="val/auroc") for s in range(3)]
    failed = job(20, {"model": "b", "lr": 1, "seed": 3}, None, "failed")
    failed.record.monitor = Monitor()
    broken = Job(-1, Path("x"), RunRecord(status="failed", error="cannot be read"))
    nan = job(21, {"model": "a", "lr": 2, "seed": 1}, math.nan)
    comparison = compare([broken, failed, nan, *area, *loss])
    assert {
        metric: [(each.settings["lr"], each.failed) for each in ranking] for metric, ranking in comparison.items()
    } == {
        "val/loss": [("1", 0), ("2", 1)],
        "val/auroc": [("1", 1)],
    }


def test_the_rows_of_the_table() -> None:
    jobs = sweep([[0.25, 0.75, None], [10.25, 10.75, 10.5], [None, None, 20.0]])
    header, *rows = table_rows(compare(jobs))
    assert header == ["metric", "lr", *HEADER]
    assert rows == [
        ["val/loss", "0.1", "3", "0", "10.5", "0.25", "9.87897 to 11.121", "best"],
        ["val/loss", "0.01", "2", "1", "0.5", "0.354", "-2.67655 to 3.67655", "may be best"],
        ["val/loss", "1", "1", "2", "20", "", "", "unknown"],
    ]
    assert {row[-1] for row in table_rows(compare(sweep([[1, 2, 3], [1, 2.5, 3]])))[1:]} == {"best", "may be best"}
