"""What a lesson showed, as a section of the page of its run or sweep."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from logreg.records.record import LESSON, LESSON_FIGURES
from logreg.report.page.charts import Chart, image_file
from logreg.report.page.tables import bounded

MOST_LINES, LONGEST_LINE, MOST_FIGURES = 300, 1_000, 12


@dataclass(frozen=True)
class LessonSection:
    """The conclusion of a lesson, as its lines were printed, and its figures."""

    text: str
    figures: list[Chart]


def lesson_of(directory: Path) -> LessonSection | None:
    """What ``lesson.json`` says; None where there is none, or it is no lesson's."""
    try:
        content = json.loads((directory / LESSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    lines = content.get("conclusion") if isinstance(content, dict) else None
    if not isinstance(lines, list):
        return None
    text = "\n".join(bounded(str(line), LONGEST_LINE) for line in lines[:MOST_LINES])
    paths = sorted((directory / "figures").glob(f"{LESSON_FIGURES}*.png"))[:MOST_FIGURES]
    titles = [path.stem.removeprefix(LESSON_FIGURES).replace("_", " ") for path in paths]
    figures = [image_file(path, title[:1].upper() + title[1:]) for path, title in zip(paths, titles, strict=True)]
    return LessonSection(text, [each for each in figures if each is not None])
