"""Standard errors, intervals, tests and marginal effects against statsmodels, scipy and published figures."""

from __future__ import annotations

import functools
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from scipy.optimize import brentq, minimize
from scipy.stats import chi2
from statsmodels.stats import sandwich_covariance
from torch import nn

from logreg.core.errors import UserError
from logreg.data import TableData
from logreg.evaluation.coefficients.estimates import QUANTILE, Inference, NoInference
from logreg.evaluation.coefficients.optimality import MOST_SEARCHED
from logreg.evaluation.coefficients.separation import find_separation
from logreg.models import SequentialRegression
from logreg.optim.newton import Newton
from logreg.records.record import RunRecord
from logreg.training.classifier import BinaryClassifier
from logreg.training.loop import train
from logreg.training.standard_errors import Wanted, check_model, infer, infer_run
from tests.helpers import breast_cancer, shared_file, table_data
from tests.optim.test_firth import penalised_log_likelihood

PATIENT = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fitted(
    frame: pd.DataFrame, folder: Path, firth: bool = False, epochs: int = 200, **data: Any
) -> tuple[RunRecord, BinaryClassifier, TableData]:
    """A Newton fit of all rows of a frame with the target y."""
    frame.to_csv(folder / "t.csv", index=False)
    table = table_data(
        path=str(folder / "t.csv"),
        target="y",
        split={"train": 1.0},
        cache_dir=str(folder / "cache"),
        **{"exclude": [], **data},
    )
    table.prepare_data()
    table.setup()
    weight = 1 / table.training_weight if firth else 0.0
    classifier = BinaryClassifier(SequentialRegression(table.num_features), functools.partial(Newton), firth=weight)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        precision="64-true",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=str(folder),
    )
    return train(table, classifier, trainer, most_searched=MOST_SEARCHED), classifier, table


def inference_of(
    frame: pd.DataFrame,
    folder: Path,
    method: str = "wald",
    covariance: str = "model",
    firth: bool = False,
    **data: Any,
) -> Inference:
    record, classifier, table = fitted(frame, folder, firth, **data)
    found = infer(classifier, table, record.optimality, Wanted(method, covariance, True))
    assert found is not None
    return found


def drawn(seed: int, rows: int = 60) -> pd.DataFrame:
    """Columns of unlike units, no separation, groups and weights."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3)) * [1, 20, 0.01] + [0, 300, 5]
    z = 0.8 * x[:, 0] + (x[:, 1] - 300) / 30 + random.logistic(size=rows)
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=(z > 0).astype(int))
    frame["group"] = [f"g{i}" for i in random.integers(0, 8, rows)]
    frame["weight"] = random.integers(1, 4, rows)
    return frame


def has_estimate(frame: pd.DataFrame) -> bool:
    x, y = frame[["a", "b", "c"]].to_numpy(), frame.y.to_numpy()
    return 0 < y.mean() < 1 and find_separation(x, y, ["a", "b", "c"]).kind == "none"


def design(frame: pd.DataFrame) -> pd.DataFrame:
    """What statsmodels fits: the constant last."""
    return frame[["a", "b", "c"]].assign(const=1.0)


def oracle(frame: pd.DataFrame, **options: Any) -> Any:
    return sm.Logit(frame.y, design(frame)).fit(disp=0, tol=1e-10, maxiter=200, method="newton", **options)


def agree(ours: Inference, theirs: Any, rtol: float = 1e-6) -> None:
    found = ours.coefficients
    for a, b in [
        (found.estimate, theirs.params),
        (found.standard_error, theirs.bse),
        (found.z, theirs.tvalues),
        (found.lower, theirs.conf_int()[0]),
        (found.upper, theirs.conf_int()[1]),
        (found.odds_ratio, np.exp(theirs.params)),
    ]:
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7)
    np.testing.assert_allclose(found.p, theirs.pvalues, rtol=1e-4, atol=1e-9)


ALONE = {"exclude": ["group", "weight"]}


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


def test_one_group_that_counts_is_one_group(tmp_path: Path) -> None:
    frame = drawn(4).assign(weight=1)
    frame["group"] = np.where(frame.index < 50, "all", "none")
    frame.loc[50:, "weight"] = 0
    record, classifier, table = fitted(frame, tmp_path, weight="weight", group="group")
    found = infer_run(record, classifier, table, Wanted("wald", "cluster", True))
    assert isinstance(found, NoInference)
    assert "data.group has one group only" in found.sentence


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
    found = infer(classifier, table, record.optimality, Wanted("auto", "model", False))
    assert found is not None
    return found, table.preprocessor.feature_names


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
    found, names = published(name, tmp_path)
    estimates, errors, likelihood = PUBLISHED[name]
    assert [n.rpartition("=")[2] for n in names] == {
        "spector": ["GPA", "TUCE", "PSI"],
        "lbw": ["age", "lwt", "black", "other", "smoke", "ptl", "ht", "ui"],
        "titanic": ["male", "age", "2nd", "3rd"],
    }[name]
    np.testing.assert_allclose(np.roll(found.coefficients.estimate, 1), estimates, rtol=1e-6)
    np.testing.assert_allclose(np.roll(found.coefficients.standard_error, 1), errors, rtol=1e-4)
    assert found.statistics.log_likelihood == pytest.approx(likelihood, rel=1e-9)
    if name == "spector":
        assert found.statistics.null_log_likelihood == pytest.approx(-20.5917296966, rel=1e-9)
        assert found.statistics.aic == pytest.approx(33.779268, abs=1e-6)


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
    found = inference_of(frame, tmp_path, "auto", firth=True)
    assert found.method == "profile"
    ours = found.coefficients
    np.testing.assert_allclose(np.roll(ours.estimate, 1), estimates, rtol=1e-6)
    if errors is not None:
        np.testing.assert_allclose(np.roll(ours.standard_error, 1), errors, rtol=1e-4)
    assert found.statistics.penalised_log_likelihood == pytest.approx(likelihood, rel=1e-9)
    x, y = frame.drop(columns="y").to_numpy(float), frame.y.to_numpy()
    check_firth_profile(found, x, y, range(2))


def check_firth_profile(found: Inference, x: np.ndarray, y: np.ndarray, which: Any) -> None:
    """Hold bounds and p values against a general maximiser with one coefficient held fixed."""
    ours = found.coefficients
    least = found.statistics.penalised_log_likelihood
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


def test_the_firth_test_of_all_slopes_is_that_of_a_general_maximiser(tmp_path: Path) -> None:
    frame = drawn(5)
    found = inference_of(frame, tmp_path, "wald", firth=True, **ALONE)
    x, y = design(frame).iloc[:, :3].to_numpy(), frame.y.to_numpy()
    null = minimize(lambda b: -penalised_log_likelihood(np.array([0, 0, 0, b[0]]), x, y), [0.0], options={"gtol": 1e-9})
    best = found.statistics.penalised_log_likelihood
    assert best is not None
    assert found.statistics.likelihood_ratio == pytest.approx(2 * (best + null.fun), rel=1e-6)


def test_marginal_effects_of_levels_are_discrete_changes(tmp_path: Path) -> None:
    frame = drawn(6, rows=150)[["a", "b", "y"]]
    random = np.random.default_rng(0)
    frame["flag"] = random.choice(["no", "yes"], len(frame))
    frame["city"] = random.choice(["Bonn", "Köln", "Ulm"], len(frame))
    found = inference_of(frame, tmp_path, reference="first")
    dummies = frame[["a", "b"]].assign(
        yes=frame.flag == "yes", koeln=frame.city == "Köln", ulm=frame.city == "Ulm", const=1
    )
    x = dummies.astype(float)
    fit = sm.Logit(frame.y, x).fit(disp=0, tol=1e-10)
    np.testing.assert_allclose(found.coefficients.estimate, fit.params, rtol=1e-6)
    effects = fit.get_margeff(at="overall", dummy=True)  # right where a factor has two levels
    ours = found.marginal_effects
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


# --- where it would be meaningless ------------------------------------------------------------------------------------


def refusal(frame: pd.DataFrame, folder: Path, by_name: bool = True, epochs: int = 200, **data: Any) -> NoInference:
    record, classifier, table = fitted(frame, folder, epochs=epochs, **data)
    found = infer_run(record, classifier, table, Wanted("wald", "model", by_name))
    assert isinstance(found, NoInference)
    assert record.inference == {"refused": found.sentence}
    assert found.sentence.count(". ") == 0
    return found


def test_separated_labels_are_refused(tmp_path: Path) -> None:
    frame = pd.read_csv(shared_file("endometrial.csv")).rename(columns={"HG": "y"})
    assert "quasi-completely separated" in refusal(frame, tmp_path).sentence
    frame = pd.DataFrame({"x": [1.0, 2, 3, 4, 5, 6], "y": [0, 0, 0, 1, 1, 1]})
    found = refusal(frame, tmp_path, by_name=False, features=["x"])
    assert "completely separated" in found.sentence
    assert not found.is_news  # the certificate says it


def test_separated_labels_are_refused_where_nobody_searched(tmp_path: Path) -> None:
    frame = pd.read_csv(shared_file("endometrial.csv")).rename(columns={"HG": "y"})
    record, classifier, table = fitted(frame, tmp_path)
    assert record.optimality is not None
    record.optimality = replace(record.optimality, separation=None, gap=0.0)
    found = infer_run(record, classifier, table, Wanted("wald", "model", True))
    assert isinstance(found, NoInference)
    assert "separated by NV" in found.sentence


@pytest.mark.parametrize("searched", [True, False])
@pytest.mark.parametrize("far", [1e3, 1e5, 1e6])
def test_a_row_far_out_is_no_separation(tmp_path: Path, far: float, searched: bool) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=400)
    frame = pd.DataFrame({"x": x, "y": (0.9 * x + random.logistic(size=400) > 0).astype(int)})
    frame.loc[5] = [far, 1]
    record, classifier, table = fitted(frame, tmp_path)
    assert record.optimality is not None
    assert record.optimality["separation"]["kind"] == "none"
    if not searched:
        record.optimality = replace(record.optimality, separation=None)
    ours = infer(classifier, table, record.optimality, Wanted("wald", "model", True))
    theirs = sm.Logit(frame.y, frame[["x"]].assign(const=1.0)).fit(disp=0, tol=1e-10, maxiter=200)
    assert ours is not None
    np.testing.assert_allclose(ours.coefficients.estimate, theirs.params, rtol=1e-6)
    np.testing.assert_allclose(ours.coefficients.standard_error, theirs.bse, rtol=1e-6)


def test_dependent_columns_are_refused_and_named(tmp_path: Path) -> None:
    frame = drawn(7)
    frame["d"] = frame.a - frame.b
    assert "d is a combination of other columns" in refusal(frame, tmp_path, **ALONE).sentence
    frame = drawn(7).assign(city=np.resize(["x", "y", "z"], 60))
    found = refusal(frame, tmp_path, by_name=False, **ALONE)
    assert "city=z is a combination" in found.sentence
    assert "data.reference=first" in found.sentence
    assert not found.is_news  # the certificate says so already
    found = inference_of(frame, tmp_path, reference="first", **ALONE)
    assert len(found.coefficients) == 6


def test_an_unfinished_fit_is_refused(tmp_path: Path) -> None:
    assert "not converged" in refusal(drawn(8), tmp_path, epochs=1, **ALONE).sentence


def test_penalised_fits_have_none(tmp_path: Path) -> None:
    record, classifier, table = fitted(drawn(9), tmp_path, **ALONE)
    classifier.objective = replace(classifier.objective, l2=0.1)
    assert infer(classifier, table, record.optimality, Wanted("auto", "model", False)) is None


def test_other_models_are_refused_before_training(tmp_path: Path) -> None:
    _, _, table = fitted(drawn(9), tmp_path, **ALONE)
    network = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1), nn.Sigmoid())
    with pytest.raises(UserError, match="need a linear model"):
        check_model(BinaryClassifier(network), table)
    check_model(BinaryClassifier(SequentialRegression(3)), table)


def test_firth_needs_newton_in_python_too(tmp_path: Path) -> None:
    data = breast_cancer()
    with pytest.raises(UserError, match="penalty=firth needs optimizer=newton"):
        train(data, BinaryClassifier(SequentialRegression(30), firth=0.1), Trainer(max_epochs=1, logger=False))
