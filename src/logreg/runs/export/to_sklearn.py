"""A fitted scikit-learn pipeline, saved by skops: it loads without trusting any type and takes a pandas frame.

Where the run's preprocessing goes:

* ``numbers``: a KNNImputer whose only neighbour is the row of medians, and a StandardScaler;
* ``gaps``: MissingIndicator;
* ``levels``: OneHotEncoder over texts, rare levels as its infrequent ones, and None and ``""`` as levels where the run
  has a feature for missing values; ``level_gaps``: MissingIndicator, for NaN;
* ``levels_as_numbers``: OneHotEncoder over the same levels as numbers or booleans, with the same coefficients: a frame
  may hold 1 where the run's table held "1".

SimpleImputer would be the plain choice, but keeps a ``numpy.dtype``, which skops does not trust.

A sigmoid calibration is part of the coefficients; an isotonic one makes the classifier a CalibratedClassifierCV, whose
inner class scikit-learn keeps private, so that skops asks for it to be trusted by name.

``predict`` is by the run's threshold: where that is not 0.5, the classifier is inside a FixedThresholdClassifier. Texts
have no blanks around them; pandas' own NA among texts that may be missing is an error, None and NaN are not.

The pipeline is fitted on a small made-up frame that has every level, and then given the numbers that the run learned.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import skops.io
from scipy.sparse import csr_matrix
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, MissingIndicator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from logreg.core.errors import UserError
from logreg.data.tables.columns import Categorical, Numeric
from logreg.data.tables.preprocessor import Preprocessor
from logreg.evaluation.calibration import IsotonicCalibration
from logreg.runs.export.linear import Linear, linear, numbers_of, spellings
from logreg.runs.export.rows import Batch
from logreg.runs.load import Run

# From this many features on, the pipeline works with sparse matrices.
SPARSE_FROM = 1000
GAPS = ["", None]  # what stands for a missing value, beside NaN
CALIBRATED = "sklearn.calibration._CalibratedClassifier"
TWICE = 2  # rows of a level that is to have a feature of its own

Value = str | float | None


@dataclass(frozen=True)
class Part:
    """A transformer of the ColumnTransformer, with the coefficients of what it makes."""

    name: str
    transformer: Pipeline | ColumnTransformer
    columns: list[str]
    coefficients: np.ndarray


@dataclass(frozen=True)
class Encoding:
    """A column as it is one-hot encoded.

    Attributes:
        own: what stands for the levels with a feature of their own.
        rare: what stands for the others.
        coefficients: in the order of the encoder: of ``own``, and one for ``rare`` if there are any.
    """

    feature: str
    own: Sequence[Value]
    rare: Sequence[Value]
    coefficients: np.ndarray


def write(run: Run, rows: object, path: Path) -> None:
    """Write the pipeline of a linear run.

    Raises:
        UserError: the run has dates, whose parts scikit-learn has no transformer for.
    """
    pipeline = build_pipeline(run.table_preprocessor, linear(run), run.model.threshold)
    skops.io.dump(pipeline, path, compression=zipfile.ZIP_DEFLATED)


def load(run: Run, path: Path) -> Callable[[Batch], np.ndarray]:
    pipeline = skops.io.load(path, trusted=_trusted(run))

    def predict(batch: Batch) -> np.ndarray:
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


def build_pipeline(pre: Preprocessor, model: Linear, threshold: float = 0.5) -> Pipeline:
    """The fitted pipeline.

    Raises:
        UserError: the run has dates.
    """
    dates = list(dict.fromkeys(column.feature for column in pre.numeric if column.part is not None))
    if dates:
        raise UserError(
            f"format=sklearn: scikit-learn has no transformer for the dates in {', '.join(dates)}; format=onnx and "
            "format=torch can hold them."
        )
    if pre.sparse:
        matrix = csr_matrix((TWICE, pre.width))
        return Pipeline([("model", _classifier(matrix, model, model.weight, threshold))])
    levels = [(c, model.weight[first : first + c.width]) for c, first in pre.spans() if isinstance(c, Categorical)]
    texts = [_as_texts(*pair) for pair in levels]
    numbers = [_as_numbers(*pair) for pair in levels]
    parts = [*_number_parts(pre, model.weight), *_level_parts(levels, texts, numbers)]
    columns = ColumnTransformer(
        [(part.name, part.transformer, part.columns) for part in parts if part.columns],
        sparse_threshold=1.0 if pre.width >= SPARSE_FROM else 0.0,
    )
    frame = _made_up_frame(pre, texts, numbers)
    columns.fit(frame)
    _set_numbers(columns, pre)
    coefficients = np.concatenate([part.coefficients for part in parts])
    classifier = _classifier(columns.transform(frame[:TWICE]), model, coefficients, threshold)
    return Pipeline([("columns", columns), ("model", classifier)])


def _classifier(
    x: np.ndarray | csr_matrix, linear: Linear, coefficients: np.ndarray, threshold: float
) -> ClassifierMixin:
    """The fitted classifier; where the run's threshold is another than 0.5, one that predicts by it."""
    model, y = LogisticRegression(max_iter=1), np.arange(TWICE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
    model.coef_, model.intercept_ = coefficients.reshape(1, -1), np.array([linear.bias])
    model.n_iter_ = np.zeros(1, dtype=np.int32)
    if linear.isotonic is None and threshold == 0.5:
        return model
    from sklearn.model_selection import FixedThresholdClassifier

    classifier = FixedThresholdClassifier(LogisticRegression(max_iter=1), threshold=threshold)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(x, y)
    # By itself, a calibrated classifier would predict 0 for a probability of one half, which a plateau may have.
    classifier.estimator_ = model if linear.isotonic is None else _calibrated(model, x, linear.isotonic)
    return classifier


def _calibrated(
    model: LogisticRegression, x: np.ndarray | csr_matrix, calibration: IsotonicCalibration
) -> CalibratedClassifierCV:
    """A fitted classifier with a calibration after it."""
    every = np.arange(TWICE)
    classifier = CalibratedClassifierCV(FrozenEstimator(model), method=calibration.method, cv=[(every, every)])
    classifier.fit(x, every)
    isotonic = IsotonicRegression(out_of_bounds="clip").fit(calibration.knots, calibration.values)
    classifier.calibrated_classifiers_[0].calibrators = [isotonic]
    return classifier.set_params(cv=None)


def _number_parts(pre: Preprocessor, weight: np.ndarray) -> list[Part]:
    numbers = [(c, first) for c, first in pre.spans() if isinstance(c, Numeric)]
    gaps = [(c, first + 1) for c, first in numbers if c.indicator]
    scale = [
        ("fill", KNNImputer(n_neighbors=1)),
        # The scaler would compute in float32 where all columns are float32.
        ("to_float64", FunctionTransformer(np.float64, feature_names_out="one-to-one")),
        ("scale", StandardScaler()),
    ]
    # A scaler that does not scale makes numbers of booleans, texts and objects, and NaN of every kind of gap.
    indicate = [("to_numbers", StandardScaler(with_mean=False, with_std=False)), ("indicate", _indicator())]
    parts = {"numbers": (Pipeline(scale), numbers), "gaps": (Pipeline(indicate), gaps)}
    return [
        Part(name, transformer, [c.feature for c, _ in columns], np.array([weight[i] for _, i in columns]))
        for name, (transformer, columns) in parts.items()
    ]


def _indicator() -> MissingIndicator:
    return MissingIndicator(features="all", error_on_new=False)


def _to_object() -> tuple[str, FunctionTransformer]:
    """Values are looked up one by one then, and a column may hold texts and numbers."""
    return "to_object", FunctionTransformer(np.object_, feature_names_out="one-to-one")


def _level_parts(
    levels: list[tuple[Categorical, np.ndarray]], texts: list[Encoding], numbers: list[Encoding]
) -> list[Part]:
    with_gaps = [(c.feature, weight[-1]) for c, weight in levels if c.missing]
    # Column by column: beside texts, pandas makes its own NA of the gaps of nullable numbers.
    gaps = [
        (f"column_{i}", Pipeline([_to_object(), ("indicate", _indicator())]), [name])
        for i, (name, _) in enumerate(with_gaps)
    ]
    return [
        _encoded("levels", texts),
        Part(
            "level_gaps",
            ColumnTransformer(gaps),
            [name for name, _ in with_gaps],
            np.array([weight for _, weight in with_gaps]),
        ),
        _encoded("levels_as_numbers", [encoding for encoding in numbers if encoding.own or encoding.rare]),
    ]


def _encoded(name: str, encodings: list[Encoding]) -> Part:
    """One-hot encoding of columns."""
    categories = [np.array([*encoding.own, *encoding.rare], dtype=object) for encoding in encodings]
    encoder = OneHotEncoder(categories=categories, handle_unknown="ignore", min_frequency=TWICE)
    pipeline = Pipeline([_to_object(), ("encode", encoder)])
    coefficients = np.concatenate([np.empty(0), *(encoding.coefficients for encoding in encodings)])
    return Part(name, pipeline, [encoding.feature for encoding in encodings], coefficients)


def _as_texts(column: Categorical, weight: np.ndarray) -> Encoding:
    gaps = GAPS if column.missing else []
    known = spellings(column)
    written = dict.fromkeys([*column.levels, *column.rare, *known])
    places = {level: known[level.lower() if column.is_boolean else level] for level in written}
    own = {level: weight[place] for level, place in places.items() if place < len(column.levels)}
    rare = [level for level, place in places.items() if place == len(column.levels)]
    coefficients = [*own.values(), *(weight[-1] for _ in gaps), *([weight[len(column.levels)]] if rare else [])]
    return Encoding(column.feature, [*own, *gaps], rare, np.array(coefficients))


def _as_numbers(column: Categorical, weight: np.ndarray) -> Encoding:
    values = numbers_of([*column.levels, *column.rare])
    own = {level: i for i, level in enumerate(column.levels) if level in values}
    rare = [values[level] for level in column.rare if level in values]
    coefficients = [*weight[list(own.values())], *([weight[len(column.levels)]] if rare else [])]
    return Encoding(column.feature, [values[level] for level in own], rare, np.array(coefficients))


def _made_up_frame(pre: Preprocessor, *encodings: list[Encoding]) -> pd.DataFrame:
    """A frame that has every level twice, every rare level once, and numbers that are not all the same."""
    values: dict[str, list[Value]] = {column.feature: [] for column in pre.columns if isinstance(column, Categorical)}
    for encoding in (encoding for several in encodings for encoding in several):
        values[encoding.feature] += [*encoding.own, *encoding.own, *encoding.rare]
    rows = TWICE + max(map(len, values.values()), default=0)
    columns: dict[str, np.ndarray | pd.Series] = {column.feature: np.arange(float(rows)) for column in pre.numeric}
    for name, several in values.items():
        columns[name] = pd.Series([*several, *[np.nan] * (rows - len(several))], dtype=object)
    return pd.DataFrame({name: columns[name] for name in pre.raw_columns})


def _set_numbers(columns: ColumnTransformer, pre: Preprocessor) -> None:
    if not pre.numeric:
        return
    steps = columns.named_transformers_["numbers"]
    fills = np.array([[column.fill for column in pre.numeric]])
    steps["fill"].fit(pd.DataFrame(fills, columns=[column.feature for column in pre.numeric]))
    scaler = steps["scale"]
    scaler.mean_ = np.array([column.mean for column in pre.numeric])
    scaler.scale_ = np.array([column.scale for column in pre.numeric])
    scaler.var_ = scaler.scale_**2
