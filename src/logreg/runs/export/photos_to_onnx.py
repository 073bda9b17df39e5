"""An ONNX model of a run on photos, in one file; see `logreg.runs.export.programs` for what goes in and out.

Its metadata are those of a table's model: ``threshold``, ``labels``, ``target`` and preprocessing.json.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as Unsupported
from torch import nn

from logreg.core.errors import UserError
from logreg.evaluation.calibration import IsotonicCalibration
from logreg.runs.export import programs
from logreg.runs.export.programs import in_brief, quiet
from logreg.runs.export.to_onnx import PREDICTION, PROBABILITY, save, session_of
from logreg.runs.load import Run

MOST_BYTES = 2**31 - 2**24  # of parameters: a protobuf has no more, with room for the graph


def write(run: Run, rows: object, path: Path) -> None:
    """Write the model of a run.

    A calibrated run computes in float64, and so does its model. Where ONNX Runtime has no such operator, the network of
    the model computes in float32; the comparison with the run tells whether that is good enough.

    Raises:
        UserError: the network cannot be traced or expressed in ONNX, or is too large for a file.
    """
    network = run.model.network
    size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    if size > MOST_BYTES:
        raise UserError(
            f"format=onnx: the parameters take {size / 1e9:.1f} GB, and an ONNX file holds 2; format=torch holds more."
        )
    _write(run, network, path)
    try:
        session_of(path)
    except Unsupported:
        _write(run, copy.deepcopy(network).float(), path)


def load(run: Run, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    try:
        session = session_of(path)
    except Unsupported as error:
        raise _refusal(run.model.network, error) from error
    return lambda batch: session.run([PROBABILITY], {programs.IMAGE: batch})[0]


def snippet(run: Run, path: str) -> str:
    return (
        "import numpy, onnxruntime\n"
        "from PIL import Image, ImageOps\n"
        f"image = numpy.asarray({programs.DECODED})[None]  # 8 bits\n"
        f"probability, prediction = onnxruntime.InferenceSession({path!r}).run(None, {{{programs.IMAGE!r}: image}})"
    )


def _write(run: Run, network: nn.Module, path: Path) -> None:
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
    save(model, run, path, full_check=False)


def _refusal(network: nn.Module, error: Exception) -> UserError:
    return UserError(
        f"format=onnx: {type(network).__name__} cannot be expressed in ONNX ({in_brief(error)}); "
        "format=torch may hold it."
    )
