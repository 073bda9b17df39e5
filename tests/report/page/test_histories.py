"""Curves of ``metrics.csv``, and long ones shortened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from logreg.report.page.histories import read_curves, shortened


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
