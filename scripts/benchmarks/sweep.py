"""A sweep of the toy preset and a cross-validation, trained together, against Hydra's own launcher and a bare loop.

Every side is a process of its own, from its start to its end, with all its files written.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.timing import setting

ROOT = Path(__file__).resolve().parents[2]
RATES = "0.001,0.003,0.01,0.03,0.1"
SAMPLED_EMPTY, SAMPLED_LOOPS, SAMPLED_ALONE = 50, 20, 3
# Hydra's basic launcher with the project's configuration and a task that does nothing.
EMPTY = """
import sys
import hydra
import logreg.cli
@hydra.main(version_base="1.3", config_path=sys.argv.pop(1), config_name="train")
def main(cfg): pass
main()
"""


def process(arguments: list[str], folder: Path) -> float:
    """Seconds of a Python process that has to succeed."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds


def toy_sweep(seeds: int, folder: Path) -> float:
    """Seconds of 2 optimizers x 5 learning rates x a number of seeds of the toy preset."""
    overrides = ["optimizer=sgd,adam", f"lr={RATES}", f"seed=range({seeds})", f"hydra.sweep.dir=sweep_{seeds}"]
    return process([str(ROOT / "train.py"), "-m", *overrides], folder)


def empty_job(folder: Path) -> float:
    """Seconds that Hydra's basic launcher takes for a job of the same configuration whose task is empty."""

    def jobs(count: int) -> float:
        overrides = ["hydra/launcher=basic", "hydra/sweeper=basic", "lr=0.1", f"seed=range({count})"]
        return process(["-c", EMPTY, str(ROOT / "conf"), "-m", *overrides, f"hydra.sweep.dir=empty_{count}"], folder)

    return (jobs(SAMPLED_EMPTY) - jobs(1)) / (SAMPLED_EMPTY - 1)


def bare_loop() -> float:
    """Seconds of one training of the notebook's loop, 1,001 updates, the loss read every ten."""
    x = torch.tensor([[1.0, 2], [2, 3], [3, 1], [4, 3], [5, 3], [6, 2]])
    y = torch.tensor([[0.0], [0], [0], [1], [1], [1]])
    started = time.perf_counter()
    for seed in range(SAMPLED_LOOPS):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Sigmoid())
        optimizer = (torch.optim.SGD, torch.optim.Adam)[seed % 2](model.parameters(), lr=0.1)
        for update in range(1001):
            cost = F.binary_cross_entropy(model(x), y)
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            if update % 10 == 0:
                cost.item()
    return (time.perf_counter() - started) / SAMPLED_LOOPS


def cross_validation(penalties: int, folds: int, seeds: int, folder: Path, *more: str) -> float:
    """Seconds of a cross-validation of the breast cancer table, 200 passes of Adam in mini-batches."""
    values = ",".join(f"{10 ** (-5 + 4 * i / 49):.6g}" for i in range(penalties))
    overrides = [
        "data=breast_cancer", "optimizer=adam", "epochs=200", "data.folds=10", f"data.fold=range({folds})",
        f"penalty.l2={values}", f"seed=range({seeds})", "figures=false",
        f"hydra.sweep.dir=cv_{penalties}_{folds}_{seeds}",
    ]  # fmt: skip
    return process([str(ROOT / "train.py"), "-m", *overrides, *more], folder)


def run(large: bool) -> dict[str, Any]:
    """All of it; ``large`` adds the sweep of 10,000 jobs."""
    seconds: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds["toy, 1,000 jobs"] = toy_sweep(100, folder)
        seconds["Hydra's basic launcher, 1,000 empty jobs"] = 1000 * empty_job(folder)
        seconds["bare loop, 1,000 trainings"] = 1000 * bare_loop()
        seconds["breast cancer, 1,000 jobs"] = cross_validation(50, 10, 2, folder)
        first = cross_validation(1, 1, 1, folder, "hydra/launcher=basic")
        more = cross_validation(1, 1 + SAMPLED_ALONE, 1, folder, "hydra/launcher=basic")
        seconds["breast cancer, 1,000 jobs by the basic launcher"] = 1000 * (more - first) / SAMPLED_ALONE
        if large:
            seconds["toy, 10,000 jobs"] = toy_sweep(1000, folder)
            seconds["peak memory, MiB"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "seconds": seconds,
        "sampled": {"empty": SAMPLED_EMPTY, "loops": SAMPLED_LOOPS, "alone": SAMPLED_ALONE},
    } | setting()


def show(result: dict[str, Any]) -> None:
    print(f"{result['machine']['processor']}, {os.cpu_count()} cores")
    for name, value in result["seconds"].items():
        print(f"  {name:50} {value:10.1f}")
