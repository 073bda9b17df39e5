"""From values to one HTML file: everything that comes from users is escaped, and nothing is fetched.

Jinja2 escapes whatever a template prints. Data for scripts are in islands, whose ``<`` is written ``\\u003c``, so that
no text ends them. The page forbids itself the network, and any script but its own, whose digest it names.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from logreg.core.files import replacing
from logreg.report.page.tables import island, shown_number

TEMPLATES = Path(__file__).parent / "templates"
ENVIRONMENT = Environment(
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    loader=FileSystemLoader(TEMPLATES),
)
ENVIRONMENT.filters.update({"number": shown_number, "island": island, "thousands": "{:,}".format})
MOST_BYTES = 3_000_000
PICTURE = re.compile(rb'<img class="plate"[^>]*>|<svg [^>]*class="chart".*?</svg>', re.DOTALL)
NO_ROOM = b'<p class="note">This picture is left out, as the page would be too large to send.</p>'


def render(template: str, values: Mapping[str, object]) -> str:
    """The HTML of a page.

    Args:
        template: the name of a file in `TEMPLATES`.
        values: what it prints; texts are escaped, `Markup` is not.
    """
    script, style = ((TEMPLATES / f"page.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    shared = {"script": Markup(script), "style": Markup(style), "policy": policy}
    return ENVIRONMENT.get_template(template).render(shared | dict(values))


def write_page(html: str, output: Path) -> None:
    """Write a page, which appears under its name when it is complete; the largest pictures it has no room for go.

    Raises:
        UserError: it cannot be written.
    """
    page = html.encode("utf-8", errors="replace")  # a lone surrogate, of a file name, has no UTF-8
    for picture in sorted(set(PICTURE.findall(page)), key=len, reverse=True) if len(page) >= MOST_BYTES else ():
        page = page.replace(picture, NO_ROOM) if len(page) >= MOST_BYTES else page
    with replacing(output) as part:
        part.write_bytes(page)
