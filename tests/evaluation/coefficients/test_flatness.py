"""What is found of separated labels and of dependent columns without the linear programs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from lightning.pytorch import Trainer
from sklearn.datasets import load_svmlight_file

from logreg.evaluation.coefficients.flatness import UNKNOWN, flatness, remark
from logreg.evaluation.coefficients.optimality import certify
from logreg.models import SequentialRegression
from logreg.optim.newton import Newton
from logreg.training.classifier import BinaryClassifier
from logreg.training.loop import train
from tests.helpers import shared_file, table_data
from tests.optim.problems import problem_of, solve


def test_a9a_has_separating_and_dependent_columns() -> None:
    x, y = load_svmlight_file(str(shared_file("a9a.svm")))
    y = (y > 0).astype(float)
    names = [str(i + 1) for i in range(x.shape[1])]
    problem = problem_of(x, y)
    theta, _ = solve("newton", problem)
    flat = flatness(problem, theta, names)
    design = np.column_stack([np.ones(len(y)), x.toarray()])
    assert np.linalg.matrix_rank(design) == 108
    assert len(flat.dependent) == 124 - 108
    independent = [0, *(i + 1 for i, name in enumerate(names) if name not in flat.dependent)]
    assert np.linalg.matrix_rank(design[:, independent]) == 108
    of_one_class = {name for j, name in enumerate(names) if len(set(y[x[:, j].nonzero()[0]])) == 1}
    assert flat.separating
    assert set(flat.separating) <= of_one_class
    sentence = remark(problem, theta, certify(problem, theta).gap, names)
    assert sentence is not None
    assert f"separated by {flat.separating[0]}" in sentence
    assert "are combinations of other columns" in sentence


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_separating_column_is_found_beside_a_row_far_out(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(400, 3))
    y = (x[:, 0] + random.logistic(size=400) > 0).astype(float)
    x[:, 1] = (random.random(400) < 0.1) & (y == 0)
    x[5, 2] = 1e6
    problem = problem_of(x, y)
    assert flatness(problem, solve("newton", problem)[0], ["a", "seen", "far"]).separating == ["seen"]
    problem = problem_of(x[:, [0, 2]], y)
    assert sm.Logit(y, sm.add_constant(x[:, [0, 2]])).fit(disp=0, maxiter=200).mle_retvals["converged"]
    flat = flatness(problem, solve("newton", problem)[0], ["a", "far"])
    assert (flat.dependent, flat.separating) == ([], [])


@pytest.mark.parametrize("events", [0, 1])
@pytest.mark.parametrize("rows", [10, 200_000])
def test_one_event_among_many_rows_is_enough(rows: int, events: int) -> None:
    x = np.repeat([0.0, 1.0], [1000, rows])[:, None]
    y = np.concatenate([np.arange(1000) < 300, np.arange(rows) < events]).astype(float)
    problem = problem_of(x, y)
    theta, _ = solve("newton", problem)
    flat = flatness(problem, theta, ["rare"])
    assert flat.separating == ([] if events else ["rare"])
    if events:
        assert float(theta.sum()) == pytest.approx(-np.log(rows - 1), rel=1e-6)  # of a saturated model


def trained(directory: Path, epochs: int, most_searched: float, l2: float = 0.0) -> dict[str, Any]:
    """The certificate of a Newton fit of two columns, one of which sees label 1 alone."""
    random = np.random.default_rng(1)
    x = random.normal(size=(200, 2))
    y = (x[:, 0] + random.logistic(size=200) > 0).astype(int)
    x[:, 1] = (random.random(200) < 0.2) & (y == 1)
    pd.DataFrame(x, columns=["a", "seen"]).assign(y=y).to_csv(directory / "t.csv", index=False)
    data = table_data(path=str(directory / "t.csv"), target="y", split={"train": 1.0}, cache_dir=str(directory / "c"))
    data.prepare_data()
    data.setup()
    classifier = BinaryClassifier(SequentialRegression(2), Newton, l2=l2)
    options = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=epochs, precision="64-true", enable_model_summary=False, **options)
    record = train(data, classifier, trainer, most_searched=most_searched)
    assert record.optimality is not None
    return record.optimality


def test_a_run_says_what_it_did_not_look_for(tmp_path: Path) -> None:
    searched = trained(tmp_path, 200, 400)
    assert searched["sentence"].startswith("quasi-completely separated by seen (+)")
    assert searched["remark"] is None
    cheap = trained(tmp_path, 200, 399)
    assert re.fullmatch(
        r"within .* of the optimum; the labels are separated by seen, or nearly, .* separation=true to make sure",
        cheap["sentence"],
    )
    assert trained(tmp_path, 1, 399)["sentence"].endswith(f"; {UNKNOWN}")
    assert trained(tmp_path, 200, 399, l2=0.1)["remark"] is None
