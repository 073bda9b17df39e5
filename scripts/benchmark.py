"""Measure this project against the bare PyTorch loop, in one process, in turn.

    python scripts/benchmark.py notebook    the default toy run, everything on, against the notebook's loop
    python scripts/benchmark.py rows        mini-batches of 100,000 x 50 rows against slicing a shuffled index

Prints the medians and their ratio and writes JSON to outputs/benchmarks/.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from torch import nn

from logreg.cli import CONF
from logreg.data import InMemoryData, Table
from logreg.data.toy import LABELS, POINTS
from logreg.experiment import assemble, make_classifier, resolve
from logreg.runs import versions, write_atomically
from logreg.training import train

UPDATES = 1001
ROWS, FEATURES, BATCH, PASSES = 100_000, 50, 1_024, 10


def configuration(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return resolve(compose("train", overrides=list(overrides)))


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
        data, classifier, trainer = assemble(configuration(), Path(directory))
        record = train(data, classifier, trainer)
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
    config = configuration(f"epochs={PASSES}", "lr=0.1")
    with tempfile.TemporaryDirectory() as directory:
        _, _, trainer = assemble(config, Path(directory))
        record = train(data, make_classifier(config, FEATURES), trainer)
        assert record.epochs == PASSES
        return record.seconds["fit"]


BENCHMARKS: dict[str, tuple[Callable[[], float], Callable[[], float], int, str]] = {
    "notebook": (notebook_run, notebook_loop, UPDATES, "updates"),
    "rows": (rows_run, rows_loop, ROWS * PASSES, "rows"),
}


def measure(name: str, repeats: int) -> dict[str, Any]:
    """Run both sides in turn and compare the medians; the first round warms up and is not counted."""
    ours, theirs, amount, unit = BENCHMARKS[name]
    pairs = [(ours(), theirs()) for _ in range(repeats + 1)][1:]
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {
        "benchmark": name,
        "ours_seconds": a,
        "theirs_seconds": b,
        "time_ratio": statistics.median(x / y for x, y in pairs),
        f"ours_{unit}_per_second": amount / a,
        f"theirs_{unit}_per_second": amount / b,
        "rate_ratio": statistics.median(y / x for x, y in pairs),
        "pairs": pairs,
        "repeats": repeats,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": versions(),
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--repeats", type=int, default=9, help="pairs that count (default 9)")
    parser.add_argument("--output", type=Path, help="the JSON file (default outputs/benchmarks/<benchmark>.json)")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error("--repeats: 1 or more")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    result = measure(arguments.benchmark, arguments.repeats)
    path = arguments.output or Path("outputs/benchmarks") / f"{arguments.benchmark}.json"
    write_atomically(path, json.dumps(result, indent=2) + "\n")
    unit = BENCHMARKS[arguments.benchmark][3]
    print(f"{result['machine']['processor']}, {result['machine']['cores']} cores; median of {result['repeats']} pairs")
    for side in ("ours", "theirs"):
        rate = result[f"{side}_{unit}_per_second"]
        print(f"{side:7} {result[f'{side}_seconds']:.4f} s  {rate:>12,.0f} {unit}/s")
    print(f"time, ours/theirs {result['time_ratio']:.2f}   rate, ours/theirs {result['rate_ratio']:.2f}   {path}")


if __name__ == "__main__":
    main()
