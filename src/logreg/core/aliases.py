"""Classes that moved: the names that recorded configurations of earlier versions have for them, and today's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Names of version 0.1.0.
ALIASES = {
    "logreg.brier.BrierScore": "logreg.evaluation.scores.BrierScore",
    "logreg.callbacks.Checkpoints": "logreg.training.callbacks.Checkpoints",
    "logreg.callbacks.UpdateBar": "logreg.training.callbacks.UpdateBar",
    "logreg.data.breast_cancer.BreastCancerData": "logreg.data.builtin.BreastCancerData",
    "logreg.data.table.TableData": "logreg.data.tables.table.TableData",
    "logreg.data.toy.ToyData": "logreg.data.builtin.ToyData",
    "logreg.metrics.BinaryLogLoss": "logreg.evaluation.scores.BinaryLogLoss",
    "logreg.metrics.MeanLoss": "logreg.evaluation.scores.MeanLoss",
    "logreg.choosing.Auto": "logreg.optim.auto.Auto",
    "logreg.data.digits.DigitsData": "logreg.data.images.digits.DigitsData",
    "logreg.data.image_folder.ImageFolderData": "logreg.data.images.folder.ImageFolderData",
    "logreg.report.boundary.BoundarySeries": "logreg.report.figures.boundary.BoundarySeries",
    "logreg.report.photos.PhotoGrids": "logreg.report.figures.photos.PhotoGrids",
    "logreg.report.tensorboard.TensorBoardLogger": "logreg.report.tensorboard.events.TensorBoardLogger",
}


def renamed(node: Any) -> Any:
    """A configuration, or a part of one, that names every class by its present name."""
    if isinstance(node, Mapping):
        return {
            key: ALIASES.get(item, item) if key == "_target_" and isinstance(item, str) else renamed(item)
            for key, item in node.items()
        }
    return [renamed(item) for item in node] if isinstance(node, list) else node
