"""From values to one HTML file: data islands, pictures that fit, a file that is whole."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from logreg.report.page.charts import image_file
from logreg.report.page.render import MOST_BYTES, write_page
from logreg.report.page.tables import island

HOSTILE = ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$x_1$", "a & b", "\u2028", "'"]


@given(st.recursive(st.none() | st.integers() | st.text() | st.sampled_from(HOSTILE), st.lists, max_leaves=8))
def test_an_island_ends_where_it_ends_and_says_what_was_put_in(value: Any) -> None:
    texts: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            texts.append(data)

    reader = Reader()
    reader.feed(f'<script type="application/json">{island(value)}</script>')
    reader.close()
    assert json.loads("".join(texts)) == value
    assert not set("<>&\u2028\u2029") & set(str(island(value)))


def test_large_pictures_are_shrunk_and_those_without_room_left_out(tmp_path: Path) -> None:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (1_000, 1_000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    shrunk = image_file(tmp_path / "noise.png", "noise")
    assert shrunk is not None
    assert len(shrunk.picture) < 600_000 < (tmp_path / "noise.png").stat().st_size
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 3_000_000)
    broken = image_file(tmp_path / "broken.png", "<broken>")
    assert broken is not None
    write_page(f"<p>{shrunk.picture}{broken.picture}</p>", tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert len(html) < MOST_BYTES
    assert shrunk.picture in html
    assert "This picture is left out" in html
    assert html.count("<img") == 1


def test_a_page_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    output.write_text("old")
    write_page("new \ud800", output)  # a lone surrogate, of a file name that is no UTF-8
    assert output.read_text() == "new ?"
    assert list(tmp_path.iterdir()) == [output]
