"""matplotlib figures as part of a page: inline SVG that takes the page's colours, or PNG where SVG would be large."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from logreg.records.record import LESSON, LESSON_FIGURES
from logreg.report.figures.theme import INK, MUTED, PAPER, RULE, png_of, svg_of
from logreg.report.page.tables import bounded

# In SVG the colours of the light page become the page's own, which a dark page has others for.
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", PAPER: "var(--paper)"}
NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # characters that no document may have
LARGEST_SVG = 400_000  # bytes
LARGEST_PNG = 400_000  # bytes, before base64
MOST_SHAPES = 600
MOST_LINES, LONGEST_LINE, MOST_FIGURES = 300, 1_000, 12  # of a lesson
PNG_DPI = 130  # sharp on screens of twice the pixels


@dataclass(frozen=True)
class Chart:
    """A picture with its caption.

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


def chart(figure: Figure, name: str, title: str, caption: str = "", is_wide: bool = False) -> Chart:
    """A figure as part of a page; call it inside `page_colors`.

    Args:
        name: unique on the page; the ids inside the picture begin with it.
    """
    shapes = 0
    for axes in figure.axes:
        cells = [mesh.get_array().size for mesh in axes.collections if isinstance(mesh, QuadMesh)]  # type: ignore[union-attr]
        shapes += sum(cells) + len(axes.patches) + len(axes.texts)
    if shapes > MOST_SHAPES or len(svg := inline_svg(figure, name, title)) > LARGEST_SVG:
        return replace(photograph(figure, title, is_wide), caption=caption)
    return Chart(title, svg, caption, is_wide)


def photograph(figure: Figure, title: str, is_wide: bool = False) -> Chart:
    """A figure of pixels, such as photos and shades, as a chart of a page; on white."""
    return Chart(title, image(png_of(figure, dpi=PNG_DPI, facecolor="white"), title), is_wide=is_wide)


def image(png: bytes, title: str) -> Markup:
    """The bytes of a PNG file as an ``<img>``; of a large one with fewer colours, and pixels."""
    png = shrunk(png) if len(png) > LARGEST_PNG else png
    content = base64.b64encode(png).decode()
    return Markup('<img class="plate" alt="{}" src="data:image/png;base64,{}">').format(title, content)


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


def inline_svg(figure: Figure, name: str, title: str) -> Markup:
    """A figure as an ``<svg>`` element that can stand in HTML beside others."""
    root = ET.fromstring(NOT_XML.sub("\ufffd", svg_of(figure)))
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
        return re.sub("|".join(VARIABLES), lambda match: VARIABLES[match.group()], value)
    return value


def lesson_of(directory: Path) -> dict[str, object] | None:
    """The ``text`` of a lesson, as it was printed, and its ``figures``; None where there is no lesson."""
    try:
        content = json.loads((directory / LESSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    lines = content.get("conclusion") if isinstance(content, dict) else None
    if not isinstance(lines, list):
        return None
    paths = sorted((directory / "figures").glob(f"{LESSON_FIGURES}*.png"))[:MOST_FIGURES]
    titles = [path.stem.removeprefix(LESSON_FIGURES).replace("_", " ") for path in paths]
    figures = [image_file(path, title[:1].upper() + title[1:]) for path, title in zip(paths, titles, strict=True)]
    text = "\n".join(bounded(str(line), LONGEST_LINE) for line in lines[:MOST_LINES])
    return {"text": text, "figures": list(filter(None, figures))}
