"""The project's commands as a user starts them, at a fraction of what starting them costs.

`run_command` and `start_command` give every command a process of its own, with its own directory, environment, output,
signals and exit status. It is forked from one that has done the imports (`tests.fork_server`). Where a claim is about
the start itself, ``fresh=True`` starts Python again; ``without_torch=True`` does, and torch cannot be imported there.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
WITHOUT_TORCH = str(ROOT / "tests" / "cli" / "without_torch")
CAN_FORK = sys.platform == "linux"
Command = Callable[..., subprocess.CompletedProcess[str]]


class Server:
    """A `tests.fork_server` of the package as it stands in a checkout; it lives as long as this process."""

    def __init__(self, checkout: Path) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "fork_server.py"), str(theirs.fileno())],
            cwd=ROOT,
            env=os.environ if checkout == ROOT else os.environ | {"PYTHONPATH": str(checkout / "src")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        atexit.register(self.close)

    def close(self) -> None:
        self.socket.close()
        self.process.wait()

    def fork(self, request: dict[str, Any], out: int, err: int) -> Forked:
        ours, theirs = os.pipe()
        socket.send_fds(self.socket, [json.dumps(request).encode()], [out, err, theirs])
        os.close(theirs)
        return Forked(ours)


server = functools.cache(Server)


class Forked:
    """What `subprocess.Popen` is to a child, to a process that the server has forked."""

    returncode: int | None = None

    def __init__(self, status: int) -> None:
        self._status = os.fdopen(status)
        line = self._status.readline()
        assert line, "the server of commands has ended; its error is above"
        self.pid = int(line)

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a forked command", timeout or 0)
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Running:
    """A command that has been started, and what it has written so far."""

    def __init__(
        self,
        script: str,
        arguments: tuple[str, ...],
        cwd: Path,
        environment: dict[str, str],
        *,
        fresh: bool = False,
        without_torch: bool = False,
        stderr: int | None = None,
        checkout: Path = ROOT,
    ) -> None:
        path = str(checkout / script)
        env = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"} | environment
        if checkout != ROOT:
            env["PYTHONPATH"] = str(checkout / "src")
        if without_torch:
            env["PYTHONPATH"] = WITHOUT_TORCH
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        out, err = self._out.fileno(), self._err.fileno() if stderr is None else stderr
        self._process: Forked | subprocess.Popen[bytes]
        if fresh or without_torch or not CAN_FORK:
            command = [sys.executable, path, *arguments]
            self._process = subprocess.Popen(command, cwd=cwd, env=env, stdout=out, stderr=err)
        else:
            request = {"script": path, "arguments": arguments, "cwd": str(cwd), "environment": env}
            self._process = server(checkout).fork(request, out, err)

    @property
    def stdout(self) -> str:
        return _text(self._out)

    @property
    def stderr(self) -> str:
        return _text(self._err)

    def wait(self, timeout: float = 240) -> int:
        """The exit status; a command that takes longer is killed.

        Raises:
            subprocess.TimeoutExpired: it has not ended by then.
        """
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()


def _text(file: IO[bytes]) -> str:
    """What a file holds, without moving the offset that the command shares and writes at."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()


def start_command(script: str, *arguments: str, cwd: Path, stderr: int | None = None, **environment: str) -> Running:
    """A command that goes on while the test does.

    Args:
        stderr: a descriptor to write errors to, such as a terminal's.
    """
    return Running(script, arguments, cwd, environment, stderr=stderr)


def run_command(
    script: str,
    *arguments: str,
    cwd: Path,
    timeout: float = 240,
    fresh: bool = False,
    without_torch: bool = False,
    checkout: Path = ROOT,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """A command from start to end, in a directory of its own.

    Args:
        checkout: whose script and package it is.
    """
    options = {"fresh": fresh, "without_torch": without_torch}
    running = Running(script, arguments, cwd, environment, checkout=checkout, **options)
    status = running.wait(timeout)
    return subprocess.CompletedProcess([script, *arguments], status, running.stdout, running.stderr)


def record_of(directory: Path) -> dict[str, Any]:
    """The ``run.json`` of a run."""
    return json.loads((directory / "run.json").read_text())


def assert_refused(process: subprocess.CompletedProcess[str], parts: list[str]) -> None:
    """One sentence on the standard error, with these parts, and exit status 1."""
    assert process.returncode == 1, (process.stdout, process.stderr)
    assert "Traceback" not in process.stderr
    lines = [line for line in process.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


def signal_once_trained(folder: Path, arguments: list[str], history: str, number: int) -> None:
    """Start a training, send it a signal once a history (a glob) has updates, and see it end cleanly."""
    training = start_command("train.py", *arguments, cwd=folder)
    try:
        deadline = time.monotonic() + 120
        while not any(len(path.read_text().splitlines()) > 2 for path in folder.glob(history)):
            assert time.monotonic() < deadline, training.stderr
            time.sleep(0.05)
        training.send_signal(number)
        status = training.wait(60)
    finally:
        training.kill()
    assert status == 130, training.stderr
    assert "Traceback" not in training.stdout + training.stderr
