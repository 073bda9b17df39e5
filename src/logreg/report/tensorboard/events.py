"""TensorBoard event files, written without a thread or a queue.

A record costs a few microseconds this way, where a `SummaryWriter` takes a hundred and starts a thread per run;
TensorBoard's own record writer computes its checksums in Python, which takes longer than everything else, and its
functions that write what the plugins for curves, texts and layouts read need tensorflow.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
from jaxtyping import Float
from lightning.pytorch.loggers import Logger
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MultilineChartContent
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.plugins.pr_curve import metadata as pr_curve
from tensorboard.plugins.text import metadata as texts

from logreg.records.record import RunRecord

LAYOUT_TAG: str = custom_scalar.CONFIG_SUMMARY_TAG
CATEGORY = "train and validation"  # the same in every run, since TensorBoard merges the charts of a category
COMPARED = re.compile(r"(train|val)/(.+)")
_counter = itertools.count()


def framed(record: bytes) -> bytes:
    """A record as it stands in a TFRecord file: length, checksum of the length, content, checksum of the content."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _masked_crc(length), record, _masked_crc(record)))


def _masked_crc(content: bytes) -> bytes:
    """CRC-32C, rotated and shifted, so that a checksum of checksums is none of the common ones (TFRecord format)."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def compared_names(tags: Iterable[str]) -> list[str]:
    """The metrics that were measured on training or validation rows, those of both first."""
    splits: dict[str, set[str]] = {}
    for match in filter(None, map(COMPARED.fullmatch, tags)):
        splits.setdefault(match[2], set()).add(match[1])
    return sorted(splits, key=lambda name: -len(splits[name]))  # which keeps the order of the tags otherwise


class EventFile:
    """One event file; created with its first record."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file: BinaryIO | None = None
        self._tags: dict[str, None] = {}  # of the scalars, in their order
        self._laid_out: list[str] = []

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._tags.update(dict.fromkeys(values))
        self._write([Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()], step)

    def image(self, tag: str, png: bytes, step: int) -> None:
        width, height = struct.unpack(">II", png[16:24])  # the first chunk of a PNG file begins with them
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        self._write([Summary.Value(tag=tag, image=image)], step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        self._string(tag, markdown.encode(), texts.create_summary_metadata(display_name="", description=""), step)

    def curve(self, tag: str, table: Float[np.ndarray, "6 thresholds"], description: str, step: int) -> None:
        """A curve of the PR Curves tab.

        Args:
            table: true positives, false positives, true negatives, false negatives, precision and recall.
        """
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in table.shape])
        tensor = TensorProto(dtype=DT_FLOAT, tensor_shape=shape, tensor_content=table.astype("<f4").tobytes())
        about = pr_curve.create_summary_metadata("", description, table.shape[1])
        self._write([Summary.Value(tag=tag, tensor=tensor, metadata=about)], step)

    def layout(self) -> None:
        """For the Custom Scalars tab, unless it was laid out so before: a chart for each metric so far, with a line for
        training and one for validation rows.
        """
        names = compared_names(self._tags)
        if names != self._laid_out:
            self._laid_out = names
            lines = {name: MultilineChartContent(tag=[f"^(train|val)/{re.escape(name)}$"]) for name in names}
            charts = [Chart(title=name, multiline=multiline) for name, multiline in lines.items()]
            content = Layout(category=[Category(title=CATEGORY, chart=charts)]).SerializeToString()
            self._string(LAYOUT_TAG, content, custom_scalar.create_summary_metadata(), 0)

    def _string(self, tag: str, content: bytes, about: SummaryMetadata, step: int) -> None:
        tensor = TensorProto(dtype=DT_STRING, string_val=[content])
        self._write([Summary.Value(tag=tag, tensor=tensor, metadata=about)], step)

    def finish(self, record: RunRecord) -> None:
        """Give the run its row in the HParams tab, with its final metrics, and close the file.

        Hyperparameters are numbers, booleans and strings, everything else as text.
        """
        group = f"{self.directory.parent.name}/{self.directory.name}"
        start = SessionStartInfo(group_name=group, start_time_secs=time.time())
        for key, value in record.hyperparameters.items():
            if isinstance(value, bool):
                start.hparams[key].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[key].number_value = value
            else:
                start.hparams[key].string_value = str(value)
        self._hparams(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))
        self.scalars({f"final/{name}": value for name, value in record.metrics.items()}, record.updates)
        if record.baseline is not None:
            linear = {f"final_linear/{name}": value for name, value in record.baseline.metrics.items()}
            self.scalars(linear, record.updates)
        status = STATUS_SUCCESS if record.status == "completed" else STATUS_FAILURE
        end = SessionEndInfo(status=status, end_time_secs=time.time())
        self._hparams(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))
        self.close()

    def _hparams(self, tag: str, data: HParamsPluginData) -> None:
        data.version = metadata.PLUGIN_DATA_VERSION
        plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
        value = Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=metadata.NULL_TENSOR)
        self._write([value], step=0)

    def _write(self, values: list[Summary.Value], step: int) -> None:
        self._event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _event(self, event: Event) -> None:
        if self._file is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_counter)}"
            self._file = (self.directory / name).open("wb")
            self._event(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._file.write(framed(event.SerializeToString()))

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class TensorBoardLogger(Logger):
    """Writes scalars into the run directory itself, where ``tensorboard --logdir outputs`` finds them.

    It stays open after training: the report adds figures, hyperparameters and final metrics to the same file.
    """

    def __init__(self, directory: str) -> None:
        super().__init__()
        self.events = EventFile(Path(directory))

    @property
    def name(self) -> str:
        return "tensorboard"

    @property
    def version(self) -> str:
        return ""

    @property
    def log_dir(self) -> str:
        return str(self.events.directory)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.events.scalars({tag: value for tag, value in metrics.items() if tag != "epoch"}, step or 0)

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Hyperparameters are written at the end, together with the final metrics."""

    def save(self) -> None:
        self.events.layout()
        self.events.flush()

    def finalize(self, status: str) -> None:
        self.events.flush()
