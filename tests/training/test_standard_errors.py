"""Where standard errors would mean nothing, a run says so in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from lightning.pytorch import Trainer
from torch import nn

from logreg.core.errors import UserError
from logreg.evaluation.coefficients.estimates import NoInference
from logreg.models import SequentialRegression
from logreg.training.classifier import BinaryClassifier
from logreg.training.loop import train
from logreg.training.standard_errors import Wanted, check_model, infer, infer_run
from tests.evaluation.coefficients.fits import ALONE, drawn, fitted, inference_of
from tests.helpers import breast_cancer, shared_file


def test_one_group_that_counts_is_one_group(tmp_path: Path) -> None:
    frame = drawn(4).assign(weight=1)
    frame["group"] = np.where(frame.index < 50, "all", "none")
    frame.loc[50:, "weight"] = 0
    record, classifier, table = fitted(frame, tmp_path, weight="weight", group="group")
    refused = infer_run(record, classifier, table, Wanted("wald", "cluster", True))
    assert isinstance(refused, NoInference)
    assert "data.group has one group only" in refused.sentence


def refusal(frame: pd.DataFrame, folder: Path, by_name: bool = True, epochs: int = 200, **data: Any) -> NoInference:
    record, classifier, table = fitted(frame, folder, epochs=epochs, **data)
    refused = infer_run(record, classifier, table, Wanted("wald", "model", by_name))
    assert isinstance(refused, NoInference)
    assert record.inference == {"refused": refused.sentence}
    assert refused.sentence.count(". ") == 0
    return refused


def test_separated_labels_are_refused(tmp_path: Path) -> None:
    frame = pd.read_csv(shared_file("endometrial.csv")).rename(columns={"HG": "y"})
    assert "quasi-completely separated" in refusal(frame, tmp_path).sentence
    frame = pd.DataFrame({"x": [1.0, 2, 3, 4, 5, 6], "y": [0, 0, 0, 1, 1, 1]})
    refused = refusal(frame, tmp_path, by_name=False, features=["x"])
    assert "completely separated" in refused.sentence
    assert not refused.is_news  # the certificate says it


def test_separated_labels_are_refused_where_nobody_searched(tmp_path: Path) -> None:
    frame = pd.read_csv(shared_file("endometrial.csv")).rename(columns={"HG": "y"})
    record, classifier, table = fitted(frame, tmp_path)
    assert record.optimality is not None
    record.optimality = replace(record.optimality, separation=None, gap=0.0)
    refused = infer_run(record, classifier, table, Wanted("wald", "model", True))
    assert isinstance(refused, NoInference)
    assert "separated by NV" in refused.sentence


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
    refused = refusal(frame, tmp_path, by_name=False, **ALONE)
    assert "city=z is a combination" in refused.sentence
    assert "data.reference=first" in refused.sentence
    assert not refused.is_news  # the certificate says so already
    refused = inference_of(frame, tmp_path, reference="first", **ALONE)
    assert len(refused.coefficients.estimate) == 6


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
