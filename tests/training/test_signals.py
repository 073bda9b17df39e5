"""SIGTERM while training."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from logreg.data import InMemoryData
from tests.helpers import breast_cancer, fit


class Terminate(Callback):
    """Sends SIGTERM to this process between two blocks, where Lightning answers it before the classifier can."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 200:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_between_two_blocks_loses_nothing(tmp_path: Path) -> None:
    def source() -> InMemoryData:
        return breast_cancer(batch_size=4, split={"train": 1.0})

    whole, _, _ = fit(tmp_path / "whole", source(), 3)
    broken, _, _ = fit(tmp_path / "broken", source(), 3, callbacks=[Terminate()])
    assert (broken.status, broken.updates, broken.epochs) == ("interrupted", 200, 1)
    rest, _, _ = fit(tmp_path / "rest", source(), 3, resume=tmp_path / "broken")
    assert rest.metrics == whole.metrics
