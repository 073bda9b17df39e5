"""A table in a file becomes rows of features, split as promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from logreg.core.errors import UserError
from logreg.optim.newton import Newton
from logreg.optim.objective import linear_coefficients
from tests.data.tables.people import assert_alike, people, table, written
from tests.helpers import fit


def test_missing_values_and_other_labels_do_not_depend_on_the_file_format(tmp_path: Path) -> None:
    frame = people()
    csv, parquet = table(tmp_path, written(tmp_path, frame)), table(tmp_path, written(tmp_path, frame, "p.parquet"))
    assert csv.preprocessor == parquet.preprocessor
    np.testing.assert_array_equal(csv.table.x, parquet.table.x)


def test_integer_weights_are_repeated_rows_inside_folds_too(tmp_path: Path) -> None:
    frame = people(300).drop(columns="id")
    weights = np.random.default_rng(1).integers(0, 4, len(frame))
    folds = {"group": "row", "folds": 3, "fold": 1, "exclude": ["row"], "min_count": 6}
    frame["row"] = np.arange(len(frame))
    repeated = frame.loc[np.repeat(frame.index, weights)]
    # The same assignment to folds: the groups of the repeated table are those of the rows that have weight.
    weighted = frame.assign(w=weights)[weights > 0]
    a = table(tmp_path, written(tmp_path, weighted, "weighted.csv"), weight="w", **folds)
    b = table(tmp_path, written(tmp_path, repeated, "repeated.csv"), **folds)
    assert set(repeated.row.to_numpy()[b.rows["val"]]) == set(weighted.row.to_numpy()[a.rows["val"]])
    assert_alike(a.preprocessor, b.preprocessor)
    fitted = [
        fit(tmp_path / name, data, 50, Newton, l2=0.01, precision="64-true") for name, data in (("a", a), ("b", b))
    ]
    pairs = [linear_coefficients(classifier.network) for _, classifier, _ in fitted]
    coefficients = [np.concatenate([p.detach().numpy().reshape(-1) for p in pair or ()]) for pair in pairs]
    np.testing.assert_allclose(*coefficients, rtol=1e-8, atol=1e-12)
    for name in ("train/loss", "train/accuracy", "val/log_loss", "val/accuracy", "val/auroc"):
        ours, theirs = (record.metrics[name] for record, *_ in fitted)
        assert ours == pytest.approx(theirs, rel=1e-6), name


def test_folds_partition_the_rows_and_refit_the_preprocessing(tmp_path: Path) -> None:
    frame = people(200)
    path = written(tmp_path, frame)
    folds = [table(tmp_path, path, folds=5, fold=i) for i in range(5)]
    held_out = np.concatenate([data.rows["val"] for data in folds])
    assert sorted(held_out) == list(range(200))
    share = (frame.bought == "yes").mean()
    for data in folds:
        assert sorted(np.concatenate([data.rows["train"], data.rows["val"]])) == list(range(200))
        assert len(data.rows["test"]) == 0
        assert abs((frame.bought == "yes").to_numpy()[data.rows["val"]].mean() - share) < 0.03
        mean = next(c.mean for c in data.preprocessor.numeric if c.feature == "income")
        assert mean == pytest.approx(frame.income.to_numpy()[data.rows["train"]].mean(), rel=1e-12)


def test_groups_stay_together(tmp_path: Path) -> None:
    frame = people(300)
    frame["household"] = np.random.default_rng(2).integers(0, 60, 300)
    data = table(tmp_path, written(tmp_path, frame), group="household")
    groups = [set(frame.household.to_numpy()[data.rows[split]]) for split in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == frame.household.nunique()
    assert "household" not in data.preprocessor.raw_columns
    assert 200 < len(data.rows["train"]) < 270


def test_files_of_their_own_are_the_splits_they_are_given_for(tmp_path: Path) -> None:
    frame = people(300)
    paths = [written(tmp_path, part, f"{i}.csv") for i, part in enumerate((frame[:200], frame[200:250], frame[250:]))]
    data = table(tmp_path, paths[0], val_path=paths[1], test_path=paths[2])
    assert [data.rows[split].tolist() for split in ("train", "val", "test")] == [
        list(range(200)),
        list(range(200, 250)),
        list(range(250, 300)),
    ]
    assert len(table(tmp_path, paths[0], test_path=paths[2]).rows["val"]) == pytest.approx(22, abs=1)


def test_the_seed_decides_the_split_and_nothing_else_does(tmp_path: Path) -> None:
    path = written(tmp_path, people(200))
    a, b, c = (table(tmp_path, path, seed=seed, min_count=n) for seed, n in ((1, 2), (1, 9), (2, 2)))
    assert a.rows["train"].tolist() == b.rows["train"].tolist() != c.rows["train"].tolist()


def test_a_folder_of_two_formats_and_parts_that_disagree_are_refused(tmp_path: Path) -> None:
    frame = people(100)
    folder = tmp_path / "parts"
    folder.mkdir()
    written(folder, frame[:50], "a.parquet")
    written(folder, frame[50:], "b.csv")
    with pytest.raises(UserError, match="several formats"):
        table(tmp_path, str(folder))
    (folder / "b.csv").unlink()
    (folder / "notes.txt").write_text("what these files are")
    written(folder, frame[50:].assign(income="much"), "b.parquet")
    with pytest.raises(UserError, match=r"column income holds strings there and floats in a\.parquet"):
        table(tmp_path, str(folder))
    written(folder, frame[50:], "b.parquet")
    assert len(table(tmp_path, str(folder)).rows["train"]) == 80
