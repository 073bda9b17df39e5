"""Newton's method on a table in Parquet files that is larger than the memory it may take.

For each size the rows are drawn into files of a million rows, and another process prepares the table, trains with
optimizer=newton and says how many bytes of anonymous memory it had at its peak (RssAnon of Linux: without the pages of
mapped files, which can be dropped at any time), and how long an iteration took.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.timing import setting

FEATURES, PART = 20, 1_000_000
ALLOWED = 1.5 * 2**30  # bytes
INTERVAL = 0.02  # seconds between two looks at the memory


def run(rows: int, folder: Path | None) -> dict[str, Any]:
    """Measure tables of a million rows, ten million, and so on up to ``rows``, and print them."""
    sizes = [PART * 10**k for k in range(9) if PART * 10**k < rows] + [rows]
    results = []
    print(
        "rows, GiB of anonymous memory at the peak and seconds to prepare and to train, iterations, gap, ns a row each"
    )
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as each:
            draw(Path(each), size)
            places = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
            child = [sys.executable, "-m", "benchmarks.memory", each]
            done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True, env=places)
        result = {"rows": size} | json.loads(done.stdout.splitlines()[-1])
        results.append(result)
        anonymous = result["prepare_bytes"] / 2**30, result["train_bytes"] / 2**30
        seconds = f"{result['prepare_seconds']:.1f} + {result['train_seconds']:.1f} s"
        cost = result["nanoseconds_per_row_and_iteration"]
        print(
            f"  {size:>11,}  {anonymous[0]:.2f}, {anonymous[1]:.2f} GiB  {seconds}  {result['iterations']}  "
            f"{result['relative_gap']:.0e}  {cost:.1f} ns", flush=True,
        )  # fmt: skip
    most = max(max(result["prepare_bytes"], result["train_bytes"]) for result in results)
    print(f"  the most of all {most / 2**30:.2f} GiB   wanted: under {ALLOWED / 2**30:g}")
    costs = [result["nanoseconds_per_row_and_iteration"] for result in results]
    print(f"  the dearest row over the cheapest one {max(costs) / min(costs):.2f}   wanted: at most 1.2")
    return {"sizes": results, "columns": FEATURES, "allowed_bytes": ALLOWED} | setting()


def draw(folder: Path, rows: int) -> None:
    """Parquet files with labels of a logistic model."""
    w = np.random.default_rng(0).standard_normal(FEATURES)
    for part, first in enumerate(range(0, rows, PART)):
        random = np.random.default_rng((1, part))
        x = random.standard_normal((min(PART, rows - first), FEATURES), dtype=np.float32)
        y = random.random(len(x)) < 1 / (1 + np.exp(-x @ w))
        columns = {f"x{i}": x[:, i] for i in range(FEATURES)}
        pl.DataFrame(columns | {"y": y.astype(np.int8)}).write_parquet(folder / f"{part:04}.parquet", compression="lz4")


class Watch:
    """The most bytes of anonymous memory since `restart`."""

    def __init__(self) -> None:
        self.most = 0
        threading.Thread(target=self._look, daemon=True).start()

    def restart(self) -> int:
        most, self.most = self.most, 0
        return most

    def _look(self) -> None:
        while True:
            self.most = max(self.most, anonymous_bytes())
            time.sleep(INTERVAL)


def anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssAnon")))


def measure(folder: Path) -> dict[str, Any]:
    """Prepare and train the table in a folder, in this process."""
    from benchmarks.training import configuration
    from logreg.cli.assemble import assemble
    from logreg.optim.newton import Newton
    from logreg.optim.problem import LogisticProblem, Theta
    from logreg.optim.solver import Iteration
    from logreg.training.loop import train

    watch, spent = Watch(), []

    class Timed(Newton):
        def _iterate(self, problem: LogisticProblem, theta: Theta) -> Iteration:
            started = time.perf_counter()
            done = super()._iterate(problem, theta)
            spent.append(time.perf_counter() - started)
            return done

    overrides = ["data=table", f"data.path='{folder}/*.parquet'", "data.target=y", "optimizer=newton"]
    overrides += [
        "penalty.l2=auto",
        "data.split={train:1.0,val:0.0,test:0.0}",
        "monitor=train/loss",
        f"data.cache_dir='{folder / 'cache'}'",
    ]
    settings = configuration(*overrides)
    started = time.perf_counter()
    parts = assemble(settings, folder / "run")
    data, classifier, trainer = parts.data, parts.classifier, parts.trainer
    prepared, prepare_bytes = time.perf_counter() - started, watch.restart()
    classifier.make_optimizer = Timed
    started = time.perf_counter()
    record = train(data, classifier, trainer)
    trained, train_bytes = time.perf_counter() - started, watch.restart()
    assert record.optimality is not None
    return {
        "prepare_seconds": prepared, "prepare_bytes": prepare_bytes,
        "train_seconds": trained, "train_bytes": train_bytes,
        "iterations": record.updates, "relative_gap": record.optimality["relative_gap"],
        "nanoseconds_per_row_and_iteration": 1e9 * statistics.median(spent) / record.data["rows"]["train"],
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
