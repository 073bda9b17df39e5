"""The parts that pages are made of: numbers, tables, data islands, shortened curves."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logreg.report.figures.theme import new_chart, page_colors
from logreg.report.page.charts import chart, image_file
from logreg.report.page.histories import read_curves, shortened
from logreg.report.page.numbers import decimals_of, shown_number
from logreg.report.page.render import MOST_BYTES, TEMPLATES, island, write_page
from logreg.report.page.tables import PagedTable, numbers, settings, texts

HOSTILE = ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$x_1$", "a & b", "\u2028", "'"]


@given(st.recursive(st.none() | st.integers() | st.text() | st.sampled_from(HOSTILE), st.lists, max_leaves=8))
def test_an_island_ends_where_it_ends_and_says_what_was_put_in(value: Any) -> None:
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.append(data)

    reader = Reader()
    reader.feed(f'<script type="application/json">{island(value)}</script>')
    reader.close()
    assert json.loads("".join(found)) == value
    assert not set("<>&\u2028\u2029") & set(str(island(value)))


@given(st.floats(-1e300, 1e300), st.integers(0, 6))
def test_a_shown_number_is_the_number(value: float, decimals: int) -> None:
    shown = shown_number(value, decimals)
    error = abs(float(shown) - value)
    assert error <= 0.5000001 * 10.0**-decimals or error <= 0.0050001 * abs(value)


def test_a_column_has_the_decimals_that_its_middle_number_needs() -> None:
    assert decimals_of([1, 2, None, 300]) == 0
    assert decimals_of([0.9649, 0.95, 1.0]) == 4
    assert decimals_of([0.0482917, 0.05, math.inf]) == 5
    assert [shown_number(v, 4) for v in (0.25, None, math.inf, -math.inf, 3.38e-13, 2e30)] == [
        "0.2500", "–", "∞", "-∞", "3.38e-13", "2.00e30",  # noqa: RUF001
    ]  # fmt: skip


# Numbers that lie in the middle of two that could be shown, as accuracies on 32 rows do.
HALVES = [(29 / 32, 4), (1 / 32, 4), (2.5, 0), (0.5, 0), (1.5, 0), (0.125, 2), (0.0, 3), (12_500_000.0, 0), (0.0, 0)]


def test_ties_are_rounded_away_from_zero() -> None:
    assert [shown_number(value, d) for value, d in HALVES[:4]] == ["0.9063", "0.0313", "3", "1"]


def test_the_script_formats_numbers_as_python_does(tmp_path: Path) -> None:
    """A row looks the same before and after it was sorted."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed; the browser test compares whole tables")
    random = np.random.default_rng(0)
    cases = [(float(v), int(d)) for v, d in zip(random.normal(size=200) * 10.0 ** random.integers(-9, 9, 200),
                                                random.integers(0, 7, 200), strict=True)]  # fmt: skip
    cases += [(sign * value, d) for value, d in HALVES for sign in (1, -1)]
    code = (TEMPLATES / "page.js").read_text()
    function = code[code.index("const NOTHING") : code.index("function reader")]
    script = f"{function}\nfor (const [v, d] of {json.dumps(cases)}) console.log(shownNumber(v, d));"
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == [shown_number(v, d) for v, d in cases]


def test_a_table_has_its_first_rows_as_text_and_all_of_them_as_data() -> None:
    count = 1234
    scores = [i / 7 for i in range(count)]
    rates = ["0.1", "1"] * (count // 2)
    table = PagedTable("t", [numbers("score", scores), settings("lr", rates), texts("s", ["x"] * count)])
    assert table.count == count
    assert len(table.first()) == 50
    data = table.as_data()
    assert data["columns"][0]["values"] == pytest.approx(scores, rel=1e-6)
    assert data["columns"][1]["kind"] == "digits"
    assert [data["columns"][1]["texts"][i] for i in data["columns"][1]["codes"]] == ["0.1", "1"] * (count // 2)


@given(st.integers(0, 5000), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_a_shortened_curve_has_the_extremes_of_the_long_one(count: int, stretches: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = np.sort(random.integers(0, 10_000, count)).astype(float)
    y = random.standard_cauchy(count)
    short_x, short_y = shortened((x, y), stretches)
    assert len(short_x) <= 2 * stretches + 2
    assert (np.diff(short_x) >= 0).all()
    assert set(zip(short_x, short_y, strict=True)) <= set(zip(x, y, strict=True))
    if count:
        assert (short_y.min(), short_y.max()) == (y.min(), y.max())
        assert (short_x[0], short_x[-1]) == (x[0], x[-1])


def test_curves_are_read_with_their_gaps_and_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,val/loss\n,0,,0.7\n0,0,0.6,\n0,10,nan,\n,20,,0.5\n1,20,0.")
    curves = read_curves(path)
    assert set(curves) == {"train/loss", "val/loss"}
    np.testing.assert_array_equal(curves["val/loss"], ([0, 20], [0.7, 0.5]))
    np.testing.assert_array_equal(curves["train/loss"], ([0, 10], [0.6, np.nan]))
    assert read_curves(tmp_path / "none.csv") == {}
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00,step")
    assert read_curves(tmp_path / "binary.csv") == {}


LABELS = [*HOSTILE, r"$\frac{$", r"\$ and $", "日本", "\x07 bell", "no \uffff character", "<b>", 'id="x"']


@pytest.mark.parametrize("text", LABELS)
def test_any_text_can_be_a_label_of_a_chart(text: str) -> None:
    with page_colors():
        figure, axes = new_chart()
        axes.set_xlabel(text)
        axes.plot([0, 1], [0, 1], label=f"{text}!")
        axes.legend()
        found = chart(figure, "c", text).picture
    read: list[str] = []
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            read.append(data)

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            tags.append(tag)

    reader = Reader()
    reader.feed(str(found))
    reader.close()
    assert text.replace("\x07", "\ufffd").replace("\uffff", "\ufffd") in "".join(read)
    assert not {"script", "img", "b"} & set(tags)


def test_large_pictures_are_shrunk_and_those_without_room_left_out(tmp_path: Path) -> None:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (1_000, 1_000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    found = image_file(tmp_path / "noise.png", "noise")
    assert found is not None
    assert len(found.picture) < 600_000 < (tmp_path / "noise.png").stat().st_size
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 3_000_000)
    broken = image_file(tmp_path / "broken.png", "<broken>")
    assert broken is not None
    write_page(f"<p>{found.picture}{broken.picture}</p>", tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert len(html) < MOST_BYTES
    assert found.picture in html
    assert "This picture is left out" in html
    assert html.count("<img") == 1


def test_a_page_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    output.write_text("old")
    write_page("new \ud800", output)  # a lone surrogate, of a file name that is no UTF-8
    assert output.read_text() == "new ?"
    assert list(tmp_path.iterdir()) == [output]
