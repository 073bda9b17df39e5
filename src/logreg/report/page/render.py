"""From values to one HTML file: everything that comes from users is escaped, and nothing is fetched.

Jinja2 escapes whatever a template prints. Data for scripts are in islands, whose ``<`` is written ``\\u003c``, so that
no text ends them. The page forbids itself the network, and any script but its own, whose digest it names.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from logreg.core.files import replacing
from logreg.report.page.numbers import shown_number, spoken_seconds

TEMPLATES = Path(__file__).parent / "templates"
MOST_BYTES = 3_000_000
PICTURE = re.compile(r'<img class="plate"[^>]*>|<svg [^>]*class="chart".*?</svg>', re.DOTALL)
NO_ROOM = '<p class="note">This picture is left out, as the page would be too large to send.</p>'
UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def render(template: str, values: Mapping[str, object]) -> str:
    """The HTML of a page.

    Args:
        template: the name of a file in `TEMPLATES`.
        values: what it prints; texts are escaped, `Markup` is not.
    """
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    shared = {"script": Markup(script), "style": Markup(style), "policy": _policy(script)}
    return _environment().get_template(template).render(shared | dict(values))


def island(value: object) -> Markup:
    """A value as JSON that can stand inside a ``<script type="application/json">`` element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(UNSAFE))


def write_page(html: str, output: Path) -> None:
    """Write a page, which appears under its name when it is complete; the largest pictures it has no room for go.

    Raises:
        UserError: it cannot be written.
    """
    with replacing(output) as part:
        # a lone surrogate, of a file name, has no UTF-8
        part.write_bytes(_fitted(html).encode("utf-8", errors="replace"))


def _fitted(html: str) -> str:
    """A page of fewer than `MOST_BYTES` bytes, as far as leaving out pictures, the largest first, makes it so."""
    over = len(html.encode("utf-8", errors="replace")) - MOST_BYTES + 1
    pictures = sorted(set(PICTURE.findall(html)), key=len, reverse=True) if over > 0 else []
    for picture in pictures:
        if over > 0:
            over -= html.count(picture) * (len(picture.encode("utf-8", errors="replace")) - len(NO_ROOM))
            html = html.replace(picture, NO_ROOM)
    return html


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": shown_number, "seconds": spoken_seconds, "island": island}
    environment.filters["thousands"] = lambda value: f"{value:,}"
    return environment
