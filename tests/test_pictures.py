"""The figures of the documents stand in both languages, and each of their words has a translation."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.font_manager import findSystemFonts, fontManager
from matplotlib.text import Text
from pictures import FONT, MOST, PICTURES, SERIES, STYLES, figures, korean, series, translated

from logreg.core.errors import UserError
from tests.commands import ROOT

KOREAN = ROOT / "docs" / "ko" / "images"


def test_every_picture_of_the_script_stands_in_both_languages_and_no_other_in_korean() -> None:
    english = {path.stem for path in (ROOT / "docs").rglob("*.png") if path.parent != KOREAN}
    assert {path.stem for path in KOREAN.glob("*.png")} == set(PICTURES) <= english
    assert all(path.stat().st_size < MOST for path in KOREAN.glob("*.png"))


@pytest.mark.slow
def test_the_words_of_the_toys_run_are_translated(tmp_path: Path) -> None:
    drawings, translate = figures("", tmp_path), korean()
    figure = drawings["decision_boundary"]
    assert translated(figure, str).size == (600, 450)
    english = {text.get_text() for text in figure.findobj(Text)}
    assert {"toy, all rows", "probability of label 1", "label 0", "x1", "2.5"} <= english
    expected = {translate(text) for text in english}
    assert {"toy, 전체 데이터", "레이블 1일 확률", "레이블 0", "x1", "2.5"} <= expected
    fonts = [file for file in findSystemFonts() if Path(file).stem == FONT]
    if not fonts:
        pytest.skip(f"{FONT} is not installed, with which the Korean figures are drawn")
    fontManager.addfont(fonts[0])
    with mpl.rc_context(STYLES["ko/images"]), warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph")  # that the fonts lack
        assert translated(figure, translate).size == (600, 450)
        assert series(drawings[SERIES], translate).size == (800, 600)
    assert {text.get_text() for text in figure.findobj(Text)} == expected


def test_numbers_and_formulas_stay_and_a_word_without_a_translation_is_an_error() -> None:
    translate = korean()
    numbers = ("", "\u22122.5", "1,000", "1e\u22125", r"$\mathdefault{10^{-3}}$")
    kept = (*numbers, "x1", "p = 1 / (1 + exp(-z))", "penalty.l2=0.01")
    assert [translate(text) for text in kept] == list(kept)
    assert translate("stuck: 1,553") == "멈춤: 1,553개"
    assert translate("after 10 updates") == "10번 갱신 후"
    assert translate("mse: -1.2 to 0.01") == "mse: -1.2에서 0.01 사이"
    with pytest.raises(UserError, match=r"has 'a word and \{\}'"):
        translate("a word and 3")
