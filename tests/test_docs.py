"""The examples of the documents work: files written as shown, commands run as shown."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_command

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall((ROOT / document).read_text()) if kind == language]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the files that CONTRIBUTING.md adds."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("train.py", "conf", "src"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    written = 0
    for body in blocks("CONTRIBUTING.md", "python") + blocks("CONTRIBUTING.md", "yaml"):
        path = body.splitlines()[0].removeprefix("# ")
        (folder / path).write_text(body.partition("\n")[2])
        written += 1
    assert written == 6
    return folder


CONTRIBUTING = [line for body in blocks("CONTRIBUTING.md", "bash") for line in body.splitlines() if line.strip()]


@pytest.mark.slow
@pytest.mark.parametrize("line", CONTRIBUTING)
def test_contributing(checkout: Path, line: str) -> None:
    program, script, *arguments = shlex.split(line)
    assert program == "python"
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    done = subprocess.run(
        [sys.executable, script, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr


README = [
    line
    for body in blocks("README.md", "bash")
    for line in body.splitlines()
    if line.startswith("python train.py") and "resume=" not in line
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", [*README, *re.findall(r"^\| `(python train\.py [^`]+)` \|", (ROOT / "README.md").read_text(), re.M)]
)
def test_readme(tmp_path_factory: pytest.TempPathFactory, line: str) -> None:
    folder = tmp_path_factory.mktemp("readme")
    if "hand_written_continued" in line:
        assert run_command("train.py", "experiment=notebook/hand_written", cwd=folder).returncode == 0
    done = run_command(*shlex.split(line)[1:], cwd=folder, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_readme_python(tmp_path: Path) -> None:
    assert run_command("train.py", "hydra.run.dir=first", cwd=tmp_path).returncode == 0
    loading, training = blocks("README.md", "python")
    loading = re.sub(r'load_run\("[^"]+"\)', 'load_run("first")', loading)
    for body in (loading, training):
        done = subprocess.run([sys.executable, "-c", body], cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
    done = run_command("train.py", "resume=first", "epochs=2002", "hydra.run.dir=second", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "second" / "run.json").read_text())["updates"] == 2002


@pytest.mark.slow
@pytest.mark.parametrize("name", ["notebook", "rows"])
def test_the_benchmarks_write_what_they_measured(tmp_path: Path, name: str) -> None:
    done = run_command("scripts/benchmark.py", name, "--repeats", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "outputs" / "benchmarks" / f"{name}.json").read_text())
    assert result["time_ratio"] == pytest.approx(result["ours_seconds"] / result["theirs_seconds"])
    assert f"{result['time_ratio']:.2f}" in done.stdout
