"""What TensorBoard's plugins for curves, texts and layouts read; their own functions that write it need tensorflow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float
from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MultilineChartContent
from tensorboard.plugins.pr_curve import metadata as pr_curve
from tensorboard.plugins.text import metadata as texts

Content = tuple[TensorProto, SummaryMetadata]

LAYOUT_TAG: str = custom_scalar.CONFIG_SUMMARY_TAG
CATEGORY = "train and validation"  # the same in every run, since TensorBoard merges the charts of a category
COMPARED = re.compile(r"(train|val)/(.+)")


def text(markdown: str) -> Content:
    """Of the Text tab."""
    return _string(markdown.encode()), texts.create_summary_metadata(display_name="", description="")


def curve(table: Float[np.ndarray, "6 thresholds"], description: str) -> Content:
    """Of the PR Curves tab: true positives, false positives, true negatives, false negatives, precision, recall."""
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in table.shape])
    tensor = TensorProto(dtype=DT_FLOAT, tensor_shape=shape, tensor_content=table.astype("<f4").tobytes())
    return tensor, pr_curve.create_summary_metadata("", description, table.shape[1])


def compared_names(tags: Iterable[str]) -> list[str]:
    """The metrics that were measured on training or validation rows, those of both first."""
    splits: dict[str, set[str]] = {}
    for match in filter(None, map(COMPARED.fullmatch, tags)):
        splits.setdefault(match[2], set()).add(match[1])
    return sorted(splits, key=lambda name: -len(splits[name]))  # which keeps the order of the tags otherwise


def layout(names: Sequence[str]) -> Content:
    """Of the Custom Scalars tab: a chart for each metric, with a line for training and one for validation rows."""
    charts = [
        Chart(title=name, multiline=MultilineChartContent(tag=[f"^(train|val)/{re.escape(name)}$"])) for name in names
    ]
    content = Layout(category=[Category(title=CATEGORY, chart=charts)]).SerializeToString()
    return _string(content), custom_scalar.create_summary_metadata()


def _string(content: bytes) -> TensorProto:
    return TensorProto(dtype=DT_STRING, string_val=[content])
