"""Reading a page as a reader without scripts does, with the standard library's parser."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "br", "img", "path", "use"}


class Page(HTMLParser):
    """What is on a page.

    Attributes:
        tags: every element with its attributes, in order.
        text: what is read, without styles, scripts and data.
        tables: by the id of their box, or their class: rows of cells, the header first.
        islands: the data of each paged table, by the id of its box.
        values: the numbers in full that stand behind shown ones, by metric.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.islands: dict[str, Any] = {}
        self.scripts: list[str] = []
        self._stack: list[str] = []
        self._box, self._table = "", ""
        self._island = False
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag not in VOID:
            self._stack.append(tag)
        classes = str(values.get("class", ""))
        if "paged" in classes.split():
            self._box = str(values["id"])
        if tag == "table":
            self._table = classes if classes else self._box
            self.tables[self._table] = []
        if tag == "tr":
            self.tables[self._table].append([])
        if tag in ("td", "th"):
            self.tables[self._table][-1].append("")
        self._island = tag == "script" and values.get("type") == "application/json"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._stack:
            while self._stack.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._stack and self._stack[-1] == "script":
            if self._island:
                self.islands[self._box] = json.loads(data)
            else:
                self.scripts.append(data)
        elif not (self._stack and self._stack[-1] == "style"):
            self.texts.append(data)
            if "td" in self._stack or "th" in self._stack:
                self.tables[self._table][-1][-1] += f" {data.strip()}" if data.strip() else ""

    def cells(self, name: str) -> list[list[str]]:
        return [[cell.strip() for cell in row] for row in self.tables[name]]
