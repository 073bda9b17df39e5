"""Figures as part of a page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from logreg.report.figures.theme import new_chart, page_colors
from logreg.report.page.charts import chart
from tests.report.page.test_render import HOSTILE

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
