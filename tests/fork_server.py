"""A process that has imported what the commands import, and forks for each one: 0.1 seconds where a start takes five.

`tests.commands` starts it with one end of a socket. Each request is a JSON object, with the descriptors that the
command is to have as its standard output and error, and a pipe to which the exit status is written. The child leaves
`serve` with its request and runs the script as ``python script`` would.

A fork copies only the thread that calls it, so nothing here may start one that a command needs: `serve` checks that.
torch, NumPy, Arrow and polars start those that compute at the first computation.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import logging
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy

# What the package imports inside of functions, and takes more than a few milliseconds.
FURTHER = (
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "scipy.optimize",
    "sklearn.linear_model",
    "torch.utils.tensorboard",
)
STARTS_THREADS = "onnxruntime"
# The allocator of polars and Arrow, which has its own handlers of forks; and who removes what polars spills to a disk.
HARMLESS_THREADS = {"jemalloc_bg_thd", "polars-ooc-clea"}


def import_everything() -> None:
    """Every module of the package but those of `STARTS_THREADS`, its plugins for Hydra, and `FURTHER`."""
    import hydra

    import logreg
    from logreg.core.settings import CONF

    # A command has set up logging before it imports Lightning, which adds a handler of its own where there is none.
    handler = logging.NullHandler()
    logging.root.addHandler(handler)
    sys.modules[STARTS_THREADS] = None  # type: ignore[assignment]  # so that importing it raises ImportError
    for module in pkgutil.walk_packages(logreg.__path__, "logreg."):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
    del sys.modules[STARTS_THREADS]
    for name in FURTHER:
        importlib.import_module(name)
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        hydra.compose("train")  # finds the plugins and fills the caches of the parsers, which is 0.1 s of each command
    logging.root.removeHandler(handler)


def serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for every request; returns it in the child, and None in the server once the other end is closed."""
    threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    assert len([name for name in threads if name not in HARMLESS_THREADS]) == 1, f"a fork would lose one of {threads}"
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the commands
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    gc.collect()
    gc.freeze()  # otherwise the first collection of a child would write to every page, and so copy it

    running: dict[int, int] = {}  # process to the pipe that waits for its status
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if woken in ready:
                os.read(woken, 4096)
                report_ended(running)
            if requests.fileno() not in ready:
                continue
            message, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 3)
            if not message:
                return None
            out, err, status = descriptors
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                os.dup2(out, 1)
                os.dup2(err, 2)
                for descriptor in (*descriptors, *running.values(), woken, wake):
                    os.close(descriptor)
                requests.close()
                return json.loads(message)
            os.close(out)
            os.close(err)
            running[pid] = status
            os.write(status, f"{pid}\n".encode())


def report_ended(running: dict[int, int]) -> None:
    """Write the exit status of each child that has ended, as `subprocess` has it: negative after a signal."""
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            pipe = running.pop(pid)
            with contextlib.suppress(BrokenPipeError):  # who started it no longer waits
                os.write(pipe, f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os.close(pipe)


def become(request: dict[str, Any]) -> None:
    """Make this process what a new one would be: its directory, environment, arguments and path of modules."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.argv = [request["script"], *request["arguments"]]
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[0:1] = [os.path.dirname(request["script"]), *(path for path in paths if path not in sys.path)]
    numpy.random.seed()


def run_to_the_end(script: str) -> NoReturn:
    """What ``python script`` does, but for taking the interpreter apart: that writes to all of its pages, in 0.4 s."""
    status = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, int):
            status = end.code
        elif end.code is not None:
            print(end.code, file=sys.stderr)
            status = 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if status < 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status & 0xFF)


if __name__ == "__main__":
    import_everything()
    command = serve(socket.socket(fileno=int(sys.argv[1])))
    if command is not None:
        become(command)
        run_to_the_end(command["script"])
