"""Inference and Firth's penalised likelihood from the command line, as a statistician would."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from logreg import load_run
from tests.commands import assert_refused, run_command
from tests.helpers import shared_file


def table(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """The numbers of a CSV file by feature and level; an empty cell is missing."""
    with path.open() as file:
        return {
            (row.pop("feature"), row.pop("level")): {k: float(v) for k, v in row.items() if v}
            for row in csv.DictReader(file)
        }


def test_firth_prints_the_published_estimates_of_all_rows(tmp_path: Path) -> None:
    path = shared_file("endometrial.csv")
    arguments = ["data=table", f"data.path={path}", "data.target=HG", "optimizer=newton", "penalty=firth"]
    process = run_command("train.py", *arguments, "hydra.run.dir=run", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    for text in ("79", "-24.037268", "3.77456", "1.48869", "2.92927", "1.55076", "-2.60416", "0.776018"):
        assert text in process.stdout
    coefficients = table(tmp_path / "run" / "coefficients.csv")
    assert coefficients["NV", ""]["coefficient"] == pytest.approx(2.9292733532, rel=1e-6)
    assert coefficients["NV", ""]["standard_error"] == pytest.approx(1.5507637295, rel=1e-4)
    assert coefficients["NV", ""]["odds_ratio"] == pytest.approx(np.exp(2.9292733532), rel=1e-6)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"]["rows"] == {"train": 79, "val": 0, "test": 0}
    assert record["inference"]["method"] == "profile"
    assert record["inference"]["penalised_log_likelihood"] == pytest.approx(-24.0372678007, rel=1e-9)
    assert record["optimality"]["converged"] is True
    assert record["metrics"]["train/loss"] > record["metrics"]["train/log_loss"]
    # Such a run is one like any other.
    again = run_command("scripts/evaluate.py", "run=run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    resumed = run_command("train.py", *arguments, "resume=run", "epochs=300", "hydra.run.dir=more", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    more = table(tmp_path / "more" / "coefficients.csv")
    assert more["NV", ""]["coefficient"] == pytest.approx(coefficients["NV", ""]["coefficient"], rel=1e-9)
    rows = pd.read_csv(path)
    p = load_run(tmp_path / "run").predict_proba(rows)
    z = sum(coefficients[name, ""]["coefficient"] * rows[name] for name in ("NV", "PI", "EH"))
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-(z + coefficients["(intercept)", ""]["coefficient"]))), rtol=1e-9)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table that has texts, a flag, missing ages and households."""
    random = np.random.default_rng(3)
    count = 400
    age, city = random.normal(40, 12, count), random.choice(["Bonn", "Köln", "Ulm"], count, p=[0.2, 0.5, 0.3])
    smokes = random.random(count) < 0.4
    z = (age - 40) / 15 + 0.7 * smokes - 0.5 * (city == "Ulm") + random.logistic(size=count)
    frame = pd.DataFrame({"age": age, "city": city, "smokes": smokes, "ill": np.where(z > 0.3, "yes", "no")})
    frame["home"] = [f"h{i}" for i in random.integers(0, 90, count)]
    folder = tmp_path_factory.mktemp("people")
    frame.to_csv(folder / "people.csv", index=False)
    return folder


PRESET = ["experiment=inference", "data.path=people.csv", "data.target=ill", "figures=false"]


def design(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows, and what statsmodels fits with Bonn and no smoker as the references; the constant last."""
    frame = pd.read_csv(folder / "people.csv")
    x = pd.DataFrame({"age": frame.age, "koeln": frame.city == "Köln", "ulm": frame.city == "Ulm"}).assign(
        smokes=frame.smokes, const=1
    )
    return frame, x.astype(float)


NAMES = [("age", ""), ("city", "Köln"), ("city", "Ulm"), ("smokes", "true"), ("(intercept)", "")]


@pytest.mark.parametrize("covariance", ["model", "HC0", "cluster"])
def test_the_preset_fits_what_statsmodels_fits(people: Path, covariance: str) -> None:
    group = ["data.group=home"] if covariance == "cluster" else ["data.exclude=[home]"]
    directory = f"run_{covariance}"
    process = run_command(
        "train.py", *PRESET, *group, f"covariance={covariance}", f"hydra.run.dir={directory}", cwd=people
    )
    assert process.returncode == 0, process.stderr
    for text in ("log-likelihood", "AIC", "BIC", "McFadden", "std err", "P>|z|", "[0.025", "odds ratio", "dp/dx"):
        assert text in process.stdout
    frame, x = design(people)
    options = {"cov_kwds": {"groups": frame.home.astype("category").cat.codes}} if covariance == "cluster" else {}
    kind = "nonrobust" if covariance == "model" else covariance
    logit = sm.Logit((frame.ill == "yes").astype(int), x).fit(disp=0, tol=1e-10, cov_type=kind, **options)
    ours = table(people / directory / "coefficients.csv")
    rows = [next(ours[n] for n in ours if n[0] == name[0] and n[1].lower() == name[1].lower()) for name in NAMES]
    for i, row in enumerate(rows):
        assert row["coefficient"] == pytest.approx(logit.params.iloc[i], rel=1e-6)
        assert row["standard_error"] == pytest.approx(logit.bse.iloc[i], rel=1e-6)
        assert row["z"] == pytest.approx(logit.tvalues.iloc[i], rel=1e-6)
        assert row["p"] == pytest.approx(logit.pvalues.iloc[i], rel=1e-4)
        assert row["lower"] == pytest.approx(logit.conf_int()[0].iloc[i], rel=1e-5)
        assert row["upper"] == pytest.approx(logit.conf_int()[1].iloc[i], rel=1e-5)
    effects = table(people / directory / "marginal_effects.csv")
    oracle = logit.get_margeff(at="overall")
    assert effects["age", ""]["effect"] == pytest.approx(oracle.margeff[0], rel=1e-6)
    assert effects["age", ""]["standard_error"] == pytest.approx(oracle.margeff_se[0], rel=1e-5)
    record = json.loads((people / directory / "run.json").read_text())["inference"]
    assert record["log_likelihood"] == pytest.approx(logit.llf, rel=1e-9)
    assert record["aic"] == pytest.approx(logit.aic, rel=1e-9)
    assert record["covariance"] == covariance


@pytest.mark.slow
def test_a_run_with_a_reference_level_is_applied_and_exported(people: Path) -> None:
    process = run_command("train.py", *PRESET, "data.exclude=[home]", "hydra.run.dir=used", cwd=people)
    assert process.returncode == 0, process.stderr
    predicted = run_command("scripts/predict.py", "run=used", "data.path=people.csv", "output=p.csv", cwd=people)
    assert predicted.returncode == 0, predicted.stderr
    assert "did not see" not in predicted.stderr  # the reference is a level that it saw
    frame, x = design(people)
    logit = sm.Logit((frame.ill == "yes").astype(int), x).fit(disp=0, tol=1e-10)
    np.testing.assert_allclose(pd.read_csv(people / "p.csv").probability, logit.predict(), rtol=1e-6)
    for form, output in (("sklearn", "m.skops"), ("onnx", "m.onnx"), ("torch", "m.pt2")):
        process = run_command("scripts/export.py", "run=used", f"format={form}", f"output={output}", cwd=people)
        assert process.returncode == 0, process.stderr  # it compares the model that it wrote with the run


@pytest.mark.slow
def test_auto_says_nothing_of_penalised_fits_and_sweeps(people: Path) -> None:
    penalised = ["data=table", *PRESET[1:], "data.exclude=[home]", "hydra.run.dir=penalised"]
    process = run_command("train.py", *penalised, cwd=people)
    assert process.returncode == 0, process.stderr
    assert "std err" not in process.stdout
    assert "no standard errors" not in process.stdout
    assert json.loads((people / "penalised" / "run.json").read_text())["inference"] is None
    assert "standard_error" not in (people / "penalised" / "coefficients.csv").read_text()
    sweep = ["-m", "data=table", *PRESET[1:], "data.exclude=[home]", "optimizer=newton", "seed=1,2"]
    for extra, has in ((["hydra.sweep.dir=auto"], False), (["inference=wald", "hydra.sweep.dir=asked"], True)):
        process = run_command("train.py", *sweep, "data.reference=first", *extra, cwd=people)
        assert process.returncode == 0, process.stderr
        records = [json.loads(path.read_text()) for path in (people / extra[-1][16:]).glob("*/run.json")]
        assert [record["inference"] is not None for record in records] == [has, has]


def test_jobs_that_ask_for_standard_errors_are_run_one_by_one(people: Path) -> None:
    sweep = ["-m", "lr=0.1,1", "inference=wald", "hydra.sweep.dir=toy"]
    process = run_command("train.py", *sweep, "vectorized.dry_run=true", cwd=people)
    assert "it asks for standard errors" in process.stdout + process.stderr


@pytest.mark.parametrize(
    ("rows", "extra", "reason"),
    [
        ("1,2,0\n2,1,0\n3,3,0\n4,1,1\n5,2,1\n6,1,1\n", [], "the labels are completely separated"),
        ("1,2,0\n2,4,1\n3,6,0\n4,8,1\n5,10,0\n6,12,1\n", [], "a combination of other columns"),
        ("1,1,0\n2,2,1\n3,1,0\n4,2,1\n5,3,1\n6,3,0\n7,1,1\n8,2,0\n", ["epochs=1"], "the fit is not converged"),
    ],
)
def test_what_only_the_fit_can_show_leaves_a_complete_run(
    tmp_path: Path, rows: str, extra: list[str], reason: str
) -> None:
    (tmp_path / "t.csv").write_text(f"a,b,y\n{rows}")
    arguments = ["experiment=inference", "data.path=t.csv", "data.target=y", "figures=false", *extra]
    process = run_command("train.py", *arguments, "hydra.run.dir=run", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "completed"
    assert reason in record["inference"]["refused"]
    assert record["inference"]["refused"] in process.stdout
    assert table(tmp_path / "run" / "coefficients.csv")["a", ""].keys() == {"coefficient", "coefficient_standardised"}


def test_a_refusal_leaves_the_columns_empty(tmp_path: Path) -> None:
    path = shared_file("endometrial.csv")
    process = run_command(
        "train.py", "experiment=inference", f"data.path={path}", "data.target=HG", "hydra.run.dir=run", cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    assert "no standard errors: the labels are quasi-completely separated" in process.stdout
    assert process.stdout.count("+inf") == 3  # NV, and the intercept of centred columns
    coefficients = table(tmp_path / "run" / "coefficients.csv")
    # By statsmodels the estimate of the others is that of the rows where NV is 0, and NV's is beyond all bounds.
    infinite = {"coefficient": np.inf, "coefficient_standardised": np.inf, "odds_ratio": np.inf}
    assert coefficients["NV", ""] == infinite
    frame = pd.read_csv(path).query("NV == 0")
    logit = sm.Logit(frame.HG, sm.add_constant(frame[["PI", "EH"]])).fit(disp=0, tol=1e-10)
    for name in ("PI", "EH"):
        assert coefficients[name, ""].keys() == {"coefficient", "coefficient_standardised"}
        assert coefficients[name, ""]["coefficient"] == pytest.approx(logit.params[name], rel=1e-5)
    assert coefficients["(intercept)", ""]["coefficient"] == pytest.approx(logit.params["const"], rel=1e-5)
    assert coefficients["(intercept)", ""]["coefficient_standardised"] == np.inf  # of centred columns
    header = (tmp_path / "run" / "coefficients.csv").read_text().splitlines()[0]
    assert header.endswith(",standard_error,z,p,lower,upper,odds_ratio")
    assert "refused" in json.loads((tmp_path / "run" / "run.json").read_text())["inference"]


def test_a_penalty_leaves_no_infinite_coefficient(tmp_path: Path) -> None:
    path = shared_file("endometrial.csv")
    arguments = ["data=table", f"data.path={path}", "data.target=HG", "optimizer=newton", "penalty.l2=0.01"]
    process = run_command("train.py", *arguments, "separation=true", "hydra.run.dir=run", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "inf" not in process.stdout
    assert np.isfinite(table(tmp_path / "run" / "coefficients.csv")["NV", ""]["coefficient"])


def test_a_reference_level_that_is_not_there_is_refused(people: Path) -> None:
    for reference, parts in (
        ("{city: Bon}", ["data.reference", "no level Bon", "did you mean Bonn?"]),
        ("{age: 3}", ["data.reference", "no text column age", "data.categorical"]),
    ):
        assert_refused(run_command("train.py", *PRESET, f"data.reference={reference}", cwd=people), parts)


def test_firth_refuses_columns_that_depend_on_others(people: Path) -> None:
    arguments = ["data=table", *PRESET[1:], "data.exclude=[home]", "penalty=firth"]
    process = run_command("train.py", *arguments, cwd=people)
    assert process.returncode == 1
    error = process.stderr.splitlines()[-1]
    for text in ("error: penalty=firth", "combinations", "data.reference=first"):
        assert text in error
