"""Marginal effects of levels are the differences that statsmodels predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from tests.evaluation.coefficients.fits import drawn, inference_of


def test_marginal_effects_of_levels_are_discrete_changes(tmp_path: Path) -> None:
    frame = drawn(6, rows=150)[["a", "b", "y"]]
    random = np.random.default_rng(0)
    frame["flag"] = random.choice(["no", "yes"], len(frame))
    frame["city"] = random.choice(["Bonn", "Köln", "Ulm"], len(frame))
    inference = inference_of(frame, tmp_path, reference="first")
    dummies = frame[["a", "b"]].assign(
        yes=frame.flag == "yes", koeln=frame.city == "Köln", ulm=frame.city == "Ulm", const=1
    )
    x = dummies.astype(float)
    fit = sm.Logit(frame.y, x).fit(disp=0, tol=1e-10)
    np.testing.assert_allclose(inference.coefficients.estimate, fit.params, rtol=1e-6)
    effects = fit.get_margeff(at="overall", dummy=True)  # right where a factor has two levels
    ours = inference.marginal_effects
    np.testing.assert_allclose(ours.estimate[:3], effects.margeff[:3], rtol=1e-6)
    np.testing.assert_allclose(ours.standard_error[:3], effects.margeff_se[:3], rtol=1e-5)
    for i, name in ((3, "koeln"), (4, "ulm")):
        without = x.assign(koeln=0, ulm=0)
        with_it = without.assign(**{name: 1})
        change = lambda b, x0=without, x1=with_it: (fit.model.predict(b, x1) - fit.model.predict(b, x0)).mean()  # noqa: E731
        assert ours.estimate[i] == pytest.approx(change(fit.params), rel=1e-6)
        steps = 1e-6 * np.eye(len(fit.params))
        slope = np.array([(change(fit.params + s) - change(fit.params - s)) / 2e-6 for s in steps])
        assert ours.standard_error[i] == pytest.approx(np.sqrt(slope @ fit.cov_params() @ slope), rel=1e-4)
