"""A fitted scikit-learn pipeline, saved by skops: it loads without trusting any type and takes a pandas frame.

Where the run's preprocessing goes:

* ``numbers``: a KNNImputer whose only neighbour is the row of medians, with indicators of missing values, and a
  StandardScaler;
* ``levels``: OneHotEncoder over texts, rare levels with one coefficient, and None and ``""`` as levels where the run
  has a feature for missing values; ``level_gaps``: MissingIndicator, for NaN;
* ``levels_as_numbers``: OneHotEncoder over the same levels as numbers or booleans, with the same coefficients: a frame
  may hold 1 where the run's table held "1".

SimpleImputer would be the plain choice, but keeps a ``numpy.dtype``, which skops does not trust.

A sigmoid calibration is part of the coefficients; an isotonic one makes the classifier a CalibratedClassifierCV, whose
inner class scikit-learn keeps private, so that skops asks for it to be trusted by name.

``predict`` is by the run's threshold: where that is not 0.5, the classifier is inside a FixedThresholdClassifier. Texts
have no blanks around them; pandas' own NA among texts that may be missing is an error, None and NaN are not.

The preprocessing is fitted on the medians of the run, and then given its means and scales.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import skops.io
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, MissingIndicator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from logreg.core.errors import UserError
from logreg.data.tables.preparing.columns import Categorical
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.evaluation.calibration import IsotonicCalibration
from logreg.runs.export.columns import LinearModel, level_spans, number_spans, numbers_of, spellings
from logreg.runs.export.rows import RawRows
from logreg.runs.load import Run

# From this many features on, the pipeline works with sparse matrices.
SPARSE_FROM = 1000
Level = str | float | None
GAPS: tuple[Level, ...] = ("", None)  # what stands for a missing value, beside NaN
CALIBRATED = "sklearn.calibration._CalibratedClassifier"
# A transformer of the ColumnTransformer: its name, itself, its columns, and of each of its outputs the run's feature.
Part = tuple[str, BaseEstimator, list[str], list[int]]


def write(run: Run, rows: object, path: Path) -> None:
    """Write the pipeline of a linear run.

    Raises:
        UserError: the run has dates, whose parts scikit-learn has no transformer for.
    """
    skops.io.dump(build_pipeline(run), path, compression=zipfile.ZIP_DEFLATED)


def load(run: Run, path: Path) -> Callable[[RawRows], np.ndarray]:
    pipeline = skops.io.load(path, trusted=_trusted(run))

    def predict(batch: RawRows) -> np.ndarray:
        rows = batch.to_pandas() if isinstance(batch, pl.DataFrame) else batch
        return pipeline.predict_proba(rows)[:, 1]

    return predict


def _trusted(run: Run) -> list[str]:
    """The types that a pipeline holds beside scikit-learn's public ones."""
    return [CALIBRATED] if isinstance(run.model.calibration, IsotonicCalibration) else []


def snippet(run: Run, path: str) -> str:
    what = "a scipy sparse matrix" if run.table_preprocessor.sparse else "a pandas frame"
    width = f"{run.table_preprocessor.width} columns" if run.table_preprocessor.sparse else "the run's raw columns"
    return (
        "import skops.io\n"
        f"pipeline = skops.io.load({path!r}, trusted={_trusted(run)})\n"
        f"pipeline.predict_proba(rows)[:, 1]  # rows: {what} with {width}"
    )


def build_pipeline(run: Run) -> Pipeline:
    """The fitted pipeline of a run; see `write`."""
    pre, model, threshold = run.table_preprocessor, LinearModel.of(run), run.model.threshold
    dates = list(dict.fromkeys(column.feature for column in pre.numeric if column.part is not None))
    if dates:
        raise UserError(
            f"format=sklearn: scikit-learn has no transformer for the dates in {', '.join(dates)}; format=onnx and "
            "format=torch can hold them."
        )
    if pre.sparse:
        return Pipeline([("model", _classifier(model, model.weight, threshold))])
    parts = [part for part in (_numbers(pre), *_levels(level_spans(pre))) if part[2]]
    features = [feature for *_, of_part in parts for feature in of_part]
    sparsity = 1.0 if len(features) >= SPARSE_FROM else 0.0
    columns = ColumnTransformer([part[:3] for part in parts], sparse_threshold=sparsity)
    # The second row shows the imputer which columns have an indicator.
    medians = {c.feature: [c.fill, np.nan if c.indicator else c.fill] for c in pre.numeric}
    columns.fit(pd.DataFrame({name: medians.get(name, [None, None]) for name in pre.raw_columns}))
    if pre.numeric:
        scaler, gaps = columns.named_transformers_["numbers"]["scale"], sum(c.indicator for c in pre.numeric)
        scaler.mean_ = np.array([*(column.mean for column in pre.numeric), *[0.0] * gaps])
        scaler.scale_ = np.array([*(column.scale for column in pre.numeric), *[1.0] * gaps])
        scaler.var_ = scaler.scale_**2
    return Pipeline([("columns", columns), ("model", _classifier(model, model.weight[features], threshold))])


def _classifier(linear: LinearModel, coefficients: np.ndarray, threshold: float) -> BaseEstimator:
    """The fitted classifier; where the run's threshold is another than 0.5, one that predicts by it."""
    model = LogisticRegression(max_iter=1)
    model.classes_, model.n_features_in_ = np.arange(2), len(coefficients)
    model.coef_, model.intercept_ = coefficients.reshape(1, -1), np.array([linear.bias])
    model.n_iter_ = np.zeros(1, dtype=np.int32)
    if linear.isotonic is None and threshold == 0.5:
        return model
    # What is frozen learns nothing from these rows, which scikit-learn wants to see one of each label of.
    x, y = csr_matrix((2, len(coefficients))), np.arange(2)
    if linear.isotonic is not None:
        calibrated = CalibratedClassifierCV(FrozenEstimator(model), method="isotonic", cv=[(y, y)]).fit(x, y)
        isotonic = IsotonicRegression(out_of_bounds="clip").fit(linear.isotonic.knots, linear.isotonic.values)
        calibrated.calibrated_classifiers_[0].calibrators = [isotonic]
        model = calibrated.set_params(cv=None)
    # By itself, a calibrated classifier would predict 0 for a probability of one half, which a plateau may have.
    return FixedThresholdClassifier(FrozenEstimator(model), threshold=threshold).fit(x, y)


def _numbers(pre: Preprocessor) -> Part:
    """The numbers, and behind all of them the indicators of those in which the imputer sees a gap when it is fitted."""
    spans = number_spans(pre)
    fill = ("fill", KNNImputer(n_neighbors=1, add_indicator=True))
    # The scaler would compute in float32 where all columns are float32.
    to_float64 = ("to_float64", FunctionTransformer(np.float64, feature_names_out="one-to-one"))
    features = [first for _, first in spans] + [first + 1 for column, first in spans if column.indicator]
    names = [column.feature for column, _ in spans]
    return "numbers", Pipeline([fill, to_float64, ("scale", StandardScaler())]), names, features


def _levels(spans: list[tuple[Categorical, int]]) -> list[Part]:
    texts: dict[str, list[tuple[Level, int]]] = {}
    numbers: dict[str, list[tuple[Level, int]]] = {}
    gaps = {column.feature: first + column.width - 1 for column, first in spans if column.missing}
    for column, first in spans:
        name, features = column.feature, spellings(column, first)
        texts[name] = [*features.items(), *((gap, gaps[name]) for gap in GAPS if column.missing)]
        values = {value: features[level] for level, value in numbers_of([*column.levels, *column.rare]).items()}
        numbers |= {name: [*values.items()]} if values else {}
    # Column by column: beside texts, pandas makes its own NA of the gaps of nullable numbers.
    indicate = ("indicate", MissingIndicator(features="all", error_on_new=False))
    pipelines = [(f"column_{i}", Pipeline([_to_object(), indicate]), [name]) for i, name in enumerate(gaps)]
    return [
        _one_hot("levels", texts),
        ("level_gaps", ColumnTransformer(pipelines), list(gaps), list(gaps.values())),
        _one_hot("levels_as_numbers", numbers),
    ]


def _one_hot(name: str, encodings: dict[str, list[tuple[Level, int]]]) -> Part:
    """One-hot encoding of columns.

    Args:
        encodings: by column, each of its values with its feature.
    """
    categories = [np.array([value for value, _ in pairs], dtype=object) for pairs in encodings.values()]
    encoder = OneHotEncoder(categories=categories, handle_unknown="ignore")
    features = [feature for pairs in encodings.values() for _, feature in pairs]
    return name, Pipeline([_to_object(), ("encode", encoder)]), list(encodings), features


def _to_object() -> tuple[str, FunctionTransformer]:
    """Values are looked up one by one then, and a column may hold texts and numbers."""
    return "to_object", FunctionTransformer(np.object_, feature_names_out="one-to-one")
