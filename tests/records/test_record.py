"""``run.json``: one reader of records, whatever version or hand they come from."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logreg.core.components import ALIASES
from logreg.core.errors import UserError
from logreg.records.record import (
    AccuracyInterval,
    Baseline,
    Certificate,
    ChosenThreshold,
    Evaluated,
    Monitor,
    RunRecord,
    change_record,
    read_coefficients,
    read_config,
    read_record,
)

FULL = RunRecord(
    status="completed",
    overrides=["lr=0.1"],
    seed=0,
    metrics={"val/loss": 0.5},
    monitor=Monitor("val/loss", "max"),
    threshold_rule=ChosenThreshold("max_f1", 0.75),
    evaluated=Evaluated("best", 3),
    optimality=Certificate("within 1e-12", 0.5, 1e-9, converged=True, separation={"kind": "none", "direction": {}}),
    intervals={"val/accuracy": AccuracyInterval(0.1, 0.9, 0.95, 20, 0.5)},
    baseline=Baseline("LinearOnPixels", 0.1, {"val/loss": 0.6}),
    calibration={"method": "sigmoid", "slope": 1.0},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def test_a_record_comes_back_from_its_file(tmp_path: Path) -> None:
    FULL.write(tmp_path)
    assert read_record(tmp_path) == FULL


def test_fields_are_read_by_key_as_by_attribute() -> None:
    assert FULL["metrics"]["val/loss"] == FULL.metrics["val/loss"] == FULL.score
    assert FULL["optimality"]["converged"] is True
    assert FULL["monitor"].get("unknown") is None
    with pytest.raises(KeyError):
        FULL["unknown"]


def test_coefficients_are_read_with_what_is_no_number_as_null(tmp_path: Path) -> None:
    assert read_coefficients(tmp_path).is_empty()
    header = "feature,level,coefficient,coefficient_standardised,lower"
    rows = ["(intercept),,0.5,inf,", '"a,b",x,1.0,-2.0,0.1', "without,,1.0,,0.1"]
    (tmp_path / "coefficients.csv").write_text("\n".join([header, *rows]))
    read = read_coefficients(tmp_path)
    assert read["name"].to_list() == ["(intercept)", "a,b=x"]
    assert read["coefficient_standardised"].to_list() == [math.inf, -2.0]
    assert read["lower"].to_list() == [None, 0.1]


@given(content=st.dictionaries(st.sampled_from([*RunRecord()]) | st.text(), JSON))
def test_a_reader_takes_what_is_as_it_should_be_and_ignores_the_rest(content: dict) -> None:
    """Whatever is in the file, every field is of its type: reading what was read changes nothing."""
    record = RunRecord.from_json(content)
    assert record is not None
    assert RunRecord.from_json(json.loads(json.dumps(record, default=dict))) == record
    if isinstance(content.get("status"), str):
        assert record.status == content["status"]


def test_a_change_keeps_what_this_version_does_not_know(tmp_path: Path) -> None:
    content = {"status": "completed", "metrics": {"x": None}, "of_tomorrow": [1]}
    (tmp_path / "run.json").write_text(json.dumps(content))
    change_record(tmp_path, lambda old: {"status": old["status"].upper()})
    assert json.loads((tmp_path / "run.json").read_text()) == content | {"status": "COMPLETED"}


def test_configurations_of_earlier_versions_name_todays_classes(tmp_path: Path) -> None:
    old, new = next(iter(ALIASES.items()))
    config = {"_target_": old, "metrics": {"a": {"_target_": old}, "b": [{"_target_": "torch.nn.Linear"}]}, "name": old}
    (tmp_path / "config.json").write_text(json.dumps(config))
    read = read_config(tmp_path)
    assert read["_target_"] == read["metrics"]["a"]["_target_"] == new
    assert read["metrics"]["b"] == config["metrics"]["b"]  # type: ignore[index]
    assert read["name"] == old


def test_a_record_is_json_whatever_the_numbers(tmp_path: Path) -> None:
    RunRecord(metrics={"train/loss": math.nan, "val/loss": math.inf, "x": 1.0}).write(tmp_path)
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["metrics"] == {"train/loss": None, "val/loss": None, "x": 1.0}
    assert content["monitor"] == content["evaluated"] == {}
    assert read_record(tmp_path).metrics == {"x": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_a_record_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json"):
        read_record(tmp_path)
