"""Make the figures of the documents again, in English and in Korean.

    python scripts/pictures.py churn.csv              all of them, into docs/images and docs/ko/images
    python scripts/pictures.py churn.csv --only path  … or some, by name

Each is what a command of the documents draws; the Korean one is the same with the words of docs/ko/labels.yaml.
Pictures of TensorBoard and of the pages to send are in English for everyone, and are no part of this.
"""

from __future__ import annotations

import argparse
import io
import logging
import re
import shlex
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import yaml  # type: ignore[import-untyped]
from matplotlib.figure import Figure
from matplotlib.font_manager import findSystemFonts, fontManager
from matplotlib.text import Text
from PIL import Image

from logreg.cli.assemble import RunParts, assemble, make_data, make_lesson, make_sweep_lesson
from logreg.cli.configuration import compose, parse, plain
from logreg.core.errors import UserError
from logreg.records.comparison import compare
from logreg.records.jobs import read_jobs
from logreg.records.record import read_settings, splits_of
from logreg.records.selection import read_choice
from logreg.report.figures.boundary import BoundarySeries, pictures
from logreg.report.figures.path import path_figure
from logreg.report.figures.theme import png_of
from logreg.report.run import draw
from logreg.training.loop import train

ROOT = Path(__file__).parents[1]
FONT = "NanumGothic"
STYLES: dict[str, dict[str, Any]] = {  # by folder; its font has no minus sign, and its own hints are for upright text
    "images": {},
    "ko/images": {"font.family": ["DejaVu Sans", FONT], "text.hinting": "force_autohint"},
}
NUMBER = re.compile(r"(?<![\w.])[-\u2212]?\d+(?:[.,]\d+)*(?:e[-+\u2212]?\d+)?")
FORMULA = re.compile(r"\$.*?\$")
TABLE = "a figure of the documents needs a table"
SERIES, SHOWN = "series", (0, 10, 50, 200)  # updates
PALETTES = ((128, Image.Quantize.MEDIANCUT), (96, Image.Quantize.MAXCOVERAGE))  # the second makes smaller files
MOST = 130_000  # bytes of a file
CHURN = "data=table data.path={churn} data.target=churn 'data.split={{train:0.6,val:0.2,test:0.2}}' calibration=sigmoid"
PICTURES = {  # the command, and the name that it has for the figure
    "decision_boundary": ("", "decision_boundary"),
    "decision_boundary_threshold": ("experiment=notebook/hand_written threshold=0.9", "decision_boundary"),
    "boundary_series": ("experiment=notebook/sequential", SERIES),
    "reliability": (CHURN, "reliability"),
    "path": ("experiment=path data=breast_cancer path.rule=one_standard_error", "path"),
    "lesson_sigmoid": ("experiment=lessons/sigmoid", "sigmoid"),
    "lesson_costs": ("experiment=lessons/sigmoid", "costs"),
    "lesson_gradients_accumulate": ("experiment=lessons/gradients_accumulate", "costs"),
    "lesson_weights_without_bound": ("experiment=lessons/weights_without_bound", "weights"),
    "lesson_three_forms": ("experiment=lessons/three_forms", "three_forms"),
    "lesson_cost_surface": ("experiment=lessons/squared_error_or_log_loss", "cost_surface"),
    "lesson_curvature": ("experiment=lessons/squared_error_or_log_loss", "curvature"),
    "lesson_learning_rate": ("experiment=lessons/learning_rate", "heat_map"),
    "lesson_learning_rate_curves": ("experiment=lessons/learning_rate", "curves"),
}
Translate = Callable[[str], str]


def korean() -> Translate:
    """What translates the words of figures into Korean; numbers and matplotlib's formulas stay as they are."""
    content = yaml.safe_load((ROOT / "docs" / "ko" / "labels.yaml").read_text(encoding="utf-8"))
    of: dict[str, str] = {name: name for name in content["names"]} | content["labels"]

    def translate(text: str) -> str:
        pattern = NUMBER.sub("{}", FORMULA.sub("", text))
        if text in of or not re.search(r"[^\W\d_]", pattern):
            return of.get(text, text)
        if pattern not in of:
            raise UserError(f"docs/ko/labels.yaml: a figure has {pattern!r}; add it to labels or, as it is, to names.")
        return of[pattern].format(*NUMBER.findall(text))

    return translate


def figures(command: str, directory: Path) -> Mapping[str, Figure | RunParts]:
    """What ``python train.py`` with these arguments draws, by name; the parts of a run for its `series`."""
    overrides = shlex.split(command)
    config = plain(compose("train", overrides))
    if "path" in config or config["sweep"]["lesson"] is not None:
        arguments = [sys.executable, "train.py", *overrides, f"hydra.sweep.dir={directory}"]
        subprocess.run(arguments, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        jobs, choice = read_jobs(directory), read_choice(directory)
        settings = read_settings(jobs[0].directory)
        if (of_sweep := make_sweep_lesson(settings.sweep.lesson)) is not None:
            return of_sweep.teach(make_data(settings).needs_blocks(TABLE), jobs).figures
        figure = None if choice is None else path_figure(compare(jobs)[choice.metric], choice)
        return {} if figure is None else {"path": figure}
    settings = parse(config)
    parts = assemble(settings, directory)
    record = train(parts.data, parts.classifier, parts.trainer, calibration=settings.calibration)
    table, lesson = parts.data.needs_blocks(TABLE), make_lesson(settings.lesson)
    if lesson is not None:
        return lesson.teach(table, parts.classifier).figures
    drawings = draw(parts.classifier, table, splits_of(record.metrics))
    return {SERIES: parts, **{name: drawing.figure for name, drawing in drawings.items()}}


def translated(figure: Figure, translate: Translate) -> Image.Image:
    """A figure with its words translated, but for those at ticks, which are names."""
    figure.draw_without_rendering()  # which makes the texts at ticks
    for text in figure.findobj(Text):
        text.set_text(translate(text.get_text()))
        text.set_fontfamily(mpl.rcParams["font.family"])
    return Image.open(io.BytesIO(png_of(figure))).convert("RGB")


def series(parts: RunParts, translate: Translate) -> Image.Image:
    """Four pictures of the boundary on its way."""
    callback = next(each for each in parts.trainer.callbacks if isinstance(each, BoundarySeries))  # type: ignore[attr-defined]
    states = {update: callback.states[update] for update in SHOWN}
    network, threshold = parts.classifier.network, parts.classifier.threshold
    pngs = pictures(network, states, parts.data.needs_blocks(TABLE), threshold, translate)
    first, second, third, fourth = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for _, png in pngs)
    return Image.fromarray(np.vstack([np.hstack([first, second]), np.hstack([third, fourth])]))


def save(drawing: Figure | RunParts, translate: Translate, file: Path) -> None:
    image = translated(drawing, translate) if isinstance(drawing, Figure) else series(drawing, translate)
    file.parent.mkdir(parents=True, exist_ok=True)
    for colors, method in PALETTES:
        image.quantize(colors, method, dither=Image.Dither.NONE).save(file, optimize=True)
        if file.stat().st_size < MOST:
            break
    print(f"{file} ({file.stat().st_size / 1e3:.0f} kB)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("churn", type=Path, help="the table of the README, for the reliability diagram")
    parser.add_argument("--only", nargs="+", default=list(PICTURES), choices=PICTURES, metavar="NAME")
    parser.add_argument("--into", type=Path, default=ROOT / "docs", help="the folder of images/ and ko/images/")
    given = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("error", message="Glyph")  # that a font lacks
    fonts = [file for file in findSystemFonts() if Path(file).stem == FONT]  # matplotlib's own list may be older
    if not fonts:
        sys.exit(f"error: no Korean font: {FONT} is needed (Debian: apt-get install fonts-nanum).")
    fontManager.addfont(fonts[0])
    languages: dict[str, Translate] = {"images": str, "ko/images": korean()}
    try:
        for command in dict.fromkeys(PICTURES[name][0] for name in given.only):
            with tempfile.TemporaryDirectory() as folder:
                drawings = figures(command.format(churn=given.churn), Path(folder) / "made")
            for name in (name for name in given.only if PICTURES[name][0] == command):
                for place, translate in languages.items():
                    with mpl.rc_context(STYLES[place]):  # type: ignore[arg-type]
                        save(drawings[PICTURES[name][1]], translate, given.into / place / f"{name}.png")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
