"""Standard errors, intervals, tests and marginal effects against statsmodels, scipy and published figures."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from logreg.evaluation.coefficients.estimates import Inference
from logreg.training.standard_errors import Wanted, infer
from tests.evaluation.coefficients.fits import ALONE, agree, design, drawn, fitted, has_estimate, inference_of, oracle
from tests.helpers import shared_file
from tests.optim.test_firth import penalised_log_likelihood

PATIENT = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.integers(0, 2**32 - 1))
@PATIENT
def test_wald_inference_is_statsmodels(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    frame = drawn(seed)
    assume(has_estimate(frame))
    ours, theirs = inference_of(frame, tmp_path_factory.mktemp("t"), **ALONE), oracle(frame)
    agree(ours, theirs)
    s = ours.statistics
    for a, b in [
        (s.log_likelihood, theirs.llf),
        (s.null_log_likelihood, theirs.llnull),
        (s.deviance, -2 * theirs.llf),
        (s.aic, theirs.aic),
        (s.bic, theirs.bic),
        (s.mcfadden_r2, theirs.prsquared),
        (s.likelihood_ratio, theirs.llr),
        (s.likelihood_ratio_p, theirs.llr_pvalue),
    ]:
        assert a == pytest.approx(b, rel=1e-7, abs=1e-9)
    effects = theirs.get_margeff(at="overall")
    np.testing.assert_allclose(ours.marginal_effects.estimate, effects.margeff, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.marginal_effects.standard_error, effects.margeff_se, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("wald", "model"),
        ("wald", "HC0"),
        ("wald", "HC1"),
        ("wald", "cluster"),
        ("profile", "model"),
        ("firth", "model"),
    ],
)
def test_integer_weights_are_repeated_rows(tmp_path: Path, kind: str, method: str) -> None:
    frame, firth = drawn(4), method == "firth"
    method = "profile" if firth else method
    repeated = frame.loc[np.repeat(frame.index, frame.weight)]
    data: Any = {"exclude": [], "group": "group"} if kind == "cluster" else {"exclude": ["group"]}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours = inference_of(frame, tmp_path / "a", method, kind, firth, weight="weight", **data)
    theirs = inference_of(
        repeated, tmp_path / "b", method, kind, firth, **{**data, "exclude": ["weight", *data["exclude"]]}
    )
    pairs = zip(astuple(ours.statistics), astuple(theirs.statistics), strict=True)
    assert all(a == b if b is None else a == pytest.approx(b, rel=1e-8) for a, b in pairs)
    for name in ("estimate", "standard_error", "p", "lower", "upper"):
        for a, b in ((ours.coefficients, theirs.coefficients), (ours.marginal_effects, theirs.marginal_effects)):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-6, err_msg=name)


def published(name: str, tmp_path: Path) -> tuple[Inference, list[str]]:
    """One of the published fits, as a user would make it."""
    if name == "spector":
        frame = pd.read_csv(shared_file("spector.csv"), sep=" ", quotechar="'").rename(columns={"GRADE": "y"})
        frame, options = frame[["GPA", "TUCE", "PSI", "y"]], {}
    elif name == "lbw":
        frame = pd.read_csv(shared_file("lbw.csv")).rename(columns={"low": "y"})
        frame = frame[["age", "lwt", "race", "smoke", "ptl", "ht", "ui", "y"]]
        options = {"reference": {"race": "white"}}
    else:
        frame = pd.read_csv(shared_file("titanic_survival.csv")).rename(columns={"survived": "y"}).dropna()
        frame = frame[["sex", "age", "passengerClass", "y"]]
        options = {"reference": {"sex": "female", "passengerClass": "1st"}}
    record, classifier, table = fitted(frame, tmp_path, **options)
    inference = infer(classifier, table, record.optimality, Wanted("auto", "model", False))
    assert inference is not None
    return inference, table.preprocessor.feature_names


PUBLISHED = {  # intercept first: coefficients, standard errors, log-likelihood
    "spector": (
        [-13.0213468581, 2.8261125949, 0.0951576613, 2.3786876551],
        [4.9313242136, 1.2629410756, 0.1415542057, 1.0645642545],
        -12.8896342221,
    ),
    "lbw": (
        [0.4612238864, -0.0271003109, -0.0151508184, 1.2626472844, 0.8620791618, 0.9233448223, 0.5418365648,
         1.8325178035, 0.7585134802],
        [1.2045897485, 0.0364504266, 0.0069258786, 0.5264101426, 0.4391531548, 0.4008266424, 0.3462489976,
         0.6916292353, 0.4593767706],
        -100.7239955663,
    ),
    "titanic": (
        [3.5220740336, -2.4978446773, -0.0343932311, -1.2805697459, -2.289660572],
        [0.3267180762, 0.1660426847, 0.0063312233, 0.2255446537, 0.2258119506],
        -491.2265524756,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_the_published_fits(tmp_path: Path, name: str) -> None:
    inference, names = published(name, tmp_path)
    estimates, errors, likelihood = PUBLISHED[name]
    assert [n.rpartition("=")[2] for n in names] == {
        "spector": ["GPA", "TUCE", "PSI"],
        "lbw": ["age", "lwt", "black", "other", "smoke", "ptl", "ht", "ui"],
        "titanic": ["male", "age", "2nd", "3rd"],
    }[name]
    np.testing.assert_allclose(np.roll(inference.coefficients.estimate, 1), estimates, rtol=1e-6)
    np.testing.assert_allclose(np.roll(inference.coefficients.standard_error, 1), errors, rtol=1e-4)
    assert inference.statistics.log_likelihood == pytest.approx(likelihood, rel=1e-9)
    if name == "spector":
        assert inference.statistics.null_log_likelihood == pytest.approx(-20.5917296966, rel=1e-9)
        assert inference.statistics.aic == pytest.approx(33.779268, abs=1e-6)


def test_the_firth_test_of_all_slopes_is_that_of_a_general_maximiser(tmp_path: Path) -> None:
    frame = drawn(5)
    inference = inference_of(frame, tmp_path, "wald", firth=True, **ALONE)
    x, y = design(frame).iloc[:, :3].to_numpy(), frame.y.to_numpy()
    null = minimize(lambda b: -penalised_log_likelihood(np.array([0, 0, 0, b[0]]), x, y), [0.0], options={"gtol": 1e-9})
    best = inference.statistics.penalised_log_likelihood
    assert best is not None
    assert inference.statistics.likelihood_ratio == pytest.approx(2 * (best + null.fun), rel=1e-6)
