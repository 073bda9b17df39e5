"""The real TensorBoard server, asked over HTTP, and a browser that looks at it."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CODE = "import sys; from tensorboard.main import run_main; sys.argv[0] = 'tensorboard'; run_main()"
PATIENCE = 90  # seconds

# Walks the page with the shadow trees and frames that TensorBoard puts its panes into.
NODES = """
const nodes = (node) => [
  node,
  ...(node.shadowRoot ? [...node.shadowRoot.childNodes].flatMap(nodes) : []),
  ...(node.nodeName === 'IFRAME' && node.contentDocument ? nodes(node.contentDocument.body) : []),
  ...(['SCRIPT', 'STYLE', 'TEMPLATE'].includes(node.nodeName) ? [] : [...node.childNodes].flatMap(nodes)),
];
"""
EVERYTHING = f"{NODES} return nodes(document.body).filter(n => n.nodeType === 3).map(n => n.textContent).join(' ');"


@contextlib.contextmanager
def served(directory: Path, runs: int, log: Path) -> Iterator[str]:
    """The address of a server that has read this many runs of a directory."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as file:
        arguments = ["--logdir", str(directory), "--port", str(port), "--host", "127.0.0.1"]
        process = subprocess.Popen([sys.executable, "-c", CODE, *arguments], stdout=file, stderr=file)
        address = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    if len(ask(f"{address}/data/runs")) == runs:
                        break
                time.sleep(0.3)
            yield address
        finally:
            process.kill()
            process.wait()


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


@contextlib.contextmanager
def browser(profile: Path, window: str = "1800,1000", logs: bool = False) -> Iterator[Any]:
    """Headless Chromium, which keeps logs of its console and of its requests if asked; skipped where there is none."""
    if shutil.which("chromedriver") is None or shutil.which("chromium") is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    if logs:
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--disable-quic", f"--window-size={window}",
        f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def text_when(driver: Any, url: str, words: tuple[str, ...]) -> str:
    """The visible text of a page, when all of these words are in it, or when patience ends."""
    driver.get("about:blank")  # else another # would not load the page again
    driver.get(url)
    text, deadline = "", time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not all(word in text for word in words):
        text = driver.execute_script(EVERYTHING)
        time.sleep(0.5)
    return text
