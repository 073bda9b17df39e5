"""matplotlib figures as part of a page: inline SVG that takes the page's colours, or PNG where SVG would be large."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

# The colours of the light page. In SVG they become the page's own, which a dark page has others for.
INK, MUTED, RULE, PAPER = "#1c2733", "#5b6776", "#d5dbe3", "#fefefe"
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", PAPER: "var(--paper)"}
BLUE, ORANGE, GREY = "#2f6fb7", "#d9822b", "#8b96a5"
BEST = ("#d1495b", "#2f6fb7", "#2a9d6f", "#d9822b", "#8a63b8")
SMALL, HALF, WIDE = (4.5, 3.1), (6.2, 4.3), (9.4, 4.0)  # inches
NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # characters that no document may have
LARGEST_SVG = 400_000  # bytes
LARGEST_PNG = 400_000  # bytes, before base64
MOST_SHAPES = 600
RC: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "logreg", "font.size": 9.0, "axes.titlesize": 9.5, "figure.titlesize": 9.5,
    "text.color": INK, "axes.labelcolor": MUTED, "axes.titlecolor": INK, "xtick.color": RULE, "ytick.color": RULE,
    "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "axes.edgecolor": RULE, "grid.color": RULE,
    "grid.linewidth": 0.5, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False,
    "legend.fontsize": 8.5, "lines.linewidth": 1.5, "axes.unicode_minus": False,
}  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """A picture with what is said below it.

    Attributes:
        title: above it; also what a screen reader says.
        picture: an ``<svg>`` or ``<img>`` element.
        caption: one or two sentences, or nothing.
        is_wide: whether it takes the whole width of the page.
    """

    title: str
    picture: Markup
    caption: str = ""
    is_wide: bool = False


@contextlib.contextmanager
def theme(parse_math: bool = False) -> Iterator[None]:
    """Draw in the colours of the page, and text as it is: a ``$`` in a name begins no formula."""
    with mpl.rc_context(RC | {"text.parse_math": parse_math}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of glyphs that the drawing font lacks; the reader's browser has its own fonts
        yield


def new_figure(size: tuple[float, float] = SMALL) -> tuple[Figure, Any]:
    """An empty figure with one pair of axes."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.grid(True)
    return figure, axes


def chart(figure: Figure, name: str, title: str, caption: str = "", is_wide: bool = False) -> Chart:
    """A figure as part of a page; call it inside `theme`.

    Args:
        name: unique on the page; the ids inside the picture begin with it.
    """
    svg = None if _is_heavy(figure) else svg_of(figure, name, title)
    picture = png_of(figure, title) if svg is None or len(svg) > LARGEST_SVG else svg
    return Chart(title, picture, caption, is_wide)


def _is_heavy(figure: Figure) -> bool:
    """Whether there are so many shapes and texts that SVG would be large: hundreds of cells, as a rule."""
    shapes = 0
    for axes in figure.axes:
        cells = [mesh.get_array().size for mesh in axes.collections if isinstance(mesh, QuadMesh)]  # type: ignore[union-attr]
        shapes += sum(cells) + len(axes.patches) + len(axes.texts)
    return shapes > MOST_SHAPES


def png_of(figure: Figure, title: str) -> Markup:
    """A figure as an ``<img>``, on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white")
    return image(buffer.getvalue(), title)


def image(png: bytes, title: str) -> Markup:
    """The bytes of a PNG file as an ``<img>``; of a large one with fewer colours, and pixels."""
    png = shrunk(png) if len(png) > LARGEST_PNG else png
    return Markup('<img class="plate" alt="{}" src="data:image/png;base64,{}">').format(
        title, base64.b64encode(png).decode()
    )


def shrunk(png: bytes) -> bytes:
    """A picture of at most `LARGEST_PNG` bytes, made coarser until it is; as it came where it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(png)) as opened:
            picture = Image.alpha_composite(Image.new("RGBA", opened.size, "white"), opened.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return png
    flat, best = picture.convert("RGB"), png
    while len(best) > LARGEST_PNG and max(flat.size) > 100:
        buffer = io.BytesIO()
        flat.quantize(256, Image.Quantize.MEDIANCUT).save(buffer, "png", optimize=True)
        best = min(best, buffer.getvalue(), key=len)
        width, height = (max(1, round(0.8 * side)) for side in flat.size)
        flat = flat.resize((width, height), Image.Resampling.LANCZOS)
    return best


def image_file(path: Path, title: str) -> Chart | None:
    """A PNG file as a chart; None where it is none."""
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        if content.startswith(b"\x89PNG\r\n"):
            return Chart(title, image(content, title))
    return None


def svg_of(figure: Figure, name: str, title: str) -> Markup:
    """A figure as an ``<svg>`` element that can stand in HTML beside others."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ET.fromstring(NOT_XML.sub("\ufffd", buffer.getvalue().decode()))
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        for key, value in element.attrib.items():
            element.set(key, _attribute(key, value, name))
    box = root.get("viewBox", "")
    root.attrib = {"viewBox": box, "role": "img", "aria-label": title, "class": "chart"}
    return Markup(ET.tostring(root, encoding="unicode", short_empty_elements=True))


def _attribute(key: str, value: str, name: str) -> str:
    """An attribute with ids of its own, the page's colours and fonts, and no more digits than can be seen."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    if key == "clip-path":
        return value.replace("url(#", f"url(#{name}-")
    if key == "d":
        return re.sub(r"(\.\d\d)\d+", r"\1", value).replace("\n", " ")
    if key == "style":
        value = re.sub(r"font: (?:[^;]*?)([\d.]+)px[^;]*", r"font-size: \1px", value)
        value = value.replace("stroke: #000000", f"stroke: {INK}")
        return re.sub("|".join(VARIABLES), lambda found: VARIABLES[found.group()], value)
    return value
