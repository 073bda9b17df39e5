"""TensorBoard event files, written without a thread or a queue.

A record costs some ten microseconds this way, where a `SummaryWriter` takes a hundred and starts a thread per run.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

_counter = itertools.count()


class EventFile:
    """One event file; created with its first record."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._writer: RecordWriter | None = None

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._write([Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()], step)

    def image(self, tag: str, png: bytes, width: int, height: int, step: int) -> None:
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        self._write([Summary.Value(tag=tag, image=image)], step)

    def hyperparameters(self, values: Mapping[str, Any], group: str) -> None:
        """The row of this run in the HParams tab; numbers, booleans and strings, everything else as text."""
        start = SessionStartInfo(group_name=group, start_time_secs=time.time())
        for key, value in values.items():
            if isinstance(value, bool):
                start.hparams[key].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[key].number_value = value
            else:
                start.hparams[key].string_value = str(value)
        self._hparams(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))

    def end(self, success: bool) -> None:
        """Close the run's row in the HParams tab."""
        status = STATUS_SUCCESS if success else STATUS_FAILURE
        info = SessionEndInfo(status=status, end_time_secs=time.time())
        self._hparams(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=info))

    def _hparams(self, tag: str, data: HParamsPluginData) -> None:
        data.version = metadata.PLUGIN_DATA_VERSION
        plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
        value = Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=metadata.NULL_TENSOR)
        self._write([value], step=0)

    def _write(self, values: list[Summary.Value], step: int) -> None:
        self._event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _event(self, event: Event) -> None:
        if self._writer is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_counter)}"
            self._writer = RecordWriter((self.directory / name).open("wb"))
            self._event(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._writer.write(event.SerializeToString())

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


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
        self.events.flush()

    def finalize(self, status: str) -> None:
        self.events.flush()
