"""The metrics of many classifiers at once are those that `Evaluation` and scikit-learn give to each alone."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryCalibrationError,
    BinaryF1Score,
    BinaryMatthewsCorrCoef,
    BinaryRecall,
    BinarySpecificity,
    BinaryStatScores,
)

from logreg.core.errors import UserError
from logreg.evaluation.metrics import Evaluation, default_metrics
from logreg.sweeps.fused import metrics as batched_metrics
from logreg.sweeps.fused.metrics import BatchedEvaluation

pytestmark = pytest.mark.filterwarnings("ignore:No (positive|negative) samples", "ignore:invalid value")

LOSSES = ("loss", "log_loss")
# torchmetrics counts in float32; calibration error and Brier score of probabilities in float64 are computed in float64.
IN_FLOAT64 = ("calibration_error", "ece", "brier")

CALIBRATION: dict[str, Metric] = {
    f"ece_{norm}_{bins}": BinaryCalibrationError(n_bins=bins, norm=norm, validate_args=False)
    for norm in ("l1", "l2", "max")
    for bins in (1, 3, 15, 100)
}
UNUSUAL: dict[str, Metric] = {
    "specificity": BinarySpecificity(),
    "mcc": BinaryMatthewsCorrCoef(),
    "f1_of_nothing": BinaryF1Score(zero_division=1.0),
    "accuracy_but": BinaryAccuracy(ignore_index=-1),
    "partial_auroc": BinaryAUROC(max_fpr=0.5),
    "auroc_of_grid": BinaryAUROC(thresholds=7),
    "average_precision_of_grid": BinaryAveragePrecision(thresholds=[0.1, 0.5, 0.7]),
    "ece_but": BinaryCalibrationError(n_bins=4, ignore_index=-1),
}


def alone(
    logits: Tensor, y: Tensor, weight: Tensor | None, thresholds: list[float], metrics: dict[str, Metric]
) -> dict[str, list[float]]:
    """What `Evaluation` says of each job."""
    values: dict[str, list[float]] = {}
    for job, threshold in enumerate(thresholds):
        evaluation = Evaluation(threshold, deepcopy(metrics))
        labels = y if y.ndim == 1 else y[job]
        w = weight if weight is None or weight.ndim == 1 else weight[job]
        evaluation.update(logits[job], labels, w)
        for name, value in evaluation.compute().items():
            values.setdefault(name, []).append(value)
    return values


def assert_same(batched: dict[str, np.ndarray], expected: dict[str, list[float]], weighted: bool = False) -> None:
    assert list(batched) == list(expected)
    for name, values in expected.items():
        assert batched[name].dtype == np.float64
        if name in LOSSES or name.startswith(IN_FLOAT64):
            np.testing.assert_allclose(batched[name], values, rtol=1e-12, atol=1e-12, err_msg=name)
        elif name.startswith("accuracy") and not weighted:
            np.testing.assert_array_equal(batched[name], values, err_msg=name)
        else:
            np.testing.assert_allclose(batched[name], values, rtol=0, atol=1e-6, err_msg=name)


def assert_same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert list(a) == list(b)
    for name, values in a.items():
        assert values.tobytes() == b[name].tobytes(), name


@st.composite
def problems(draw: Callable) -> tuple[Tensor, Tensor, Tensor, list[float]]:
    """Logits with many ties, labels (often of one class) and weights (often 0), shared or not, and thresholds."""
    jobs, rows = draw(st.integers(1, 4)), draw(st.integers(1, 70))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    distinct = random.normal(scale=draw(st.sampled_from([0.3, 3.0, 40.0])), size=draw(st.integers(1, 2 * rows)))
    distinct[0] = 0.0
    logits = torch.from_numpy(random.choice(distinct, (jobs, rows))).to(dtype)
    rate = draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    shapes = st.sampled_from([(rows,), (jobs, rows)])
    y = torch.from_numpy((random.random(draw(shapes)) < rate).astype(np.float64))
    w = random.integers(0, 3, shape := draw(shapes)) * random.random(shape)
    # As often as not exactly the probability of one of the job's own rows.
    own = [float(torch.sigmoid(z)[draw(st.integers(0, rows - 1))]) for z in logits]
    thresholds = draw(st.sampled_from([own, random.random(jobs).tolist(), [0.5] * jobs]))
    return logits, y, torch.from_numpy(w), thresholds


@settings(max_examples=30, deadline=None)
@given(problems())
def test_every_job_gets_what_an_evaluation_of_its_own_gives(problem: tuple) -> None:
    logits, y, _, thresholds = problem
    metrics = default_metrics() | CALIBRATION
    evaluation = BatchedEvaluation(thresholds, metrics)
    assert not evaluation.others
    assert_same(evaluation(logits, y), alone(logits, y, None, thresholds, metrics))


@settings(max_examples=25, deadline=None)
@given(problems())
def test_weights_count_as_they_do_in_an_evaluation(problem: tuple) -> None:
    logits, y, w, thresholds = problem
    metrics = default_metrics() | CALIBRATION
    batched = BatchedEvaluation(thresholds, metrics)(logits, y, w)
    assert_same(batched, alone(logits, y, w, thresholds, metrics), weighted=True)


@settings(max_examples=12, deadline=None)
@given(problems(), st.booleans())
def test_other_metrics_are_fed_job_by_job(problem: tuple, weighted: bool) -> None:
    logits, y, w, thresholds = problem
    weight = w if weighted else None
    evaluation = BatchedEvaluation(thresholds, UNUSUAL | default_metrics())
    assert list(evaluation.others) == list(UNUSUAL)
    for _ in range(2):  # nothing is left over from the first
        batched = evaluation(logits, y, weight)
        assert_same(batched, alone(logits, y, weight, thresholds, UNUSUAL | default_metrics()), weighted)
    assert not any(metric.update_called for metric in UNUSUAL.values())


@settings(max_examples=20, deadline=None)
@given(problems(), st.booleans(), st.sampled_from([1, 100, 1000]))
def test_nothing_depends_on_the_company_to_the_last_bit(problem: tuple, weighted: bool, size: int) -> None:
    logits, y, w, thresholds = problem
    y, weight = y.expand(logits.shape), w.expand(logits.shape) if weighted else None
    metrics = default_metrics() | {"rms": CALIBRATION["ece_l2_15"], "specificity": UNUSUAL["specificity"]}
    together = BatchedEvaluation(thresholds, metrics)(logits, y, weight)
    for job, threshold in enumerate(thresholds):
        one = slice(job, job + 1)
        single = BatchedEvaluation([threshold], metrics)(logits[one], y[one], None if weight is None else weight[one])
        assert_same_bits(single, {name: values[one] for name, values in together.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batched_metrics, "SLICE", size)
        assert_same_bits(BatchedEvaluation(thresholds, metrics)(logits, y, weight), together)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("broken", [[float("nan")], [float("nan"), float("inf"), -float("inf")]])
def test_nan_in_one_job_changes_no_bit_of_the_others(broken: list[float], weighted: bool) -> None:
    torch.manual_seed(0)
    logits, y, w = torch.randn(50, 57), (torch.rand(57) < 0.4).float(), torch.rand(57)
    weight = w if weighted else None
    evaluation = BatchedEvaluation([0.4] * 50, default_metrics() | CALIBRATION | UNUSUAL)
    before = evaluation(logits, y, weight)
    logits[7, 3 : 3 + len(broken)] = torch.tensor(broken)
    logits[8] = float("nan")
    after = evaluation(logits, y, weight)
    others = np.delete(np.arange(50), [7, 8])
    assert_same_bits(*({name: column[others] for name, column in values.items()} for values in (before, after)))
    predictions_only = {"accuracy", "f1", "specificity", "mcc", "f1_of_nothing", "accuracy_but"}
    assert all(np.isnan(column[[7, 8]]).all() == (name not in predictions_only) for name, column in after.items())
    metrics = {name: metric for name, metric in (default_metrics() | UNUSUAL).items() if name in predictions_only}
    expected = alone(logits[7:9], y, weight, [0.4] * 2, metrics)
    assert_same({name: after[name][7:9] for name in expected}, expected, weighted)


@pytest.mark.parametrize("weighted", [False, True])
def test_infinite_logits_are_what_they_are_in_an_evaluation(weighted: bool) -> None:
    signs = torch.tensor([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]])
    logits, y = torch.cat([signs * float("inf"), signs * 800]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    weight = torch.ones(4) if weighted else None
    metrics = default_metrics() | CALIBRATION
    batched = BatchedEvaluation([0.5] * 6, metrics)(logits, y, weight)
    assert_same(batched, alone(logits, y, weight, [0.5] * 6, metrics), weighted)


@pytest.mark.parametrize("bins", [2, 5, 10, 15, 20])
@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("weighted", [False, True])
def test_probabilities_on_the_edge_of_a_bin_fall_where_torchmetrics_puts_them(
    bins: int, norm: str, weighted: bool
) -> None:
    metric = BinaryCalibrationError(n_bins=bins, norm=norm, validate_args=False)  # type: ignore[arg-type]
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    on = torch.special.logit(edges[1:-1])
    # One row a job, so that a wrong bin cannot hide; then all of them, and the saturated ones, in one job.
    near = torch.cat([on, torch.nextafter(on, on + 1), torch.nextafter(on, on - 1)])
    assert np.isin(torch.sigmoid(near).numpy(), edges.numpy()).any()
    pairs = torch.stack([near, near.roll(1)], 1)
    every = torch.cat([near, torch.tensor([50.0, -800.0, 800.0], dtype=torch.float64)])[None]
    for logits in (pairs, every):
        y = (torch.arange(logits.shape[1]) % 3 == 0).double()
        weight = torch.linspace(0.5, 1, logits.shape[1]).double() if weighted else None
        thresholds = [0.5] * len(logits)
        batched = BatchedEvaluation(thresholds, {"ece": metric})(logits, y, weight)
        assert_same(batched, alone(logits, y, weight, thresholds, {"ece": metric}), weighted)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_ranks_are_scored_as_by_scikit_learn(seed: int, weighted: bool) -> None:
    random = np.random.default_rng(seed)
    z = random.normal(size=(20, 300)).round(seed)  # seed 0: hardly any distinct, seed 3: hardly any tied
    y = (random.random((20, 300)) < 0.3).astype(float)
    w = random.integers(0, 4, 300) * random.random(300)
    weight = torch.from_numpy(w) if weighted else None
    batched = BatchedEvaluation([0.4] * 20, default_metrics())(torch.from_numpy(z), torch.from_numpy(y), weight)
    for job in range(20):
        p = 1 / (1 + np.exp(-z[job])) if weighted else torch.sigmoid(torch.from_numpy(z[job])).numpy()
        sample_weight = w if weighted else None
        expected = {
            "log_loss": sklearn.metrics.log_loss(y[job], p, sample_weight=sample_weight),
            "accuracy": sklearn.metrics.accuracy_score(y[job], p >= 0.4, sample_weight=sample_weight),
            "f1": sklearn.metrics.f1_score(y[job], p >= 0.4, sample_weight=sample_weight),
            "auroc": sklearn.metrics.roc_auc_score(y[job], p, sample_weight=sample_weight),
            "average_precision": sklearn.metrics.average_precision_score(y[job], p, sample_weight=sample_weight),
        }
        for name, value in expected.items():
            assert batched[name][job] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize(("jobs", "rows"), [(1200, 57), (3, 40_000)])
def test_many_jobs_and_many_rows(jobs: int, rows: int) -> None:
    torch.manual_seed(1)
    logits, y = (4 * torch.randn(jobs, rows)).round(decimals=1), (torch.rand(jobs, rows) < 0.5).float()
    thresholds = [float(torch.sigmoid(z)[-1]) for z in logits]
    batched = BatchedEvaluation(thresholds, default_metrics())(logits, y)
    some = list(range(0, jobs, max(1, jobs // 100)))
    expected = alone(logits[some], y[some], None, [thresholds[job] for job in some], default_metrics())
    assert_same({name: values[some] for name, values in batched.items()}, expected)


def test_logits_of_any_layout() -> None:
    torch.manual_seed(2)
    logits, y = torch.randn(57, 30).T.requires_grad_(), (torch.rand(57, 30) < 0.5).double().T
    evaluation = BatchedEvaluation([0.5] * 30, default_metrics())
    assert_same_bits(evaluation(logits, y), evaluation(logits.detach().contiguous(), y.contiguous().float()))


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="3 jobs, but 2 thresholds"):
        BatchedEvaluation([0.5, 0.5], default_metrics())(torch.zeros(3, 5), torch.zeros(5))
    with pytest.raises(UserError, match="does not give one number"):
        BatchedEvaluation([0.5], {"all": BinaryStatScores()})(torch.zeros(1, 5), torch.zeros(5))
    assert list(BatchedEvaluation([0.5], {"recall": BinaryRecall()}).others) == ["recall"]
