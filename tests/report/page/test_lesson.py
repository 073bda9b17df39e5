"""The section of a page on what a lesson showed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from logreg.cli.pages import write_run, write_sweep
from logreg.report.figures.theme import new_chart
from tests.report.page.pages import Page
from tests.report.page.test_sweep_page import HOSTILE, write_job


def give_lesson(directory: Path) -> None:
    """What a lesson leaves in its directory."""
    figure, axes = new_chart()
    axes.plot([0, 1], [0, 1])
    (directory / "figures").mkdir(exist_ok=True)
    figure.savefig(directory / "figures" / "lesson_two_costs.png")
    lines = ["rates      arrived", "  sgd           3", f"it says {HOSTILE}", "x" * 300]
    content = {"lesson": "LearningRate", "conclusion": lines, "numbers": {"a": 1}}
    (directory / "lesson.json").write_text(json.dumps(content))


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_what_a_lesson_shows_is_there_once(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "sweep"
    for number in range(2):
        write_job(folder, number, {"lr": number}, 0.5)
    directory, write = (folder, write_sweep) if kind == "sweep" else (folder / "1_job", write_run)
    write(directory, tmp_path / "page.html")
    assert "What this lesson shows" not in (tmp_path / "page.html").read_text()
    give_lesson(directory)
    write(directory, tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text())
    assert page.text.count("What this lesson shows") == 1
    assert any("rates      arrived\n  sgd           3\n" in text for text in page.texts)
    assert f"it says {HOSTILE}" in page.text
    assert len(page.scripts) == 1
    assert [tag["alt"] for name, tag in page.tags if name == "img"] == ["Two costs"]
    for broken in ("[1]", "{", '{"conclusion": "x"}'):
        (directory / "lesson.json").write_text(broken)
        write(directory, tmp_path / "page.html")
        assert "What this lesson shows" not in (tmp_path / "page.html").read_text()
