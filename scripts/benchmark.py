"""Measure this project against what it is compared with, in one process, in turn.

    python scripts/benchmark.py notebook    the default toy run, everything on, against the notebook's loop
    python scripts/benchmark.py rows        mini-batches of 100,000 x 50 rows against slicing a shuffled index
    python scripts/benchmark.py tables      preparing, predicting and training on 5,000,000 x 20 rows in files
    python scripts/benchmark.py images      decoding 2,000 photos, and epochs of the convolutional network on 10,000
    python scripts/benchmark.py sweep       1,000 and 10,000 jobs trained together; a cross-validation of 1,000 jobs
    python scripts/benchmark.py solvers     dense and sparse tables against scikit-learn's solvers and glum's
    python scripts/benchmark.py path        ten folds of fifty penalties against LogisticRegressionCV
    python scripts/benchmark.py memory      Newton's method on tables of 1,000,000 x 20 rows and more, in files

Prints the medians and their ratio and writes JSON to outputs/benchmarks/.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import Pair, measure, setting

from logreg.core.files import write_atomically


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=RUNS)
    parser.add_argument(
        "--repeats", type=int, help="rounds that count (default 9; solvers 5, tables, path and images 3)"
    )
    parser.add_argument("--rows", type=int, default=5_000_000, help="of tables (default 5,000,000)")
    parser.add_argument("--photos", type=int, default=2_000, help="images: to decode (default 2,000)")
    parser.add_argument("--trained", type=int, default=10_000, help="images: to train on (default 10,000)")
    parser.add_argument(
        "--folder", type=Path, help="where tables and photos are made and thrown away (default: a temporary one)"
    )
    parser.add_argument("--small", action="store_true", help="sweep: without the 10,000 jobs")
    parser.add_argument(
        "--a9a", type=Path, help="solvers: the LIBSVM file of that name, to measure its sparse rows too"
    )
    parser.add_argument("--output", type=Path, help="the JSON file (default outputs/benchmarks/<benchmark>.json)")
    arguments = parser.parse_args()
    for name, value, least in (
        ("repeats", arguments.repeats, 1),
        ("rows", arguments.rows, 1000),
        ("photos", arguments.photos, 2),
        ("trained", arguments.trained, 100),
    ):
        if value is not None and value < least:
            parser.error(f"--{name}: {least} or more")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    result = RUNS[arguments.benchmark](arguments)
    output = arguments.output or Path("outputs/benchmarks") / f"{arguments.benchmark}.json"
    write_atomically(output, json.dumps(result, indent=2) + "\n")
    print(output)


def training(arguments: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.training import NOTEBOOK, ROWS_PER_SECOND

    pair = NOTEBOOK if arguments.benchmark == "notebook" else ROWS_PER_SECOND
    result = measure(pair, arguments.repeats or 9)
    show(pair, result)
    return result


def sweep(arguments: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.sweep import run, show

    result = run(large=not arguments.small)
    show(result)
    return result


def solvers(arguments: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.solvers import run

    return run(arguments.repeats or 5, arguments.a9a)


def path(arguments: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.path import run

    return run(arguments.repeats or 3)


def tables(arguments: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.tables import Files

    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        files = Files(Path(folder), arguments.rows)
        results = {}
        for pair in files.pairs():
            results[pair.name] = measure(pair, arguments.repeats or 3)
            show(pair, results[pair.name])
        start = files.second_start()
    print(f"first batch of a prepared table {start['ours_seconds']:.3f} s, from memory {start['theirs_seconds']:.3f} s")
    return {"rows": arguments.rows, "pairs": results, "second start": start} | setting()


def images(arguments: argparse.Namespace) -> dict[str, Any]:
    import torch
    from benchmarks.images import Photos

    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    repeats, results = arguments.repeats or 3, {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        photos = Photos(Path(folder), arguments.photos, arguments.trained)
        pairs = photos.pairs() + ([photos.on_gpu()] if torch.cuda.is_available() else [])
        for pair in pairs:
            results[pair.name] = measure(pair, repeats)
            show(pair, results[pair.name])
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    print(f"the GPU is {device}" if device else "there is no CUDA device here, so nothing was measured on one")
    return {"photos": arguments.photos, "trained": arguments.trained, "pairs": results, "gpu": device} | setting()


def show(pair: Pair, result: dict[str, Any]) -> None:
    machine = result["machine"]
    print(f"{pair.name}: {machine['processor']}, {machine['cores']} cores; median of {result['repeats']} pairs")
    for side in ("ours", "theirs"):
        rate = result[f"{side}_{pair.unit}_per_second"]
        print(f"  {side:7} {result[f'{side}_seconds']:.4f} s  {rate:>12,.0f} {pair.unit}/s")
    wanted = f"   wanted: at most {pair.wanted:g}" if pair.wanted else ""
    print(f"  time, ours/theirs {result['time_ratio']:.2f}   rate, ours/theirs {result['rate_ratio']:.2f}{wanted}")


def memory(arguments: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.memory import run

    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    return run(arguments.rows, arguments.folder)


RUNS = {
    "notebook": training, "rows": training, "tables": tables, "images": images, "sweep": sweep, "solvers": solvers,
    "path": path, "memory": memory,
}  # fmt: skip

if __name__ == "__main__":
    main()
