"""Newton fits of drawn tables, and what statsmodels makes of them, for the tests of inference."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
import torch
from lightning.pytorch import Trainer

from logreg.data import TableData
from logreg.evaluation.coefficients.estimates import Inference
from logreg.evaluation.coefficients.optimality import MOST_SEARCHED
from logreg.evaluation.coefficients.separation import find_separation
from logreg.models import SequentialRegression
from logreg.optim.newton import Newton
from logreg.records.record import RunRecord
from logreg.training.classifier import BinaryClassifier
from logreg.training.loop import train
from logreg.training.standard_errors import Wanted, infer
from tests.helpers import table_data


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
    torch.manual_seed(1)  # as a run does: where the fit starts decides the last digits of where it ends
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
    inference = infer(classifier, table, record.optimality, Wanted(method, covariance, True))
    assert inference is not None
    return inference


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
    estimates = ours.coefficients
    for a, b in [
        (estimates.estimate, theirs.params),
        (estimates.standard_error, theirs.bse),
        (estimates.z, theirs.tvalues),
        (estimates.lower, theirs.conf_int()[0]),
        (estimates.upper, theirs.conf_int()[1]),
        (estimates.odds_ratio, np.exp(theirs.params)),
    ]:
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7)
    np.testing.assert_allclose(estimates.p, theirs.pvalues, rtol=1e-4, atol=1e-9)


ALONE = {"exclude": ["group", "weight"]}
