"""Small pieces that several tests use."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from logreg import BinaryClassifier, RunRecord, train
from logreg.cli.configuration import compose, parse, plain
from logreg.core.build import build_data
from logreg.core.options.data import DataSettings
from logreg.core.settings import Settings
from logreg.data import BreastCancerData, DigitsData, ImageFolderData, InMemoryData, TableData, ToyData
from logreg.data.features import FittedPreprocessor
from logreg.models import SequentialRegression
from logreg.records.record import read_history
from logreg.runs.load import Run
from logreg.training.callbacks import Checkpoints

Data = TypeVar("Data", TableData, ImageFolderData, DigitsData)


def run_with(model: BinaryClassifier, preprocessor: FittedPreprocessor, directory: Path = Path("run")) -> Run:
    """A run of this model, as `load_run` would return it."""
    model = model.eval().requires_grad_(False)
    return Run(directory, {"data": {}}, composed(), RunRecord(), [], model, preprocessor)


def composed(*overrides: str) -> Settings:
    """The settings of a command line of ``train.py``."""
    return parse(plain(compose("train", overrides)))


def toy(**settings: Any) -> ToyData:
    return ToyData("toy", **{"standardize": False, "seed": 1, **settings})


def breast_cancer(**settings: Any) -> BreastCancerData:
    defaults = {"seed": 1, "batch_size": 32, "split": {"train": 0.6, "val": 0.2, "test": 0.2}}
    return BreastCancerData("breast_cancer", **{**defaults, **settings})


def _built(kind: type[Data], settings: dict[str, Any]) -> Data:
    data = build_data(DataSettings.of({"_target_": f"logreg.data.{kind.__name__}", **settings}))
    assert isinstance(data, kind)
    return data


def table_data(**settings: Any) -> TableData:
    """A table from the flat keys of ``data``, as a configuration gives them."""
    return _built(TableData, settings)


def image_folder(**settings: Any) -> ImageFolderData:
    return _built(ImageFolderData, settings)


def fit(
    directory: Path,
    data: InMemoryData,
    epochs: int,
    optimizer: Any = None,
    *,
    network: nn.Module | None = None,
    scheduler: Any = None,
    l1: float = 0.0,
    l2: float = 0.0,
    resume: Path | None = None,
    certify_every: int | None = None,
    loss: str = "log_loss",
    **trainer: Any,
) -> tuple[RunRecord, BinaryClassifier, list[dict[str, float]]]:
    """Train in a directory; returns the record, the classifier and the rows of metrics.csv."""
    data.setup()
    torch.manual_seed(1)
    network = network or SequentialRegression(data.num_features)
    make = optimizer or functools.partial(torch.optim.SGD, lr=1.0)
    classifier = BinaryClassifier(network, make, scheduler, l1=l1, l2=l2, certify_every=certify_every, loss=loss)
    monitor = "val/loss" if len(data.rows["val"]) else "train/loss"
    callbacks = [Checkpoints(monitor=monitor), *trainer.pop("callbacks", [])]
    settings = {"accelerator": "cpu", "log_every_n_steps": 1, "num_sanity_val_steps": -1, "enable_model_summary": False}
    lightning = Trainer(
        max_epochs=epochs,
        default_root_dir=str(directory),
        logger=trainer.pop("logger", None) or CSVLogger(directory, name="", version=""),
        callbacks=callbacks,
        enable_progress_bar=False,
        **{**settings, **trainer},
    )
    record = train(data, classifier, lightning, resume=resume)
    return record, classifier, read_history(directory)


class Ordinary(LightningDataModule):
    """The six points through a DataLoader of PyTorch's own."""

    num_features = 2

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(*toy().tensors("train")), batch_size=6)


def column(history: list[dict[str, float]], name: str) -> dict[int, float]:
    """A metric by step."""
    return {int(row["step"]): row[name] for row in history if name in row}


def shared_file(name: str) -> Path:
    """A file beside the checkout that the project does not hold; the test is skipped where it is not there."""
    path = Path(__file__).parents[2] / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"{name} is not beside this checkout")
    return path


def write_photos(folder: Path, counts: dict[str, int], seed: int = 0, side: int = 40) -> Path:
    """JPEG photos that a classifier can tell apart: noise, redder in the first class and bluer in the others."""
    random = np.random.default_rng(seed)
    for place, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = random.integers(0, 160, (side, side + 10, 3))
            pixels[..., 2 * min(place, 1)] += 60
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"photo {i}.jpg", quality=90)
    return folder


def digits(**settings: Any) -> DigitsData:
    """Few rows of few pixels."""
    few = {"seed": 1, "split": {"train": 0.2, "val": 0.1, "test": 0.7}, "size": 16}
    return digits_data(**few | settings)


def digits_data(**settings: Any) -> DigitsData:
    return _built(DigitsData, settings)
