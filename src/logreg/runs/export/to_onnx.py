"""An ONNX model of a linear run or of one on photos, preprocessing included; on tables it computes in float64.

What a model of photos takes stands in `logreg.runs.export.programs`. That of a table has an input for each raw column,
called as the column, of shape [rows, 1]:

* a number: ``tensor(float)``, or ``tensor(double)`` where float would cost digits of the probability; NaN if missing;
* a level: ``tensor(string)``, written as in preprocessing.json (``1``, ``true``), ``""`` if missing;
* a date: ``tensor(double)``, the seconds since 1970-01-01 00:00, NaN if missing.

A sparse run has one input ``x`` [rows, columns]. Outputs: ``probability`` [rows] float and ``prediction`` [rows] int64.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime
import polars as pl
import torch
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as Unsupported
from scipy.sparse import csr_matrix
from torch import nn

from logreg.core.errors import UserError
from logreg.data.tables.preparing.columns import Categorical
from logreg.data.tables.preparing.preprocessor import Preprocessor
from logreg.evaluation.calibration import IsotonicCalibration
from logreg.records.record import PREPROCESSING
from logreg.runs.export import programs
from logreg.runs.export.columns import (
    LinearModel,
    date_part,
    level_spans,
    number_spans,
    raw_numbers,
    raw_values,
    spellings,
)
from logreg.runs.export.graph import PREFIX, Graph, GraphValue
from logreg.runs.export.programs import in_brief, quiet
from logreg.runs.export.rows import RawRows
from logreg.runs.load import Run

OPSETS = {"": 17, "ai.onnx.ml": 2}  # what ONNX Runtime has had since 1.12
IR_VERSION = 8
PROBABILITY, PREDICTION = "probability", "prediction"
SPARSE = "x"
MOST_BYTES = 2**31 - 2**24  # of parameters: a protobuf has no more, with room for the graph
Values = TypeVar("Values", np.ndarray, csr_matrix)
DTYPES: dict[str, type] = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": object}
# What rounding the inputs to float32 may cost in a probability, half of what an export may differ by.
ROUNDING = 5e-6


def write(run: Run, rows: Iterable[RawRows], path: Path) -> None:
    """Write the model of a linear run, or of one on photos.

    A calibrated run on photos computes in float64, and so does its model. Where ONNX Runtime has no such operator, the
    network of the model computes in float32; the comparison with the run shows whether that is good enough.

    Raises:
        UserError: columns are called as the outputs; or the network cannot be traced or expressed in ONNX, or is too
            large for a file.
    """
    if isinstance(run.preprocessor, Preprocessor):
        pre, model = run.preprocessor, LinearModel.of(run)
        save(build_model(pre, model, run.model.threshold, double_inputs(pre, model, rows)), run, path)
        return
    network = run.model.network
    size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    if size > MOST_BYTES:
        raise UserError(
            f"format=onnx: the parameters take {size / 1e9:.1f} GB, and an ONNX file holds 2; format=torch holds more."
        )
    save(photo_model(run, network), run, path, full_check=False)
    try:
        session_of(path)
    except Unsupported:
        save(photo_model(run, copy.deepcopy(network).float()), run, path, full_check=False)


def save(model: onnx.ModelProto, run: Run, path: Path, full_check: bool = True) -> None:
    """Write a model with the metadata of a run: ``threshold``, ``target``, ``labels`` and preprocessing.json."""
    target = run.preprocessor.target
    properties = {"threshold": repr(run.model.threshold), "target": target.column, "labels": ", ".join(target.labels)}
    helper.set_model_props(model, properties | {PREPROCESSING: run.preprocessor.to_json()})
    model.producer_name = "lightning-logreg"
    onnx.checker.check_model(model, full_check=full_check)
    onnx.save_model(model, path)


def session_of(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def load(run: Run, path: Path) -> Callable[[RawRows | np.ndarray], np.ndarray]:
    try:
        session = session_of(path)
    except Unsupported as error:
        raise _refusal(run.model.network, error) from error
    types = {node.name: node.type for node in session.get_inputs()}

    def predict(batch: RawRows | np.ndarray) -> np.ndarray:
        if isinstance(batch, np.ndarray):  # photos
            return session.run([PROBABILITY], {programs.IMAGE: batch})[0]
        return session.run([PROBABILITY], inputs(batch, run.table_preprocessor, types))[0]

    return predict


def snippet(run: Run, path: str) -> str:
    if not isinstance(run.preprocessor, Preprocessor):
        return (
            "import numpy, onnxruntime\n"
            "from PIL import Image, ImageOps\n"
            f"image = numpy.asarray({programs.DECODED})[None]  # 8 bits\n"
            f"probability, prediction = onnxruntime.InferenceSession({path!r}).run(None, {{{programs.IMAGE!r}: image}})"
        )
    what = f"{{{SPARSE!r}: rows}}" if run.table_preprocessor.sparse else "{column: values of shape (rows, 1), …}"
    return (
        "import onnxruntime\n"
        f"session = onnxruntime.InferenceSession({path!r})\n"
        f"probability, prediction = session.run(None, {what})"
    )


def inputs(batch: RawRows, pre: Preprocessor, types: dict[str, str]) -> dict[str, np.ndarray]:
    """A batch of raw rows as the model takes it.

    Args:
        types: of the inputs by name, as ONNX Runtime calls them.
    """
    if not isinstance(batch, pl.DataFrame):
        return {SPARSE: batch.toarray().astype(DTYPES[types[SPARSE]])}
    columns = raw_values(batch, pre, lambda levels, _: levels.fill_null("").to_numpy())
    return {name: values.astype(DTYPES[types[name]]).reshape(-1, 1) for name, values in columns.items()}


def double_inputs(pre: Preprocessor, model: LinearModel, rows: Iterable[RawRows]) -> set[str]:
    """Dates, and the numbers whose rounding to float32 would cost too much, those that cost most first.

    The cost is measured on the rows: whole numbers below 2**24 have none, whatever their offset.
    """
    costs: dict[str, float] = {}
    # The probability changes by at most this where the logit changes by 1: a sigmoid has its steepest slope at 0.
    steepest = 0.25 if model.isotonic is None else model.isotonic.slopes.max()
    weight = np.abs(model.weight) * steepest
    spans = [] if pre.sparse else number_spans(pre)
    columns = [(column, weight[first] / column.scale) for column, first in spans if column.part is None]
    for batch in rows:
        if isinstance(batch, pl.DataFrame):
            numbers = ((column.feature, raw_numbers(batch[column.feature], column), slope) for column, slope in columns)
            lost = {name: np.nan_to_num(_rounding(values) * slope) for name, values, slope in numbers}
        else:
            lost = {SPARSE: _rounding(batch) @ weight}
        costs |= {name: max(costs.get(name, 0.0), float(cost.max(initial=0.0))) for name, cost in lost.items()}
    doubles, left = {column.feature for column, _ in spans if column.part is not None}, sum(costs.values())
    for name, cost in sorted(costs.items(), key=lambda pair: -pair[1]):
        if left <= ROUNDING:
            break
        doubles.add(name)
        left -= cost
    return doubles


def _rounding(values: Values) -> Values:
    """What float32 takes away from float64."""
    return abs(values - values.astype(np.float32).astype(np.float64))


def build_model(pre: Preprocessor, model: LinearModel, threshold: float, doubles: set[str]) -> onnx.ModelProto:
    """The model, in which ``doubles`` are the inputs of that type; see `write`."""
    taken = [name for name in pre.raw_columns if name in (PROBABILITY, PREDICTION) or name.startswith(PREFIX)]
    if taken and not pre.sparse:
        raise UserError(
            f"format=onnx: the column {taken[0]} is called as something else in the model; format=sklearn and "
            "format=torch can hold the run."
        )
    graph = Graph()
    kinds: dict[str, int]
    if pre.sparse:
        kinds = {SPARSE: TensorProto.FLOAT}
        terms = [GraphValue(graph, SPARSE).cast(TensorProto.DOUBLE) @ model.weight.reshape(-1, 1)]
    else:
        is_level = {column.feature: isinstance(column, Categorical) for column in pre.columns}
        kinds = {name: TensorProto.STRING if is_level[name] else TensorProto.FLOAT for name in pre.raw_columns}
        terms = [*_numbers(graph, pre, model.weight, doubles), *_levels(graph, pre, model.weight)]
    kinds |= dict.fromkeys(doubles, TensorProto.DOUBLE)
    z = graph.add("Sum", *terms, [[model.bias]])
    p = graph.add("Sigmoid", z.column()) if model.isotonic is None else _isotonic(z, model.isotonic)
    p.cast(TensorProto.FLOAT, PROBABILITY)
    graph.add("GreaterOrEqual", p, threshold).cast(TensorProto.INT64, PREDICTION)

    outputs = {PROBABILITY: TensorProto.FLOAT, PREDICTION: TensorProto.INT64}
    width = pre.width if pre.sparse else 1
    content = helper.make_graph(
        graph.nodes,
        "logreg",
        [helper.make_tensor_value_info(name, kind, ["rows", width]) for name, kind in kinds.items()],
        [helper.make_tensor_value_info(name, kind, ["rows"]) for name, kind in outputs.items()],
        graph.constants,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(content, opset_imports=opsets, ir_version=IR_VERSION)


def _numbers(graph: Graph, pre: Preprocessor, weight: np.ndarray, doubles: set[str]) -> list[GraphValue]:
    """The terms of the logit that come from numbers and dates, (rows, 1) each."""
    ordered = sorted(number_spans(pre), key=lambda span: span[0].feature in doubles)
    if not ordered:
        return []
    values = [GraphValue(graph, column.feature) for column, _ in ordered]
    floats = sum(column.feature not in doubles for column, _ in ordered)
    together = [graph.beside(values[:floats]).cast(TensorProto.DOUBLE)] if floats else []  # one node for all of them
    for value, (column, _) in zip(values[floats:], ordered[floats:], strict=True):
        together.append(value if column.part is None else date_part(value, column.part, GraphValue.floor))
    means, scales, fills = ([[getattr(c, name) for c, _ in ordered]] for name in ("mean", "scale", "fill"))
    x = graph.beside(together)
    gaps = graph.add("IsNaN", x)
    standardised = (graph.add("Where", gaps, fills, x) - means) / scales
    terms = [standardised @ [[weight[first]] for _, first in ordered]]
    if any(column.indicator for column, _ in ordered):
        missing = [[weight[first + 1] if column.indicator else 0.0] for column, first in ordered]
        terms.append(gaps.cast(TensorProto.DOUBLE) @ missing)
    return terms


def _levels(graph: Graph, pre: Preprocessor, weight: np.ndarray) -> list[GraphValue]:
    """The terms of the logit that come from levels, (rows, 1) each."""
    by_feature = graph.constant(np.append(weight, 0.0))  # the last one is for unseen levels
    terms = []
    for column, first in level_spans(pre):
        features = spellings(column, first) | ({"": first + column.width - 1} if column.missing else {})
        feature = graph.add(
            "LabelEncoder",
            GraphValue(graph, column.feature),
            domain="ai.onnx.ml",
            keys_strings=list(features),
            values_int64s=list(features.values()),
            default_int64=len(weight),
        )
        terms.append(graph.add("Gather", by_feature, feature))
    return terms


def _isotonic(z: GraphValue, calibration: IsotonicCalibration) -> GraphValue:
    """Calibrated probabilities, (rows,), of logits z, (rows, 1): the value at the knot below and the slope from there.

    This is what `numpy.interp` computes, to the bit.
    """
    graph, knots = z.graph, np.array(calibration.knots)
    z = graph.add("Max", graph.add("Min", z, knots[-1]), knots[0])
    reached = graph.add("GreaterOrEqual", z, knots).cast(TensorProto.INT64)
    below = graph.add("ReduceSum", reached, np.array([1]), keepdims=0) - np.array(1)
    value, knot, slope = (
        graph.add("Gather", np.array(by_knot), below) for by_knot in (calibration.values, knots, calibration.slopes)
    )
    return slope * (z.column() - knot) + value


def photo_model(run: Run, network: nn.Module) -> onnx.ModelProto:
    """The model of a run on photos, with this network in place of its own."""
    program = programs.photo_program(run, "onnx", network)
    is_double = next(network.parameters()).dtype == torch.float64
    if is_double or isinstance(run.model.calibration, IsotonicCalibration):
        program = programs.in_onnx_operators(program, convolutions=is_double)
    with quiet():
        try:
            inputs, outputs = [programs.IMAGE], [PROBABILITY, PREDICTION]
            exported = torch.onnx.export(
                program, input_names=inputs, output_names=outputs, dynamo=True, external_data=False, verbose=False
            )
        except Exception as error:  # whatever the network does that ONNX has no words for
            raise _refusal(network, error) from error
    assert exported is not None
    model = exported.model_proto
    graph = model.graph
    dims = graph.input[0].type.tensor_type.shape.dim  # which the exporter calls s40 and the like
    sizes = {dim.dim_param: name for dim, name in zip(dims, programs.DIMENSIONS, strict=False)}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_param = sizes[dim.dim_param]
    return model


def _refusal(network: nn.Module, error: Exception) -> UserError:
    return UserError(
        f"format=onnx: {type(network).__name__} cannot be expressed in ONNX ({in_brief(error)}); "
        "format=torch may hold it."
    )
