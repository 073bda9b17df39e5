"""The run directory: its files, its record, and loading what a run left behind.

.hydra/{config,overrides,hydra}.yaml   the configuration, as Hydra writes it
config.json                            the same, resolved, as the run used it
run.json                               the record, see `RunRecord`
preprocessing.json                     how raw columns become the model's inputs
coefficients.csv                       of a linear model, in raw and in standardised units
marginal_effects.csv                   of a fit with standard errors
evaluation.json                        the last evaluation on other rows
metrics.csv, events.out.tfevents.*     the history
checkpoints/{last,best}.ckpt           the states
lesson.json, report.html               of a lesson; the page, where it was asked for
figures/*.png, train.log
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logreg.core.errors import UserError
from logreg.core.settings import Settings
from logreg.records.checkpoints import read_checkpoint
from logreg.records.record import PREPROCESSING, Json, RunRecord, read_config, read_history, read_record

if TYPE_CHECKING:
    import numpy as np

    from logreg.data.features import FittedPreprocessor
    from logreg.data.tables.preparing.preprocessor import Preprocessor
    from logreg.training.classifier import BinaryClassifier


@dataclass(frozen=True)
class Run:
    """A finished run, loaded for use; see `load_run`.

    Attributes:
        directory: the run directory.
        config: the resolved configuration, plain values.
        settings: the same, typed.
        record: the content of ``run.json``.
        history: the rows of ``metrics.csv``; a cell that was empty is missing from its row.
        model: the trained `BinaryClassifier` in evaluation mode, on the CPU.
        preprocessor: from raw columns to the features of the model.
    """

    directory: Path
    config: dict[str, Any]
    settings: Settings
    record: RunRecord
    history: list[dict[str, float]]
    model: BinaryClassifier
    preprocessor: FittedPreprocessor

    @property
    def metrics(self) -> dict[str, float]:
        """Final values by name, such as ``metrics["test/accuracy"]``."""
        return self.record.metrics

    @property
    def table_preprocessor(self) -> Preprocessor:
        """The preprocessor of a run on a table.

        Raises:
            UserError: the run was trained on photos.
        """
        from logreg.data.tables.preparing.preprocessor import Preprocessor

        if not isinstance(self.preprocessor, Preprocessor):
            raise UserError(f"run={self.directory}: this run was trained on photos, and a table is no photo.")
        return self.preprocessor

    @property
    def features(self) -> list[str]:
        """The names of the raw columns."""
        return self.preprocessor.raw_columns

    def predict_proba(self, rows: object) -> np.ndarray:
        """Probabilities of label 1, (rows,), for raw rows: the run's preprocessing is applied here.

        Args:
            rows: a polars or pandas frame that has the raw columns, in any order and among others; or numbers
                (rows, columns) in the order of ``features``; or a scipy sparse matrix where the run's table was sparse.
                Of a run on photos: a path, a Pillow image, an array (height, width, 3) of uint8, or several of them.

        Raises:
            UserError: columns are missing, or hold something else than in training; or a photo cannot be read.
        """
        import numpy as np
        import torch

        from logreg.runs.frames import feature_blocks

        dtype = next(self.model.parameters()).dtype
        form = self.record.data.get("form") or {}
        names = str(self.directory / PREPROCESSING)
        blocks = feature_blocks(rows, self.preprocessor, names, form.get("missing", ()), dtype)
        with torch.no_grad():
            probabilities = [self.model(block).numpy() for block in blocks]
        return np.concatenate(probabilities) if probabilities else np.empty(0)

    def predict(self, rows: object) -> np.ndarray:
        """Labels, (rows,), 0 or 1: 1 where the probability is at least the run's threshold."""
        return (self.predict_proba(rows) >= self.model.threshold).astype(int)


def load_run(directory: str | Path, checkpoint: str = "best", trusted_packages: Sequence[str] = ()) -> Run:
    """Load a run from its directory.

    Args:
        checkpoint: ``best`` or ``last``.
        trusted_packages: packages, besides the project's own, whose classes the run's configuration may name.

    Raises:
        UserError: the directory holds no run, no such checkpoint, or names a class outside the trusted packages; or the
            checkpoint is another than the one that was calibrated.
    """
    from logreg.core.build import build_metrics, build_network
    from logreg.evaluation.calibration import from_record
    from logreg.training.classifier import BinaryClassifier

    directory = Path(directory)
    record = read_record(directory)
    path = directory / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.is_file():
        raise UserError(f"{directory} has no checkpoints/{checkpoint}.ckpt (its status is {record.status}).")
    config = read_config(directory)
    settings = Settings.of(config)
    content = read_checkpoint(path, key="checkpoint")
    state, calibration = content["state_dict"], from_record(record.calibration)
    if calibration is not None and content["global_step"] != record.evaluated.updates:
        raise UserError(
            f"checkpoint={checkpoint}: calibration={calibration.method} was fitted to the other one; use "
            f"checkpoint={record.checkpoint}."
        )
    if not (directory / PREPROCESSING).is_file():
        raise UserError(f"{directory} has no {PREPROCESSING}: its data is of a kind that only its own code can read.")
    preprocessor = _preprocessor(json.loads((directory / PREPROCESSING).read_text(encoding="utf-8")))
    dtype = next(iter(state.values())).dtype
    network = build_network(settings.model, preprocessor.width, trusted_packages).to(dtype)
    metrics = build_metrics(settings.metrics, trusted_packages)
    model = BinaryClassifier(
        network,
        l1=settings.penalty.l1,
        l2=float(settings.penalty.l2),
        loss=settings.loss,
        threshold=record.threshold,
        metrics=metrics,
    )
    model.load_state_dict(state)
    if calibration is not None:  # in float64, as when it was fitted
        model.decide(record.threshold, calibration)
        model.double()
    model.eval()
    model.requires_grad_(False)
    return Run(directory, config, settings, record, read_history(directory), model, preprocessor)


def _preprocessor(content: Json) -> FittedPreprocessor:
    """What `FittedPreprocessor.to_json` wrote."""
    from logreg.data.features import PHOTOS
    from logreg.data.images.preprocessor import ImagePreprocessor
    from logreg.data.tables.preparing.preprocessor import Preprocessor

    kind = ImagePreprocessor if content.get("kind") == PHOTOS else Preprocessor
    return kind.from_content(content)
