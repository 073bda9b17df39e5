"""The figure of a path, of coefficients that are not all finite."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from logreg.records.comparison import Setting
from logreg.records.jobs import Job
from logreg.records.record import RunRecord
from logreg.records.selection import PenaltyChoice
from logreg.report.figures.path import path_figure


def test_infinite_coefficients_are_gaps(tmp_path: Path) -> None:
    settings = []
    for number, (penalty, coefficient) in enumerate([("0.1", "inf"), ("1", "2.0")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows = ["feature,level,coefficient,coefficient_standardised", "(intercept),,0.0,0.0", "a,,1.0,1.0"]
        (folder / "coefficients.csv").write_text("\n".join([*rows, f"seen,,{coefficient},{coefficient}"]))
        job = Job(number, folder, RunRecord())
        settings.append(Setting({"penalty.l2": penalty}, [job], 0, 0.5, 0.1, 0.4, 0.6, 1, None))
    one = {"penalty.l2": "1"}
    figure = path_figure(settings, PenaltyChoice("best", "val/loss", one, 0.5, 0.1, one, 0.5, 0.1))
    assert figure is not None
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    np.testing.assert_equal(lines["seen"], [np.nan, 2.0])
    np.testing.assert_equal(lines["a"], [1.0, 1.0])
    figure.savefig(tmp_path / "path.png")
