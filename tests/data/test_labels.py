"""Labels in all their spellings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from logreg.core.errors import UserError
from logreg.data.labels import choose_labels, label_codes
from tests.data.tables.reading.sources import csv, people, same, table
from tests.data.tables.refusals import labelled, prepare, refusal


def test_a_target_has_two_values(tmp_path: Path) -> None:
    assert "there is only one value, 1 (20 rows)" in refusal(labelled(tmp_path, ["1"] * 20))
    sentence = refusal(labelled(tmp_path, ["no"] * 20 + ["yes"] * 9 + ["perhaps"] * 3))
    assert sentence == (
        "data.path=t.csv, data.target=y: two labels are needed, and there are 3 values, no (20 rows), yes (9 rows), "
        "perhaps (3 rows); "
        "data.labels maps several to 0 and 1."
    )
    assert "more than 100 different values" in refusal(labelled(tmp_path, [f"l{i}" for i in range(200)]))


def test_rows_without_a_label_are_counted_and_left_out_on_demand(tmp_path: Path) -> None:
    path = labelled(tmp_path, ["0", "1", "NA", "1", "0"] * 20 + [""])
    assert refusal(path) == (
        "data.path=t.csv, data.target=y: 21 of 101 rows have no value there; data.drop_missing_target=true leaves "
        "them out."
    )
    assert len(prepare(path, drop_missing_target=True).rows["train"]) < 80
    assert "no row has a value" in refusal(labelled(tmp_path, ["NA"] * 30), drop_missing_target=True)


def test_labels_that_all_mean_the_same_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "1,x\n2,z\n" * 20)
    message = refusal(path, labels={"x": 0, "z": 0})
    assert "data.labels maps every label that occurs to 0; some must be 1" in message
    assert "'z' is 2; 0 or 1 is needed" in refusal(path, labels={"x": 0, "z": 2})


@pytest.mark.parametrize("target", [pl.Float64, pl.Int8, pl.Boolean, pl.String])
def test_labels_do_not_depend_on_how_the_file_writes_them(tmp_path: Path, target: Any) -> None:
    bought = (pl.col("bought") == "yes").cast(pl.Int8).cast(target)
    frame = people().with_columns(bought)
    frame.write_parquet(tmp_path / "people.parquet")
    for form in (
        csv(frame=frame),
        csv(frame=frame, quote_style="always").replace("true", "True").replace("false", "False"),
    ):
        (tmp_path / "people.csv").write_text(form)
        same(table(tmp_path / "people.csv"), table(tmp_path / "people.parquet"))


@pytest.mark.parametrize("texts", [["0", "1"], ["0.0", "1.0"], ["0.", " 1 "], ["+0", "+1"], ["0.000", "+1.0"]])
def test_labels_of_a_later_file_are_known_in_other_spellings(texts: list[str]) -> None:
    assert label_codes(texts, ("0", "1"), {}, "data.target=y").tolist() == [0, 1]
    with pytest.raises(UserError, match=r"data\.target=y: '0\.5' is neither"):
        label_codes(["0.5"], ("0", "1"), {}, "data.target=y")


@pytest.mark.parametrize("labels", [{"yes": 0, "no": 1}, {"YES": 0, "No.": 1}, {"yes": 0, " NO": 1}])
def test_labels_that_are_mapped_are_known_in_other_spellings(labels: dict[str, int]) -> None:
    assert choose_labels({"no": 3, "yes": 5}, None, labels, "data.target=y") == ("yes", "no")
