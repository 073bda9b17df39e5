"""Profile intervals against refits, published fits and a general maximiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.optimize import brentq, minimize
from scipy.stats import chi2

from logreg.evaluation.coefficients.estimates import QUANTILE, Inference
from tests.evaluation.coefficients.fits import ALONE, design, drawn, inference_of, oracle
from tests.helpers import shared_file
from tests.optim.test_firth import penalised_log_likelihood


@pytest.mark.parametrize("seed", [1, 2])
def test_profile_intervals_are_where_refits_with_an_offset_fall_short(tmp_path: Path, seed: int) -> None:
    frame = drawn(seed)
    ours, x = inference_of(frame, tmp_path, "profile", **ALONE).coefficients, design(frame)
    full = oracle(frame).llf

    def deviance(name: str, t: float) -> float:
        others = x.drop(columns=name)
        fit = sm.GLM(frame.y, others, sm.families.Binomial(), offset=t * x[name]).fit(tol=1e-13)
        return 2 * (full - fit.llf)

    for i, name in enumerate(x):
        for bound in (ours.lower[i], ours.upper[i]):
            assert deviance(name, bound) == pytest.approx(QUANTILE**2, rel=1e-5)
        assert ours.lower[i] < ours.estimate[i] < ours.upper[i]
        assert ours.p[i] == pytest.approx(chi2.sf(deviance(name, 0.0), 1), rel=1e-4, abs=1e-12)


FIRTH = {  # intercept first
    "endometrial": (
        "HG",
        [3.7745597136, 2.9292733532, -0.0347517599, -2.6041639253],
        [1.4886916634, 1.5507637295, 0.0395781473, 0.7760176425],
        -24.0372678007,
    ),
    "sex2": (
        "case",
        [0.1202540491, -1.1059813314, -0.0688167271, 2.2688746522, -2.1114081853, -0.7883169514, 3.0960118274],
        None,
        -132.5393795328,
    ),
}


@pytest.mark.parametrize("name", list(FIRTH))
def test_the_published_firth_fits_and_their_profile_intervals(tmp_path: Path, name: str) -> None:
    target, estimates, errors, likelihood = FIRTH[name]
    frame = pd.read_csv(shared_file(f"{name}.csv")).rename(columns={target: "y"})
    inference = inference_of(frame, tmp_path, "auto", firth=True)
    assert inference.method == "profile"
    ours = inference.coefficients
    np.testing.assert_allclose(np.roll(ours.estimate, 1), estimates, rtol=1e-6)
    if errors is not None:
        np.testing.assert_allclose(np.roll(ours.standard_error, 1), errors, rtol=1e-4)
    assert inference.statistics.penalised_log_likelihood == pytest.approx(likelihood, rel=1e-9)
    x, y = frame.drop(columns="y").to_numpy(float), frame.y.to_numpy()
    check_firth_profile(inference, x, y, range(2))


def check_firth_profile(inference: Inference, x: np.ndarray, y: np.ndarray, which: Any) -> None:
    """Hold bounds and p values against a general maximiser with one coefficient held fixed."""
    ours = inference.coefficients
    least = inference.statistics.penalised_log_likelihood
    assert least is not None

    def deviance(i: int, t: float) -> float:
        start = np.delete(ours.estimate, i)
        scale = np.delete(ours.standard_error, i)
        loss = lambda free: -penalised_log_likelihood(np.insert(start + scale * free, i, t), x, y)  # noqa: E731
        return float(2 * (minimize(loss, np.zeros(len(start)), method="BFGS", options={"gtol": 1e-7}).fun + least))

    for i in which:
        for bound in (ours.lower[i], ours.upper[i]):
            assert deviance(i, bound) == pytest.approx(QUANTILE**2, rel=1e-4)
        assert ours.p[i] == pytest.approx(chi2.sf(deviance(i, 0.0), 1), rel=1e-3)
    i = which[0]
    by_root = brentq(lambda t: deviance(i, t) - QUANTILE**2, ours.estimate[i], ours.estimate[i] + 9, xtol=1e-6)
    assert ours.upper[i] == pytest.approx(by_root, abs=1e-4)
