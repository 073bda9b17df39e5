"""How every figure looks: one palette, one way to make a figure, and one to turn it into PNG or SVG.

A figure is drawn for a file of its own, with its title and legend inside, or for a page, which says these in words
beside it. Figures belong to no window and need no pyplot, which would keep each of them.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

# The blue and the red of seaborn's "deep" palette, else its colour-blind one.
BLUE, ORANGE, GREEN, RED = "#4c72b0", "#de8f05", "#029e73", "#c44e52"
VERMILION, PURPLE, BROWN, SKY, GREY = "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494"
CATEGORIES = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, BROWN, SKY, GREY)
LABELS = (RED, BLUE)  # label 0, label 1
OF_SPLIT = {"train": GREY, "val": BLUE, "test": ORANGE}
OF_RANK = (RED, BLUE, GREEN, ORANGE, PURPLE)  # the best first
# The colours of the light page. In SVG they become the page's own, which a dark page has others for.
INK, MUTED, RULE, PAPER = "#1c2733", "#5b6776", "#d5dbe3", "#fefefe"
SMALL, HALF, WIDE = (4.5, 3.1), (6.2, 4.3), (9.4, 4.0)  # inches, of charts of a page
DPI = 100
RC: dict[str, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "logreg", "font.size": 9.0, "axes.titlesize": 9.5, "figure.titlesize": 9.5,
    "text.color": INK, "axes.labelcolor": MUTED, "axes.titlecolor": INK, "xtick.color": RULE, "ytick.color": RULE,
    "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "axes.edgecolor": RULE, "grid.color": RULE,
    "grid.linewidth": 0.5, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False,
    "legend.fontsize": 8.5, "lines.linewidth": 1.5, "axes.unicode_minus": False,
}  # fmt: skip


class Look(Enum):
    """Where a figure is shown."""

    FILE = "file"
    PAGE = "page"


@dataclass(frozen=True)
class Drawing:
    """A figure and what a page says beside it.

    Attributes:
        title: above it.
        sentences: below it: what the title and the legend say where the figure is in a file of its own.
    """

    figure: Figure
    title: str = ""
    sentences: Sequence[str] = ()


@contextlib.contextmanager
def page_colors(parse_math: bool = False) -> Iterator[None]:
    """Draw in the colours of the page, and text as it is: a ``$`` in a name begins no formula."""
    with mpl.rc_context(RC | {"text.parse_math": parse_math}), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.simplefilter("ignore")  # of glyphs that the drawing font lacks; the reader's browser has its own fonts
        yield


def new_figure(size: tuple[float, float]) -> Figure:
    """An empty figure of this size in inches, whose parts find their places themselves."""
    return Figure(figsize=size, layout="constrained")


def new_chart(size: tuple[float, float] = SMALL) -> tuple[Figure, Axes]:
    """An empty chart of a page."""
    figure = new_figure(size)
    axes = figure.subplots()
    axes.grid(True)
    return figure, axes


def panels(
    count: int, title: str, width: float = 4.6, height: float = 3.8, **settings: Any
) -> tuple[Figure, Sequence[Axes]]:
    """A figure with ``count`` axes side by side, each of this size in inches."""
    figure = new_figure((width * count, height))
    figure.suptitle(title)
    return figure, figure.subplots(1, count, squeeze=False, **settings)[0]


def outer_fence(losses: np.ndarray) -> float:
    """Beyond it values are far worse than the others (Tukey, 1977, Exploratory Data Analysis, chapter 2)."""
    low, high = np.quantile(losses, [0.25, 0.75])
    return float(high + 3 * (high - low) if high > low else losses.max())


def logarithmic(axis: Axis) -> None:
    """A logarithmic axis with plain numbers."""
    axes = axis.axes
    axes.set_yscale("log") if axis is axes.yaxis else axes.set_xscale("log")
    low, high = axis.get_view_interval()
    few = high < 300 * max(low, 1e-300)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=8))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def png_of(figure: Figure, dpi: int = DPI, **settings: Any) -> bytes:
    """A figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, **settings)
    return buffer.getvalue()


def svg_of(figure: Figure) -> str:
    """A figure as the content of an SVG file, the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue().decode()


def save_png(figure: Figure, path: Path) -> bytes:
    """Save a figure as a PNG file; returns its content."""
    png = png_of(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png)
    return png
