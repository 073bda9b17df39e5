"""The look that the figures of the lessons share."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#4c72b0", "#de8f05", "#029e73", "#c44e52", "0.55"


def panels(count: int, title: str, width: float = 4.6, height: float = 3.8, **settings: Any) -> tuple[Figure, Any]:
    """A figure with so many axes side by side, (count,)."""
    figure = Figure(figsize=(width * count, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    return figure, figure.subplots(1, count, squeeze=False, **settings)[0]
