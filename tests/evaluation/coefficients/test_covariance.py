"""Robust and clustered covariances are those of statsmodels; rows without weight are absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats import sandwich_covariance

from tests.evaluation.coefficients.fits import ALONE, agree, drawn, inference_of, oracle


@pytest.mark.parametrize("kind", ["HC0", "HC1", "cluster"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_robust_covariances_are_statsmodels(tmp_path: Path, kind: str, seed: int) -> None:
    frame = drawn(seed)
    exclude = {"exclude": ["weight"], "group": "group"} if kind == "cluster" else ALONE
    groups = {"cov_kwds": {"groups": frame.group.astype("category").cat.codes}} if kind == "cluster" else {}
    ours = inference_of(frame, tmp_path, covariance=kind, **exclude)
    if kind == "HC1":  # Logit's own HC1 is HC0: the correction is in the function that it does not ask for it
        variance = sandwich_covariance.cov_white_simple(oracle(frame), use_correction=True)
        np.testing.assert_allclose(ours.coefficients.standard_error, np.sqrt(np.diag(variance)), rtol=1e-6)
        return
    theirs = oracle(frame, cov_type=kind, **groups)
    agree(ours, theirs)
    assert ours.clusters == (frame.group.nunique() if kind == "cluster" else None)
    effects = theirs.get_margeff(at="overall")
    np.testing.assert_allclose(ours.marginal_effects.standard_error, effects.margeff_se, rtol=1e-5)


@pytest.mark.parametrize("kind", ["model", "HC0", "HC1", "cluster"])
def test_rows_of_weight_0_are_absent(tmp_path: Path, kind: str) -> None:
    frame = drawn(4, rows=80)
    frame["weight"] = np.where(frame.index < 60, 1, 0)
    frame.loc[60:, "group"] = [f"h{i}" for i in range(20)]  # groups of rows that do not count
    group = {"group": "group"} if kind == "cluster" else {"exclude": ["group"]}
    ours = inference_of(frame, tmp_path, covariance=kind, weight="weight", **group)
    frame = frame[:60]
    groups = {"cov_kwds": {"groups": frame.group.astype("category").cat.codes}} if kind == "cluster" else {}
    theirs = oracle(frame, cov_type={"model": "nonrobust", "HC1": "HC0"}.get(kind, kind), **groups)
    correction = np.sqrt(60 / 56) if kind == "HC1" else 1.0  # which statsmodels leaves out
    np.testing.assert_allclose(ours.coefficients.standard_error, theirs.bse * correction, rtol=1e-6)
    assert ours.clusters == (frame.group.nunique() if kind == "cluster" else None)
    s = ours.statistics
    for a, b in [
        (s.observations, 60),
        (s.aic, theirs.aic),
        (s.bic, theirs.bic),
        (s.null_log_likelihood, theirs.llnull),
    ]:
        assert a == pytest.approx(b, rel=1e-9)
