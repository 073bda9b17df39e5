"""An ONNX model of a linear run, preprocessing included; it computes in float64.

Inputs, one for each raw column, called as the column, of shape [rows, 1]:

* a number: ``tensor(float)``, or ``tensor(double)`` where float would cost digits of the probability; NaN if missing;
* a level: ``tensor(string)``, written as in preprocessing.json (``1``, ``true``), ``""`` if missing;
* a date: ``tensor(double)``, the seconds since 1970-01-01 00:00, NaN if missing.

A sparse run has one input ``x`` [rows, columns]. Outputs: ``probability`` [rows] float and ``prediction`` [rows] int64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import polars as pl
from onnx import TensorProto, helper

from logreg.core.errors import UserError
from logreg.data.tables.columns import Categorical, Numeric
from logreg.data.tables.preprocessor import Preprocessor
from logreg.data.tables.values import as_levels, as_numbers
from logreg.evaluation.calibration import IsotonicCalibration
from logreg.records.record import PREPROCESSING
from logreg.runs.export.dates import date_part, seconds_of
from logreg.runs.export.graph import PREFIX, Graph, GraphValue
from logreg.runs.export.linear import Linear, linear, spellings
from logreg.runs.export.rows import Batch
from logreg.runs.load import Run

OPSETS = {"": 17, "ai.onnx.ml": 2}  # what ONNX Runtime has had since 1.12
IR_VERSION = 8
PROBABILITY, PREDICTION = "probability", "prediction"
SPARSE = "x"
# What rounding the inputs to float32 may cost in a probability, half of what an export may differ by.
ROUNDING = 5e-6


def write(run: Run, rows: Iterable[Batch], path: Path) -> None:
    """Write the model of a linear run.

    Raises:
        UserError: columns are called as the outputs.
    """
    model = linear(run)
    doubles = double_inputs(run.table_preprocessor, model, rows)
    built = build_model(run.table_preprocessor, model, run.model.threshold, doubles)
    target = run.table_preprocessor.target
    properties = {"threshold": repr(run.model.threshold), "target": target.column, "labels": ", ".join(target.labels)}
    helper.set_model_props(built, {**properties, PREPROCESSING: run.table_preprocessor.to_json()})
    onnx.checker.check_model(built, full_check=True)
    onnx.save_model(built, path)


def load(run: Run, path: Path) -> Callable[[Batch], np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    types = {node.name: node.type for node in session.get_inputs()}

    def predict(batch: Batch) -> np.ndarray:
        return session.run([PROBABILITY], inputs(batch, run.table_preprocessor, types))[0]

    return predict


def snippet(run: Run, path: str) -> str:
    what = f"{{{SPARSE!r}: rows}}" if run.table_preprocessor.sparse else "{column: values of shape (rows, 1), …}"
    return (
        "import onnxruntime\n"
        f"session = onnxruntime.InferenceSession({path!r})\n"
        f"probability, prediction = session.run(None, {what})"
    )


def inputs(batch: Batch, pre: Preprocessor, types: dict[str, str]) -> dict[str, np.ndarray]:
    """A batch of raw rows as the model takes it.

    Args:
        types: of the inputs by name, as ONNX Runtime calls them.
    """
    kinds: dict[str, type[np.floating]] = {"tensor(float)": np.float32, "tensor(double)": np.float64}
    if not isinstance(batch, pl.DataFrame):
        return {SPARSE: batch.toarray().astype(kinds[types[SPARSE]])}
    arrays = {}
    for column in pre.columns:
        series = batch[column.feature]
        if isinstance(column, Categorical):
            values = as_levels(series).fill_null("").to_numpy().astype(object)
        else:
            values = as_numbers(series, None, "frame") if column.part is None else seconds_of(series, "frame")
            values = values.astype(kinds[types[column.feature]])
        arrays[column.feature] = values.reshape(-1, 1)
    return arrays


def double_inputs(pre: Preprocessor, model: Linear, rows: Iterable[Batch]) -> set[str]:
    """The numbers whose rounding to float32 would cost too much, those that cost most first.

    The cost is measured on the rows: whole numbers below 2**24 have none, whatever their offset.
    """
    costs: dict[str, float] = {}
    columns = [(c, abs(model.weight[first]) / c.scale) for c, first in pre.spans() if isinstance(c, Numeric)]
    for batch in rows:
        if not isinstance(batch, pl.DataFrame):
            rounded = abs(batch - batch.astype(np.float32).astype(np.float64)) @ np.abs(model.weight)
            costs[SPARSE] = max(costs.get(SPARSE, 0.0), model.steepest * float(rounded.max(initial=0.0)))
            continue
        for column, slope in columns:
            if column.part is None:
                values = as_numbers(batch[column.feature], None, "frame")
                lost = np.nan_to_num(np.abs(values - values.astype(np.float32))).max(initial=0.0)
                costs[column.feature] = max(costs.get(column.feature, 0.0), model.steepest * float(slope * lost))
    doubles, left = set(), sum(costs.values())
    for name, cost in sorted(costs.items(), key=lambda pair: -pair[1]):
        if left <= ROUNDING:
            break
        doubles.add(name)
        left -= cost
    return doubles


def build_model(pre: Preprocessor, model: Linear, threshold: float, doubles: set[str]) -> onnx.ModelProto:
    """The model.

    Args:
        doubles: the numbers that are ``tensor(double)``.

    Raises:
        UserError: columns are called as the outputs.
    """
    taken = [name for name in pre.raw_columns if name in (PROBABILITY, PREDICTION) or name.startswith(PREFIX)]
    if taken and not pre.sparse:
        raise UserError(
            f"format=onnx: the column {taken[0]} is called as something else in the model; format=sklearn and "
            "format=torch can hold the run."
        )
    graph = Graph()
    kinds: dict[str, int]
    if pre.sparse:
        kinds = {SPARSE: TensorProto.DOUBLE if SPARSE in doubles else TensorProto.FLOAT}
        x = graph.add("Cast", SPARSE, to=TensorProto.DOUBLE)
        terms = [graph.add("MatMul", x, graph.constant(model.weight.reshape(-1, 1)))]
    else:
        kinds = {column.feature: _kind(column, doubles) for column in pre.columns}
        terms = [*_numbers(graph, pre, model.weight, kinds), *_levels(graph, pre, model.weight)]
    z = graph.add("Sum", *terms, graph.constant([[model.bias]]))
    if model.isotonic is None:
        p = graph.add("Sigmoid", graph.add("Squeeze", z, graph.constant(np.array([1]))))
    else:
        p = _isotonic(graph, z, model.isotonic)
    graph.add("Cast", p, output=PROBABILITY, to=TensorProto.FLOAT)
    reached = graph.add("GreaterOrEqual", p, graph.constant(float(threshold)))
    graph.add("Cast", reached, output=PREDICTION, to=TensorProto.INT64)
    return _model(graph, kinds, pre.width if pre.sparse else 1)


def _isotonic(graph: Graph, z: str, calibration: IsotonicCalibration) -> str:
    """Calibrated probabilities, (rows,), of logits z, (rows, 1): the value at the knot below and the slope from there.

    This is what `numpy.interp` computes, to the bit.
    """
    knots = np.array(calibration.knots)
    z = graph.add("Max", graph.add("Min", z, graph.constant(knots[-1])), graph.constant(knots[0]))
    reached = graph.add("Cast", graph.add("GreaterOrEqual", z, graph.constant(knots)), to=TensorProto.INT64)
    count = graph.add("ReduceSum", reached, graph.constant(np.array([1])), keepdims=0)
    below = graph.add("Sub", count, graph.constant(np.array(1)))
    value, knot, slope = (
        graph.add("Gather", graph.constant(np.asarray(of)), below)
        for of in (calibration.values, knots, calibration.slopes)
    )
    rise = graph.add("Sub", graph.add("Squeeze", z, graph.constant(np.array([1]))), knot)
    return graph.add("Add", graph.add("Mul", slope, rise), value)


def _model(graph: Graph, kinds: dict[str, int], width: int) -> onnx.ModelProto:
    outputs = {PROBABILITY: TensorProto.FLOAT, PREDICTION: TensorProto.INT64}
    onnx_graph = helper.make_graph(
        graph.nodes,
        "logreg",
        [helper.make_tensor_value_info(name, kind, ["rows", width]) for name, kind in kinds.items()],
        [helper.make_tensor_value_info(name, kind, ["rows"]) for name, kind in outputs.items()],
        graph.constants,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(onnx_graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="lightning-logreg")


def _kind(column: Numeric | Categorical, doubles: set[str]) -> int:
    if isinstance(column, Categorical):
        return TensorProto.STRING
    return TensorProto.DOUBLE if column.part is not None or column.feature in doubles else TensorProto.FLOAT


def _numbers(graph: Graph, pre: Preprocessor, weight: np.ndarray, kinds: dict[str, int]) -> list[str]:
    """The terms of the logit that come from numbers and dates, (rows, 1) each."""
    spans = [(column, first) for column, first in pre.spans() if isinstance(column, Numeric)]
    floats, doubles = (
        [pair for pair in spans if pair[0].part is None and kinds[pair[0].feature] == kind]
        for kind in (TensorProto.FLOAT, TensorProto.DOUBLE)
    )
    dates = [pair for pair in spans if pair[0].part is not None]
    values: list[str] = []
    if floats:
        together = graph.concatenated([column.feature for column, _ in floats])
        values.append(graph.add("Cast", together, to=TensorProto.DOUBLE))
    values += [column.feature for column, _ in doubles]
    values += [date_part(graph.value(c.feature), str(c.part), GraphValue.floor).name for c, _ in dates]
    ordered = [*floats, *doubles, *dates]
    return _standardised(graph, graph.concatenated(values), ordered, weight) if ordered else []


def _standardised(graph: Graph, x: str, spans: list[tuple[Numeric, int]], weight: np.ndarray) -> list[str]:
    """The terms of the logit for numbers x, (rows, numbers) with NaN where they are missing."""
    gaps = graph.add("IsNaN", x)
    x = graph.add("Where", gaps, graph.constant([[column.fill for column, _ in spans]]), x)
    x = graph.add("Sub", x, graph.constant([[column.mean for column, _ in spans]]))
    x = graph.add("Div", x, graph.constant([[column.scale for column, _ in spans]]))
    terms = [graph.add("MatMul", x, graph.constant([[weight[first]] for _, first in spans]))]
    if any(column.indicator for column, _ in spans):
        missing = [[weight[first + 1] if column.indicator else 0.0] for column, first in spans]
        terms.append(graph.add("MatMul", graph.add("Cast", gaps, to=TensorProto.DOUBLE), graph.constant(missing)))
    return terms


def _levels(graph: Graph, pre: Preprocessor, weight: np.ndarray) -> list[str]:
    """The terms of the logit that come from levels, (rows, 1) each."""
    terms = []
    for column, first in pre.spans():
        if isinstance(column, Categorical):
            feature = spellings(column) | ({"": column.width - 1} if column.missing else {})
            code = graph.add(
                "LabelEncoder",
                column.feature,
                domain="ai.onnx.ml",
                keys_strings=list(feature),
                values_int64s=list(feature.values()),
                default_int64=column.width,
            )
            by_feature = np.append(weight[first : first + column.width], 0.0)  # the last one is for unseen levels
            terms.append(graph.add("Gather", graph.constant(by_feature), code))
    return terms
