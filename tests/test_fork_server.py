"""A command that is forked does what one that is started does."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from tests.commands import run_command, start_command

NUMBERS = re.compile(r"\d+(\.\d+)?(e-?\d+)?|[0-9a-f]{6,}")
SAME = ("config.json", "metrics.csv", "coefficients.csv", ".hydra/config.yaml", ".hydra/overrides.yaml")
ALIKE = ("train.log", "leaderboard.csv")


def files(folder: Path) -> set[str]:
    """The files below a folder but for the process in the name of an event file."""
    return {re.sub(r"tfevents\..*", "tfevents", str(path.relative_to(folder))) for path in folder.rglob("*")}


def words(text: str) -> list[str]:
    """The lines of an output without their numbers, such as seconds, and in the name of one directory."""
    return [NUMBERS.sub("0", line) for line in text.replace("/False/", "/True/").splitlines()]


@pytest.mark.slow
def test_a_forked_command_writes_what_a_fresh_one_writes(tmp_path: Path) -> None:
    for fresh in (True, False):
        folder = tmp_path / str(fresh)
        folder.mkdir()
        (folder / "t.csv").write_text("a,b,y\n" + "".join(f"{i % 7},{'uvw'[i % 3]},{i % 2}\n" for i in range(60)))
    table = ["data=table", "data.path=t.csv", "data.target=y", "hydra.run.dir=run"]
    for script, *arguments in (
        ["train.py", *table],
        ["train.py", "-m", "lr=0.1,-1", "seed=1,2", "epochs=5", "hydra.sweep.dir=sweep"],
        ["scripts/predict.py", "run=run", "data.path=t.csv", "output=-"],
        ["scripts/evaluate.py", "run=run", "data.path=none.csv"],
    ):
        fresh, forked = (
            run_command(script, *arguments, cwd=tmp_path / str(fresh), fresh=fresh) for fresh in (True, False)
        )
        assert forked.returncode == fresh.returncode
        assert words(forked.stderr) == words(fresh.stderr)
        assert words(forked.stdout) == words(fresh.stdout)
    assert files(tmp_path / "False") == files(tmp_path / "True")
    for path in (tmp_path / "True").rglob("*"):
        twin = tmp_path / "False" / path.relative_to(tmp_path / "True")
        if str(path).endswith(SAME):
            assert twin.read_text().replace("/False/", "/True/") == path.read_text(), path
        if str(path).endswith(ALIKE):
            assert words(twin.read_text()) == words(path.read_text()), path


def test_a_forked_command_ends_as_its_process_does(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    for body, status, err in (
        ("", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('said')", 1, "said\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("import atexit; atexit.register(print, 'last'); raise KeyboardInterrupt", -2, "Traceback"),
    ):
        script.write_text(body)
        process = run_command(str(script), cwd=tmp_path)
        assert process.returncode == status
        assert process.stderr.startswith(err)
        assert process.stdout == ("last\n" if "last" in body else "")


def test_a_forked_command_has_its_own_directory_environment_and_arguments(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, sys, beside; print(os.getcwd(), os.environ['WORD'], sys.argv, __name__, __file__)")
    (tmp_path / "beside.py").write_text("")
    process = run_command(str(script), "a b", "ü", cwd=tmp_path, WORD="wörd")
    assert process.stdout == f"{tmp_path} wörd {[str(script), 'a b', 'ü']} __main__ {script}\n", process.stderr


def test_a_forked_command_takes_signals(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import time; print('started', flush=True); time.sleep(60)")
    running = start_command(str(script), cwd=tmp_path)
    while not running.stdout:
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    assert running.wait() == -signal.SIGTERM
