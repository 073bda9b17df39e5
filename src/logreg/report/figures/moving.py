"""A small figure of probabilities over the plane that is drawn many times over."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from logreg.report.figures.classifier import plane
from logreg.report.figures.theme import DPI, LABELS

STEPS = 80  # of the grid along each axis
SHADES = 20
PALETTE = 128  # colours of a file, which are a third of its size otherwise
MANY = 100  # points, from where on they are drawn smaller


class MovingBoundary:
    """The points, the shades of the probabilities, and the line where these reach the threshold.

    Attributes:
        grid: the points of the plane to give probabilities of, (`STEPS` * `STEPS`, 2).
    """

    def __init__(
        self,
        x: Float[np.ndarray, "rows 2"],
        y: Float[np.ndarray, " rows"],
        names: list[str],
        threshold: float,
        size: tuple[int, int],  # in pixels
        translate: Callable[[str], str] = str,
    ) -> None:
        width, height = size
        self._axes_of = plane(x, STEPS)
        self.grid = np.stack([part.ravel() for part in np.meshgrid(*self._axes_of)], axis=1)
        self._threshold = threshold
        self._figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        self._canvas = FigureCanvasAgg(self._figure)  # whose pixels are copied, where other figures are saved
        self._axes = self._figure.subplots()
        self._figure.subplots_adjust(left=0.16, right=0.97, bottom=0.17, top=0.89)
        self._axes.set_xlabel(names[0], parse_math=False)
        self._axes.set_ylabel(names[1], parse_math=False)
        first, second = ((part[0], part[-1], (part[1] - part[0]) / 2) for part in self._axes_of)
        (left, right), (bottom, top) = ((low - half, high + half) for low, high, half in (first, second))
        style: dict[str, Any] = {"cmap": "RdBu", "vmin": 0, "vmax": 1, "alpha": 0.6, "origin": "lower"}
        style |= {"extent": (left, right, bottom, top), "aspect": "auto"}
        self._shades = self._axes.imshow(np.zeros((STEPS, STEPS)), **style)
        area = 40 if len(y) <= MANY else 12
        self._points = []
        for label, color in enumerate(LABELS):
            style = {"color": color, "edgecolor": "white", "s": area, "label": translate(f"label {label}")}
            self._points.append(self._axes.scatter(x[y == label, 0], x[y == label, 1], **style))
        self._axes.legend(
            loc="lower right", bbox_to_anchor=(1.02, 0.98), ncols=2, frameon=False, fontsize=8, handletextpad=0.1
        )
        self._title = self._axes.set_title("", fontsize=10, loc="left", parse_math=False)
        self._axes.set(xlim=(left, right), ylim=(bottom, top))
        for artist in (self._shades, *self._points, self._title):
            artist.set_animated(True)
        self._canvas.draw()  # what stays, which takes longer than what is animated
        self._background = self._canvas.copy_from_bbox(self._figure.bbox)

    def png(self, p: Float[np.ndarray, "steps steps"], title: str) -> bytes:
        """The picture of some probabilities on the grid, as a PNG file."""
        self._canvas.restore_region(self._background)
        self._shades.set_data((np.floor(p * SHADES).clip(0, SHADES - 1) + 0.5) / SHADES)
        self._axes.draw_artist(self._shades)
        if p.min() < self._threshold < p.max():
            line = self._axes.contour(*self._axes_of, p, levels=[self._threshold], colors="black")
            self._axes.draw_artist(line)
            line.remove()
        self._title.set_text(title)
        for artist in (*self._points, *self._axes.spines.values(), self._title):
            self._axes.draw_artist(artist)
        picture = Image.fromarray(np.asarray(self._canvas.buffer_rgba())[..., :3])
        file = io.BytesIO()
        picture.quantize(PALETTE, Image.Quantize.FASTOCTREE).save(file, "png")
        return file.getvalue()
