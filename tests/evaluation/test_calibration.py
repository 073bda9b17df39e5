"""Calibration is scikit-learn's, wherever a probability comes out of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import CalibratedClassifierCV, _SigmoidCalibration
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from logreg.core.errors import UserError
from logreg.evaluation.calibration import Calibration, SigmoidCalibration, fit_calibration, from_record
from logreg.evaluation.metrics import Evaluation
from logreg.models import LogisticRegression as OwnModel
from logreg.runs.export import FORMATS
from logreg.runs.load import Run
from logreg.runs.tables import RESULTS, Predictor
from tests.runs.export.runs import mixed, mixed_rows, run_of, written

METHODS = ("sigmoid", "isotonic")


def draw(seed: int, rows: int = 400, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Overconfident logits, labels, weights with zeros among them."""
    random = np.random.default_rng(seed)
    z = scale * random.normal(size=rows)
    y = (random.random(rows) < expit(z / 2 + 0.5)).astype(float)
    return z, y, random.integers(0, 4, rows) * random.random(rows)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_is_scikit_learns(seed: int, weighted: bool) -> None:
    z, y, w = draw(seed, scale=10.0 ** (seed - 2))
    weight = w if weighted else None
    theirs = _SigmoidCalibration().fit(z, y, weight)
    ours = fit_calibration("sigmoid", z, y, weight)
    assert isinstance(ours, SigmoidCalibration)
    assert ours.probabilities(z) == pytest.approx(theirs.predict(z), abs=1e-5)  # theirs stops early
    # Both minimise the log loss against Platt's targets; ours is not above theirs.
    w = np.ones(len(z)) if weight is None else weight
    ones, zeros = w @ y, w @ (1 - y)
    target = np.where(y > 0, (ones + 1) / (ones + 2), 1 / (zeros + 2))

    def loss(slope: float, intercept: float) -> float:
        s = slope * z + intercept
        return float(w @ (np.logaddexp(0, s) - target * s))

    assert loss(ours.slope, ours.intercept) <= loss(-theirs.a_, -theirs.b_) + 1e-9
    residual = w * (ours.probabilities(z) - target)
    assert abs(residual.sum()) < 1e-9 * w.sum()
    assert abs(residual @ z) < 1e-9 * (w @ np.abs(z))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weighted", [False, True])
def test_isotonic_is_scikit_learns(seed: int, weighted: bool) -> None:
    z, y, w = draw(seed)
    z = z.round(1 + seed % 3)  # ties
    weight = w if weighted else np.ones(len(z))
    counted = weight > 0
    theirs = IsotonicRegression(out_of_bounds="clip").fit(z[counted], y[counted], weight[counted])
    new = np.linspace(-12, 12, 1001)
    ours = fit_calibration("isotonic", z, y, weight if weighted else None)
    assert ours.probabilities(new) == pytest.approx(theirs.predict(new), abs=1e-12)
    assert from_record(ours.as_record()) == ours


@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_calibration_of_a_frozen_classifier(method: Any) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(600, 3)), (random.random(600) < 0.3).astype(float)
    x[:, 0] += 2 * y
    model = LogisticRegression(C=1e4).fit(x[:200], y[:200])
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method=method, cv=2).fit(x[200:400], y[200:400])
    ours = fit_calibration(method, model.decision_function(x[200:400]), y[200:400])
    p = ours.probabilities(model.decision_function(x[400:]))
    assert p == pytest.approx(theirs.predict_proba(x[400:])[:, 1], abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_integer_weights_are_repeated_rows(method: str) -> None:
    z, y, _ = draw(1, 100)
    w = np.random.default_rng(0).integers(0, 4, 100)
    as_float = w.astype(float)
    new = np.linspace(-6, 6, 101)
    p = fit_calibration(method, z, y, as_float).probabilities(new)
    assert p == pytest.approx(fit_calibration(method, np.repeat(z, w), np.repeat(y, w)).probabilities(new), abs=1e-9)


@given(st.integers(0, 10**6), st.integers(2, 60), st.floats(-3, 6), st.sampled_from(METHODS))
@settings(max_examples=150)
def test_any_rows_give_probabilities_that_are_calibrated_on_them(
    seed: int, rows: int, size: float, method: str
) -> None:
    random = np.random.default_rng(seed)
    z = 10**size * random.normal(size=rows).round(random.integers(0, 4))
    y = np.append([0.0, 1.0], random.integers(0, 2, rows - 2))
    fitted = fit_calibration(method, z, y)
    p = fitted.probabilities(z)
    assert ((p >= 0) & (p <= 1)).all()
    if method == "isotonic":
        assert p.mean() == pytest.approx(y.mean(), abs=1e-9)
        assert ((p - y) ** 2).mean() <= y.mean() * (1 - y.mean()) + 1e-12
        assert (np.diff(p[np.argsort(z, kind="stable")]) >= 0).all()
    else:
        target = np.where(y > 0, (y.sum() + 1) / (y.sum() + 2), 1 / (rows - y.sum() + 2))
        assert p.mean() == pytest.approx(target.mean(), abs=1e-6)
    again = from_record(fitted.as_record())
    assert again == fitted


@pytest.mark.parametrize("method", METHODS)
def test_constant_predictions_become_the_share(method: str) -> None:
    y = np.array([0.0, 0, 0, 1])
    for z in (np.full(4, 3.1), np.full(4, -700.0), np.zeros(4)):
        fitted = fit_calibration(method, z, y)
        expected = 0.25 if method == "isotonic" else np.mean([1 / 5, 1 / 5, 1 / 5, 2 / 3])
        assert fitted.probabilities(z) == pytest.approx(np.full(4, expected), abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_separated_rows_have_a_finite_calibration(method: str) -> None:
    for size in (1.0, 800.0, 1e6):
        z, y = size * np.array([-2.0, -1, 1, 2]), np.array([0.0, 0, 1, 1])
        fitted = fit_calibration(method, z, y)
        assert fitted.probabilities(z)[[0, 3]] == pytest.approx(
            [0.0, 1.0] if method == "isotonic" else [0.2, 0.8], abs=0.1
        )
        assert np.isfinite(fitted.logits(z)).all()


def test_rounding_does_not_come_between_rows_that_are_one() -> None:
    z = np.array([-1.0, 0.5, 0.5 + 1e-13, 2.0])
    fitted = fit_calibration("isotonic", z, np.array([0.0, 0, 1, 1]))
    assert fitted.probabilities(z) == pytest.approx([0.0, 0.5, 0.5, 1.0], abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_are_those_of_calibrated_probabilities(method: str, weighted: bool) -> None:
    z, y, _ = draw(2)
    new, truth, weight = draw(3)
    fitted = fit_calibration(method, z, y)
    evaluation = Evaluation(0.4)
    evaluation.decide(0.4, fitted)
    weights = torch.from_numpy(weight) if weighted else None
    evaluation.update(torch.from_numpy(new), torch.from_numpy(truth), weights)
    metrics = evaluation.compute()
    p = fitted.probabilities(new)
    sample_weight = weight if weighted else None
    keywords: dict[str, Any] = {"sample_weight": sample_weight}
    expected = {
        "loss": sklearn_metrics.log_loss(truth, 1 / (1 + np.exp(-new)), **keywords),
        "log_loss": sklearn_metrics.log_loss(truth, p, **keywords),
        "brier": sklearn_metrics.brier_score_loss(truth, p, **keywords),
        "accuracy": sklearn_metrics.accuracy_score(truth, p >= 0.4, **keywords),
        "auroc": sklearn_metrics.roc_auc_score(truth, p, **keywords),
        "average_precision": sklearn_metrics.average_precision_score(truth, p, **keywords),
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    rows = evaluation.scored_rows(new, truth, p >= 0.4, weight if weighted else np.ones(len(new)))
    for name in ("loss", "log_loss"):
        assert rows.mean(rows.losses[name]) == pytest.approx(expected[name], abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_validation_rows_of_one_label_are_refused(method: str) -> None:
    with pytest.raises(UserError, match=f"calibration={method}: all validation rows have the label 1"):
        fit_calibration(method, np.arange(3.0), np.ones(3))
    with pytest.raises(UserError, match="all validation rows have the label 0"):
        fit_calibration(method, np.arange(3.0), np.array([0.0, 0, 1]), np.array([1.0, 2, 0]))
    with pytest.raises(UserError, match=f"calibration={method} is fitted on validation rows, and there are none"):
        fit_calibration(method, np.empty(0), np.empty(0))


# --- carried along ----------------------------------------------------------------------------------------------------


def calibrated(run: Run, method: str) -> tuple[Run, Calibration]:
    """The run with a calibration as steep in places as validation rows can be close."""
    z = Predictor(run).logits(mixed_rows(80), "rows")
    y = (np.random.default_rng(5).random(len(z)) < 1 / (1 + np.exp(-z / 3))).astype(float)
    fitted = fit_calibration(method, z, y)
    run.model.decide(run.model.threshold, fitted)
    return run, fitted


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("format", sorted(FORMATS))
def test_exports_are_calibrated(method: str, format: str, tmp_path: Path) -> None:
    run, fitted = calibrated(run_of(mixed(), threshold=0.3), method)
    frame = mixed_rows()
    raw = replace(run, model=run_of(mixed()).model)
    expected = fitted.probabilities(Predictor(raw).logits(frame, "rows"))
    assert run.predict_proba(frame) == pytest.approx(expected, abs=1e-9)
    p = written(run, format, tmp_path / "export", [frame])(frame)
    # ONNX hands over probabilities in float32.
    assert p == pytest.approx(expected, abs=1e-5 if format == "onnx" else 1e-9)
    assert np.abs(expected - Predictor(raw).probabilities(Predictor(raw).logits(frame, "rows"))).max() > 0.05


def test_a_plateau_at_the_threshold_is_predicted_alike_in_every_format(tmp_path: Path) -> None:
    run = run_of(mixed(), threshold=0.5)
    frame = mixed_rows()
    z = Predictor(run).logits(frame, "rows")
    low, high = np.quantile(z, [0.3, 0.7])
    knots = np.array([low - 1, low, high, high + 1])
    # Pairs of one row of each label at the two inner knots: half of all rows there are of label 1.
    inner = fit_calibration("isotonic", np.repeat(knots, 2), np.array([0.0, 0, 0, 1, 0, 1, 1, 1]))
    assert inner.probabilities(knots).tolist() == [0.0, 0.5, 0.5, 1.0]
    run.model.decide(run.model.threshold, inner)
    p = run.predict_proba(frame)
    assert (p == 0.5).sum() > 10
    expected = run.predict(frame).tolist()
    assert Predictor(run).results(z)[RESULTS[1]].to_list() == expected
    onnxruntime = pytest.importorskip("onnxruntime")
    predict = written(run, "onnx", tmp_path / "run.onnx", [frame])
    assert predict(frame) == pytest.approx(p, abs=1e-6)
    from logreg.runs.export.to_onnx import inputs

    session = onnxruntime.InferenceSession(tmp_path / "run.onnx")
    types = {node.name: node.type for node in session.get_inputs()}
    assert session.run(["prediction"], inputs(frame, run.preprocessor, types))[0].tolist() == expected
    skops = pytest.importorskip("skops.io")
    written(run, "sklearn", tmp_path / "run.skops")
    pipeline = skops.load(tmp_path / "run.skops", trusted=["sklearn.calibration._CalibratedClassifier"])
    assert pipeline.predict(frame.to_pandas()).tolist() == expected


@pytest.mark.parametrize("method", METHODS)
def test_a_network_of_another_kind_is_exported_calibrated(method: str, tmp_path: Path) -> None:
    run, _ = calibrated(run_of(mixed(), OwnModel), method)
    frame = mixed_rows()
    p = written(run, "torch", tmp_path / "run.pt2")(frame)
    assert p == pytest.approx(run.predict_proba(frame), abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_predictions_of_columns_are_those_of_batches(method: str) -> None:
    run, _ = calibrated(run_of(mixed(), threshold=0.3), method)
    frame = mixed_rows()
    predictor = Predictor(run)
    lazy = frame.lazy().select(predictor.expressions(frame.schema)).collect(engine="streaming")
    batch = predictor.results(predictor.logits(frame, "rows"))
    assert lazy[RESULTS[0]].to_numpy() == pytest.approx(batch[RESULTS[0]].to_numpy(), abs=1e-9)
    assert lazy[RESULTS[1]].to_list() == batch[RESULTS[1]].to_list()
    infinite = frame[:3].with_columns(never_missing=pl.Series([1.0, float("inf"), 2.0]))
    predictions = infinite.lazy().select(predictor.expressions(infinite.schema)).collect()
    assert predictions[RESULTS[0]].is_null().to_list() == [False, True, False]
