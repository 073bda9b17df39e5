"""Figures as part of a page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from logreg.cli.pages import write_run, write_sweep
from logreg.report.figures.theme import new_chart, page_colors
from logreg.report.page.charts import chart
from tests.report.page.pages import Page
from tests.report.page.test_render import HOSTILE
from tests.report.page.test_sweep_page import HOSTILE as HOSTILE_TEXT
from tests.report.page.test_sweep_page import write_job

LABELS = [*HOSTILE, r"$\frac{$", r"\$ and $", "日本", "\x07 bell", "no \uffff character", "<b>", 'id="x"']


@pytest.mark.parametrize("text", LABELS)
def test_any_text_can_be_a_label_of_a_chart(text: str) -> None:
    with page_colors():
        figure, axes = new_chart()
        axes.set_xlabel(text)
        axes.plot([0, 1], [0, 1], label=f"{text}!")
        axes.legend()
        picture = chart(figure, "c", text).picture
    read: list[str] = []
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            read.append(data)

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            tags.append(tag)

    reader = Reader()
    reader.feed(str(picture))
    reader.close()
    assert text.replace("\x07", "\ufffd").replace("\uffff", "\ufffd") in "".join(read)
    assert not {"script", "img", "b"} & set(tags)


def give_lesson(directory: Path) -> None:
    """What a lesson leaves in its directory."""
    figure, axes = new_chart()
    axes.plot([0, 1], [0, 1])
    (directory / "figures").mkdir(exist_ok=True)
    figure.savefig(directory / "figures" / "lesson_two_costs.png")
    lines = ["rates      arrived", "  sgd           3", f"it says {HOSTILE_TEXT}", "x" * 300]
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
    assert f"it says {HOSTILE_TEXT}" in page.text
    assert len(page.scripts) == 1
    assert [tag["alt"] for name, tag in page.tags if name == "img"] == ["Two costs"]
    for broken in ("[1]", "{", '{"conclusion": "x"}'):
        (directory / "lesson.json").write_text(broken)
        write(directory, tmp_path / "page.html")
        assert "What this lesson shows" not in (tmp_path / "page.html").read_text()
