"""What version 0.1.0 says of the runs in this folder, written to expected.json.

    PYTHONPATH=. python tests/data/runs_0.1/make_expected.py <the test that compares with it>

The measuring is in the test, so that both do the same. It was run once, with version 0.1.0.
"""

from __future__ import annotations

import contextlib
import json
import runpy
import shutil
import sys
import tempfile
from pathlib import Path


def main() -> None:
    old_runs = Path(__file__).resolve().parent
    test = runpy.run_path(sys.argv[1], run_name="measures")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "runs"
        shutil.copytree(old_runs, copy)
        with contextlib.chdir(copy):
            expected = {}
            for run, measure in test["CASES"]:
                expected.setdefault(run, {})[measure] = test["measured"](run, measure)
            expected["sweep"] = test["swept"](Path("sweep_resumed"))
    lines = [f" {json.dumps(run)}: {json.dumps(of_run, ensure_ascii=False)}" for run, of_run in expected.items()]
    (old_runs / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
