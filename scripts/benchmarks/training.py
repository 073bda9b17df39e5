"""Training against the bare PyTorch loop: the notebook's run, and mini-batches of a larger table."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.timing import Pair
from logreg.cli.assemble import assemble, make_classifier
from logreg.cli.configuration import compose, parse, plain
from logreg.core.settings import Settings
from logreg.data import InMemoryData, Table
from logreg.data.tables.builtin import LABELS, POINTS
from logreg.training.loop import train

UPDATES = 1001
ROWS, FEATURES, BATCH, PASSES = 100_000, 50, 1_024, 10


def configuration(*overrides: str) -> Settings:
    return parse(plain(compose("train", overrides)))


def notebook_loop() -> float:
    """Seconds of the notebook's own cell: three lines an update, loss and accuracy every 10."""
    x = torch.tensor(POINTS, dtype=torch.float32)
    y = torch.tensor(LABELS, dtype=torch.float32).reshape(-1, 1)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    history = []
    started = time.perf_counter()
    for update in range(UPDATES):
        hypothesis = model(x)
        cost = F.binary_cross_entropy(hypothesis, y)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        if update % 10 == 0:
            prediction = hypothesis >= torch.FloatTensor([0.5])
            correct = prediction.float() == y
            history.append((update, cost.item(), correct.sum().item() / len(correct)))
    return time.perf_counter() - started


def notebook_run() -> float:
    """Seconds in fit of ``python train.py`` with metrics.csv, TensorBoard, checkpoints, and values every 10 updates."""
    with tempfile.TemporaryDirectory() as directory:
        parts = assemble(configuration(), Path(directory))
        record = train(parts.data, parts.classifier, parts.trainer)
        for file in ("metrics.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt"):
            assert (Path(directory) / file).stat().st_size > 0, file
        assert record.updates == UPDATES
        return record.seconds["fit"]


class RandomTable(InMemoryData):
    """Normal features, labels drawn from a logistic model of them."""

    def load(self) -> Table:
        random = np.random.default_rng(0)
        x = random.standard_normal((ROWS, FEATURES), dtype=np.float32)
        p = 1 / (1 + np.exp(-x @ random.standard_normal(FEATURES)))
        return Table(x, (random.random(ROWS) < p).astype(np.int64), [f"x{i}" for i in range(FEATURES)])


TABLE = RandomTable("random")


def rows_loop() -> float:
    """Seconds of a bare loop over mini-batches cut from a shuffled index."""
    x, y = (torch.as_tensor(part, dtype=torch.float32) for part in (TABLE.source.x, TABLE.source.y))
    y = y.reshape(-1, 1)
    model = nn.Sequential(nn.Linear(FEATURES, 1), nn.Sigmoid())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    started = time.perf_counter()
    for _ in range(PASSES):
        order = torch.randperm(ROWS)
        for first in range(0, ROWS, BATCH):
            rows = order[first : first + BATCH]
            cost = F.binary_cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
    return time.perf_counter() - started


def rows_run() -> float:
    """Seconds in fit of the same training through `train`, with the default loggers, callbacks and checkpoints."""
    data = RandomTable("random", batch_size=BATCH, standardize=False)
    data.load = lambda: TABLE.source  # type: ignore[method-assign]
    settings = configuration(f"epochs={PASSES}", "lr=0.1")
    with tempfile.TemporaryDirectory() as directory:
        trainer = assemble(settings, Path(directory)).trainer
        record = train(data, make_classifier(settings, FEATURES), trainer)
        assert record.epochs == PASSES
        return record.seconds["fit"]


NOTEBOOK = Pair("notebook", notebook_run, notebook_loop, UPDATES, "updates")
ROWS_PER_SECOND = Pair("rows", rows_run, rows_loop, ROWS * PASSES, "rows")
